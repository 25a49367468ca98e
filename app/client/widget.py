"""AttentionWidget: a picture in a notebook; move over it, and its attention follows.

    from app.client import Client
    from app.client.widget import AttentionWidget

    AttentionWidget(Client().generate("zebra", seed=3))

It needs the extra `notebook`. The drawing and its arithmetic are the studio page's own modules,
which are sent to the browser as they are: the browser need not reach the service.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import anywidget
from traitlets import Bytes, Dict, Enum, Int, Unicode

from app.client import calls
from app.client.synchronous import Picture

STUDIO = files("app") / "studio"
ENTRIES = ("attention_canvas.js", "attention_maps.js")
IMPORT = re.compile(r"^import [^;]*?from '\./(\w+\.js)';", re.MULTILINE)
MODES = ("overlay", "heatmap", "contour", "picture")


class AttentionWidget(anywidget.AnyWidget):
    """Shows where the network looked when it drew the pixel under the pointer.

    `x` and `y` are that pixel, in Python too: `widget.observe(print, ["x", "y"])`. `mode` is one of
    `MODES`. Arrow keys move the pixel if the picture has the focus.
    """

    _esm = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    _modules = Dict().tag(sync=True)  # the sources of the studio's modules by name
    image_id = Unicode(read_only=True).tag(sync=True)
    picture = Bytes(read_only=True).tag(sync=True)
    maps = Bytes(read_only=True).tag(sync=True)
    shape = Unicode(read_only=True).tag(sync=True)  # H,W,h,w: the grids of queries and of keys
    resolution = Int(read_only=True).tag(sync=True)
    x = Int().tag(sync=True)
    y = Int().tag(sync=True)
    mode = Enum(MODES, MODES[0]).tag(sync=True)

    def __init__(self, picture: Picture, *, layer: int = -1, mode: str = MODES[0]) -> None:
        super().__init__(_modules=studio_modules(), mode=mode)
        self.show(picture, layer=layer)

    def show(self, picture: Picture, *, layer: int = -1) -> None:
        """Shows another picture, with its attention in this layer; raises as Client does."""
        call = calls.get("/attention-map", image=picture.id, format="bin", layer=layer)
        response = picture.client.call(call)
        middle = picture.image.width // 2
        with self.hold_sync():
            self.set_trait("image_id", picture.id)
            self.set_trait("picture", picture.content)
            self.set_trait("maps", response.content)
            self.set_trait("shape", response.headers["x-attention-shape"])
            self.set_trait("resolution", picture.image.width)
            self.x = self.y = middle


def studio_modules() -> dict[str, str]:
    """The modules that draw attention and those that they import, by name."""
    sources: dict[str, str] = {}
    missing = list(ENTRIES)
    while missing:
        name = missing.pop()
        sources[name] = (STUDIO / name).read_text(encoding="utf-8")
        missing += [one for one in IMPORT.findall(sources[name]) if one not in sources]
    return sources
