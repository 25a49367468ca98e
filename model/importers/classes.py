"""The classes of the labels: ImageNet's 1,000, or those in a file of the user."""

import json
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from model.checkpoint import ClassInfo
from model.importers.naming import ImportRefusedError

IMAGENET_FILE = Path(__file__).with_name("imagenet_classes.json")
_CLASSES = TypeAdapter(tuple[ClassInfo, ...])


@cache
def imagenet_classes() -> tuple[ClassInfo, ...]:
    """The classes of ImageNet-1k in the order of their WordNet ids, as labels count them."""
    return _CLASSES.validate_json(IMAGENET_FILE.read_bytes())


def read_classes(file: Path) -> tuple[ClassInfo, ...]:
    """The classes of a file, in the order of their labels.

    The file is JSON (a list of names, or of objects with `name`, `wnid`, `aliases`) or text with
    one name on each line. Raises ImportRefusedError if it cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8")
        listed = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
        named = [{"name": c.strip()} if isinstance(c, str) else c for c in listed]
        return _CLASSES.validate_python([c for c in named if c != {"name": ""}])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ImportRefusedError(f"{file}: class {place}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise ImportRefusedError(f"{file}: not readable as classes: {error}") from error
