"""From a run to a checkpoint folder."""

from pathlib import Path

from model.checkpoint import Checkpoint
from training.config import TrainConfig
from training.data import ImageSet
from training.ema import calibrated
from training.state import TrainState


def export_checkpoint(
    state: TrainState, config: TrainConfig, data: ImageSet, path: Path, command: str
) -> Checkpoint:
    """Save the averaged generator, calibrated, as the folder `path`, with how it came to be."""
    recipe = config.model_dump(mode="json", exclude={"generator", "discriminator"})
    facts: dict[str, object] = {
        "command": command,
        "images_seen": state.num_images,
        "steps": state.num_images // config.batch_size,
        "pictures": len(data),
        "recipe": recipe,
        "discriminator": config.discriminator.model_dump(mode="json"),
        "licence": "Apache-2.0",
    }
    checkpoint = Checkpoint(calibrated(state.average), classes=data.classes, facts=facts)
    checkpoint.save(path)
    return checkpoint
