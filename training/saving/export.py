"""Exports a run as a checkpoint folder with a model card."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

from model.checkpoint import Checkpoint
from model.checkpoint_folder import CARD_FILE, SAMPLES_FILE
from model.generator import Generator
from model.pictures import Pixels, encode_png
from training.data.image_set import ImageSet
from training.recipes.config import TrainConfig
from training.saving.disk import writing
from training.saving.state import TrainState

LICENCE = "Apache-2.0"


def export_checkpoint(
    generator: Generator,
    state: TrainState,
    config: TrainConfig,
    data: ImageSet,
    paths: Sequence[Path],
    command: str,
    *,
    scores: Mapping[str, float],
    samples: Pixels,
) -> Checkpoint:
    """Saves `generator`, the calibrated average, to each folder of `paths`.

    The checkpoint records how it was trained. It contains the discriminator, for runs that start
    from it, the model card `README.md`, and `samples.png`. An older folder is replaced once the new
    one is whole. Raises RunError if the disk refuses a file.
    """
    recipe = config.model_dump(mode="json", exclude={"generator", "discriminator"})
    facts: dict[str, object] = {
        "command": command,
        "images_seen": state.num_images,
        "steps": state.num_images // config.batch_size,
        "pictures": len(data),
        "recipe": recipe,
        "discriminator": config.discriminator.model_dump(mode="json"),
        "scores": {name: round(value, 4) for name, value in scores.items()},
        "licence": LICENCE,
    }
    discriminator = copy.deepcopy(state.discriminator)  # a checkpoint's is in eval mode
    checkpoint = Checkpoint(generator, discriminator, data.classes, facts)
    card = model_card(checkpoint, facts)
    beside = {CARD_FILE: card.encode(), SAMPLES_FILE: encode_png(samples)}
    for path in paths:
        with writing(path):
            checkpoint.save(path, beside)
    return checkpoint


def model_card(checkpoint: Checkpoint, facts: Mapping[str, object]) -> str:
    """Writes the model card in Markdown: classes, training, scores, licence and recipe."""
    config, recipe, scores = checkpoint.config, facts["recipe"], facts["scores"]
    names = ", ".join(info.name for info in checkpoint.classes)
    lines = [
        f"# A SAGAN for {config.num_classes} classes at {config.resolution} px",
        "",
        f"![Samples: a column a class, a row a seed]({SAMPLES_FILE})",
        "",
        f"- fingerprint: `{checkpoint.fingerprint}`",
        f"- classes: {names}",
        f"- generator: {config.base_channels} base channels, attention at "
        f"{', '.join(str(at) for at in config.attention_layers) or 'none'}",
        f"- images seen: {facts['images_seen']:,}, in {facts['steps']:,} steps",
        f"- data: {facts['pictures']:,} pictures",
        f"- licence: {facts['licence']}",
        "",
        "## Scores",
        "",
        *_listed(scores),
        "",
        "## Recipe",
        "",
        *([f"    {facts['command']}", ""] if facts["command"] else []),
        *_listed(recipe),
    ]
    return "\n".join(lines) + "\n"


def _listed(values: object) -> list[str]:
    if not isinstance(values, Mapping) or not values:
        return ["none"]
    return [f"- {name}: {value}" for name, value in values.items()]
