"""Folders: where imported models and downloaded files are kept when the user names no place."""

from pathlib import Path

import platformdirs

APP = "sagan"


def models_folder() -> Path:
    """The folder whose entries `--model NAME` finds by their names."""
    return platformdirs.user_data_path(APP, appauthor=False) / "models"


def downloads_folder() -> Path:
    """Where foreign files are downloaded to; everything in it can be fetched again."""
    return platformdirs.user_cache_path(APP, appauthor=False) / "downloads"
