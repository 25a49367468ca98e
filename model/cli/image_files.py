"""Writes generated images: a sheet, a file for each image, an array, or an animation.

Every file is written beside its place and put there once it is whole.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from class_names import Mix
from model.cli.options import FORMATS
from model.folders import replaced_file
from model.pictures import Pixels, contact_sheet, encode


class Drawn(NamedTuple):
    """The images of a class or a mix, with the seeds from `first_seed` on, in batches."""

    batches: Iterator[Pixels]  # each (B, H, W, 3)
    num_images: int
    class_name: str  # or the classes of the mix with their weights
    classes: Mix
    first_seed: int


def write_sheet(out: Path, drawn: Drawn) -> None:
    """Writes all images as one picture, in rows of about as many as there are rows."""
    columns = next(c for c in range(1, drawn.num_images + 1) if c * c >= drawn.num_images)
    pixels = [image for batch in drawn.batches for image in batch]
    write_picture(out, contact_sheet(pixels, columns))


def write_picture(out: Path, pixels: Pixels) -> None:
    """Writes (H, W, 3) pixels in the format of the file's ending."""
    with replaced_file(out) as partial:
        partial.write_bytes(encode(pixels, FORMATS[out.suffix.lower()]))


def write_folder(out: Path, drawn: Drawn) -> None:
    """Writes a PNG for each image into the folder: CLASS-SEED.png, with all digits of a seed."""
    out.mkdir(exist_ok=True)
    stem = "".join(c if c.isalnum() or c in "_-" else "_" for c in drawn.class_name)
    seed = drawn.first_seed
    for batch in drawn.batches:
        for pixels in batch:
            write_picture(out / f"{stem}-{seed:010d}.png", pixels)
            seed += 1


def write_array(out: Path, drawn: Drawn) -> None:
    """Writes an .npz file: `arr_0` (N, H, W, 3) uint8, `labels` (N,) and `seeds` (N,) int64.

    Images of a mix have `mix` (C, 2) instead of labels: labels with weights in thousandths. `arr_0`
    is what tools for FID read, such as the evaluator of guided-diffusion. Each batch goes to the
    disk when it is drawn, so that the memory does not grow with N.
    """
    (label, _), *others = drawn.classes
    of = np.array(drawn.classes) if others else np.full(drawn.num_images, label)
    seeds = np.arange(drawn.first_seed, drawn.first_seed + drawn.num_images)
    with replaced_file(out) as partial, zipfile.ZipFile(partial, "w") as archive:
        _write_member(archive, "arr_0", drawn.batches, drawn.num_images)
        _write_member(archive, "mix" if others else "labels", iter([of]), len(of))
        _write_member(archive, "seeds", iter([seeds]), drawn.num_images)


def write_animation(out: Path, frames: Pixels, frame_ms: int) -> None:
    """Writes (N, H, W, 3) frames as a WebP that shows each for `frame_ms` and begins again."""
    first, *later = [Image.fromarray(frame) for frame in frames]
    with replaced_file(out) as partial:
        first.save(
            partial, "WEBP", save_all=True, append_images=later, duration=frame_ms, loop=0,
            quality=90,
        )  # fmt: skip


def _write_member(
    archive: zipfile.ZipFile, name: str, parts: Iterator[NDArray[np.generic]], count: int
) -> None:
    """Writes an array of `count` rows that comes in parts, in NumPy's format (NEP 1)."""
    first = next(parts)
    header = {
        "descr": np.lib.format.dtype_to_descr(first.dtype),
        "fortran_order": False,
        "shape": (count, *first.shape[1:]),
    }
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        member.write(first.tobytes())
        for part in parts:
            member.write(part.tobytes())
