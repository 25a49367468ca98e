"""Runs `sagan import`: fetches the files, imports them, and writes the checkpoint's folder."""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import click

from model.checkpoint import load_checkpoint
from model.checkpoint_folder import CONFIG_FILE, CheckpointError
from model.folders import downloads_folder, models_folder
from model.importers.classes import read_classes
from model.importers.download import IMAGENET_URL, Report, download, file_name
from model.importers.format_names import IMAGENET_NAME
from model.importers.importing import Imported, Overrides, import_files
from model.importers.naming import ImportRefusedError

IMAGENET_LICENCE = "Apache-2.0 (mmgeneration)"


def run_import(
    format_name: str,
    source: str | None,
    out: Path | None,
    discriminator: str | None,
    classes_file: Path | None,
    overrides: Overrides,
) -> None:
    """Imports, writes the folder and prints what was assumed; raises click.ClickException.

    Without `source` it is the recommended checkpoint; without `out` the folder is one of the user's
    models folder.
    """
    source = source or IMAGENET_URL
    chosen, out = out is not None, out or models_folder() / _name(format_name, source)
    try:
        _require_replaceable(out)
        imported = _import(format_name, source, discriminator, classes_file, overrides)
        if not chosen:
            _require_no_other(out, imported.checkpoint.fingerprint)
        imported.checkpoint.save(out)
    except CheckpointError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{out}: {error.strerror or error}") from error
    for line in imported.lines:
        click.echo(line)
    click.echo(f"fingerprint     {imported.checkpoint.fingerprint}")
    click.echo(f"written to      {out}")


def _import(
    format_name: str,
    source: str,
    discriminator: str | None,
    classes_file: Path | None,
    overrides: Overrides,
) -> Imported:
    """Of the recommended checkpoint the facts also say its source and its licence."""
    recommended = format_name == IMAGENET_NAME
    imported = import_files(
        _local(source),
        "mmgeneration" if recommended else format_name,
        discriminator=None if discriminator is None else _local(discriminator),
        classes=None if classes_file is None else read_classes(classes_file),
        overrides=overrides,
    )
    if not recommended:
        return imported
    facts = {**imported.checkpoint.facts, "source": source, "licence": IMAGENET_LICENCE}
    return replace(imported, checkpoint=replace(imported.checkpoint, facts=facts))


def _local(source: str) -> Path:
    """The file itself, downloaded with a progress bar if `source` is an address."""
    if not _is_address(source):
        return Path(source)
    with _progress() as report:
        return download(source, downloads_folder(), report)


def _is_address(source: str) -> bool:
    return re.match(r"https?://", source, re.IGNORECASE) is not None


@contextmanager
def _progress() -> Iterator[Report]:
    """A bar on the terminal that follows the bytes of a download, from the first on."""
    with ExitStack() as stack:
        started = cache(
            lambda: stack.enter_context(
                click.progressbar(length=0, label="downloading", show_pos=False)
            )
        )

        def report(done: int, total: int | None) -> None:
            if not sys.stdout.isatty():
                return
            bar = started()
            bar.length = max(total or 0, done)
            bar.update(done - bar.pos)

        yield report


def _name(format_name: str, source: str) -> str:
    """The name of the imported model if the user gives no folder."""
    if format_name == IMAGENET_NAME:
        return IMAGENET_NAME
    stem = Path(file_name(source) if _is_address(source) else source).stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-") or "imported"


def _require_replaceable(out: Path) -> None:
    """Only a checkpoint, an empty folder or nothing makes way for what is written."""
    if out.exists() and any(out.iterdir()) and not (out / CONFIG_FILE).exists():
        raise ImportRefusedError(f"{out}: there is something else than a checkpoint, not replaced")


def _require_no_other(out: Path, fingerprint: str) -> None:
    """A folder that the user has not named keeps the model that it holds."""
    if not out.exists() or not any(out.iterdir()):
        return
    there = load_checkpoint(out).fingerprint
    if there != fingerprint:
        raise ImportRefusedError(
            f"{out} holds another model (fingerprint {there}): give another place with -o"
        )
