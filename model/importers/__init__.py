"""Imports checkpoints of other SAGAN implementations into this project's format."""

from model.importers.importing import FORMATS, Imported, Overrides, describe, import_files
from model.importers.naming import ImportRefusedError

__all__ = ["FORMATS", "ImportRefusedError", "Imported", "Overrides", "describe", "import_files"]
