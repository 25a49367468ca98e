"""Checkpoints of other SAGAN implementations, made into this project's own."""

from model.importers.importing import FORMATS, Imported, Overrides, describe, import_files
from model.importers.naming import ImportRefusedError

__all__ = ["FORMATS", "ImportRefusedError", "Imported", "Overrides", "describe", "import_files"]
