"""`sagan push`: uploads a checkpoint to the Hugging Face Hub, with a model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from model.checkpoint_folder import (
    CARD_FILE,
    CONFIG_FILE,
    DISCRIMINATOR_FILE,
    GENERATOR_FILE,
    SAMPLES_FILE,
    CheckpointError,
)
from model.hub import HubError, HubPlace, hub_place, upload

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint

FENCE = "---"


@click.command()
@click.argument("checkpoint", metavar="DIR")
@click.argument("repository", metavar="hf:ORG/NAME")
@click.option(
    "--licence",
    help="Licence of the weights, such as apache-2.0.  [default: the checkpoint's own]",
)
@click.option("--private", is_flag=True, help="Make a private repository, if there is none yet.")
@click.option("--dry-run", is_flag=True, help="Print the model card and upload nothing.")
def push(
    checkpoint: str, repository: str, licence: str | None, private: bool, dry_run: bool
) -> None:
    """Upload the checkpoint DIR to the Hugging Face Hub, with a model card.

    \b
    sagan push runs/dogs hf:me/dogs --licence cc-by-4.0
    sagan serve --model hf:me/dogs@main

    The weights are read first, and a damaged checkpoint is not uploaded. The token is that of
    HF_TOKEN or of `hf auth login`.
    """
    from model.checkpoint import HeldCheckpoint  # torch, which `--help` does without

    try:
        place = hub_place(repository)
        held = HeldCheckpoint(checkpoint)
        loaded = held.load()
        licence = licence or _licence_of(loaded)
        card = model_card(loaded, place, licence, _own_text(held.folder))
        if dry_run:
            click.echo(card)
            return
        files: dict[str, Path | bytes] = {CARD_FILE: card.encode()}
        for name in (CONFIG_FILE, GENERATOR_FILE, DISCRIMINATOR_FILE, SAMPLES_FILE):
            if (held.folder / name).is_file():
                files[name] = held.folder / name
        message = f"Checkpoint {loaded.fingerprint[:12]}"
        commit = upload(place, files, private=private, message=message)
    except (CheckpointError, HubError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{place.repo} has it: sagan serve --model {place._replace(revision=commit)}")


def model_card(checkpoint: Checkpoint, place: HubPlace, licence: str, text: str = "") -> str:
    """The README.md of a repository: what the model is, its classes, and how to serve it.

    `text` is that of the checkpoint's own card, if it has one.
    """
    config = checkpoint.config
    head = [
        FENCE,
        f"license: {json.dumps(licence)}",  # a JSON string is a YAML string
        "pipeline_tag: unconditional-image-generation",
        "library_name: sagan-service",
        "tags: [gan, self-attention-gan, image-generation]",
        FENCE,
    ]
    serving = [
        "## Serve it",
        "",
        "```",
        f"sagan serve --model {place}",
        f"curl -o image.png -X POST 'http://127.0.0.1:8000/generate?class=0&model={place.name}'",
        "```",
    ]
    about = [
        f"# {place.name}",
        "",
        f"A Self-Attention GAN: {config.num_classes} classes, {config.resolution} × "
        f"{config.resolution} pixels, fingerprint `{checkpoint.fingerprint}`.",
        f"Licence: {licence}.",
    ]
    classes = ["## Classes", "", "| index | name | WordNet id |", "|---|---|---|"]
    classes += [
        f"| {i} | {_cell(one.name)} | {_cell(one.wnid or '')} |"
        for i, one in enumerate(checkpoint.classes)
    ]
    own = ["## From its training", "", text.strip()] if text.strip() else []
    parts = ["\n".join(part) for part in (head, about, serving, classes, own) if part]
    return "\n\n".join(parts) + "\n"


def _licence_of(checkpoint: Checkpoint) -> str:
    """The licence among the facts of a checkpoint; raises CheckpointError if there is none."""
    licence = checkpoint.facts.get("licence")
    if not isinstance(licence, str) or not licence:
        raise CheckpointError("the checkpoint does not say its licence: give one by --licence")
    return licence


def _own_text(folder: Path) -> str:
    """The checkpoint's own card without its front matter; empty if it has none."""
    try:
        text = (folder / CARD_FILE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
    if text.startswith(f"{FENCE}\n"):
        text = text.partition(f"\n{FENCE}\n")[2]
    return text


def _cell(text: str) -> str:
    """A text that is one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
