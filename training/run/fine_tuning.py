"""Fine-tuning: starts a run from the weights of a checkpoint, which may have other classes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from class_names import ClassNames
from model.checkpoint import Checkpoint, ClassInfo
from model.config import (
    GENERATOR_MULTIPLIERS,
    MIN_ATTENTION_CHANNELS,
    DiscriminatorConfig,
    GeneratorConfig,
)
from model.layers import INITIAL_POWER_ITERATIONS, Embedding
from training.saving.state import TrainState


def configs_for(
    checkpoint: Checkpoint, num_classes: int
) -> dict[str, GeneratorConfig | DiscriminatorConfig]:
    """Returns the checkpoint's network configs by name, changed to `num_classes` classes.

    For a checkpoint without a discriminator the second config resembles the generator's.
    """
    generator = checkpoint.config
    if checkpoint.discriminator is not None:
        discriminator = checkpoint.discriminator.config
    else:
        discriminator = _discriminator_like(generator)
    update = {"num_classes": num_classes}
    return {
        "generator": generator.model_copy(update=update),
        "discriminator": discriminator.model_copy(update=update),
    }


def _discriminator_like(generator: GeneratorConfig) -> DiscriminatorConfig:
    """A discriminator that is as wide as the generator at its last block, with attention likewise.

    Attention and residual blocks are left out at resolutions where the discriminator has no feature
    map, or one with too few channels.
    """
    last = GENERATOR_MULTIPLIERS[generator.resolution][-1]
    plain = DiscriminatorConfig(
        resolution=generator.resolution,
        base_channels=max(generator.widths[-1] // last, MIN_ATTENTION_CHANNELS),
        num_classes=generator.num_classes,
        attention_at=(),
        attention_form=generator.attention_form,
        attention_logits=generator.attention_logits,
        spectral_norm_eps=generator.spectral_norm_eps,
    )
    wide = {at for at, width in plain.width_at.items() if width >= MIN_ATTENTION_CHANNELS}
    places = {
        "attention_at": tuple(at for at in generator.attention_at if at in wide),
        "residual_at": tuple(at for at in generator.residual_at if at in wide),
    }
    return plain.model_copy(update=places)


def start_from(
    state: TrainState, checkpoint: Checkpoint, classes: Sequence[ClassInfo]
) -> list[str]:
    """Copies the checkpoint's weights into the networks of a fresh `state`.

    A class is found in the checkpoint by its WordNet id, else by its name. A class that is not
    there keeps its random embedding. Returns the names of those classes. Attention that the
    checkpoint does not have starts with γ = 0, so it changes nothing at first; attention that the
    networks of `state` do not have is left out.
    """
    rows = known_labels(checkpoint.classes, classes)
    _copy_weights(state.generator, checkpoint.generator, rows)
    _copy_weights(state.average, checkpoint.generator, rows)
    if checkpoint.discriminator is not None:
        _copy_weights(state.discriminator, checkpoint.discriminator, rows)
    return [info.name for label, info in enumerate(classes) if label not in rows]


def known_labels(old: Sequence[ClassInfo], new: Sequence[ClassInfo]) -> dict[int, int]:
    """Maps each label of `new` to the label of the same class in `old`, if there is one.

    Classes with the same WordNet id are the same. If one of the two has no WordNet id, the name
    decides: a class of `new` is the same as the class of `old` that `ClassNames` finds by the new
    class's name, if it finds only one. Exactly equal names are matched first.
    """
    names = ClassNames(old)
    by_wnid = {info.wnid: label for label, info in enumerate(old) if info.wnid is not None}
    rows = {k: by_wnid[info.wnid] for k, info in enumerate(new) if info.wnid in by_wnid}
    for exact in (True, False):
        taken = set(rows.values())
        for label, info in enumerate(new):
            found = [k for k in names.named(info.name) if not exact or old[k].name == info.name]
            found = [k for k in found if info.wnid is None or old[k].wnid is None]
            if label not in rows and len(found) == 1 and found[0] not in taken:
                rows[label] = found[0]
    return rows


@torch.no_grad()
def _copy_weights(network: nn.Module, source: nn.Module, rows: dict[int, int]) -> None:
    embeddings = {name for name, m in source.named_modules() if isinstance(m, Embedding)}
    target = dict(network.state_dict())
    for name, tensor in source.state_dict().items():
        if name.startswith("attention.") and name not in target:
            continue
        if name.rpartition(".")[0] not in embeddings:
            target[name].copy_(tensor)
    for name in embeddings:
        _copy_rows(network.get_submodule(name), source.get_submodule(name), rows)


def _copy_rows(embedding: nn.Module, source: nn.Module, rows: dict[int, int]) -> None:
    """Copies rows of class embeddings, divided by the σ of `source`, and estimates the new σ.

    Under spectral norm the fresh rows are scaled to the mean length of the copied ones. The new σ
    is then near 1, and the copied rows keep about their length.
    """
    if not isinstance(embedding, Embedding) or not isinstance(source, Embedding):
        raise TypeError("not a pair of embeddings")
    old: Tensor = source.normalized_weight().to(embedding.weight.device)
    if rows and embedding.u is not None:
        length = old[list(rows.values())].square().sum(1).mean().sqrt()
        embedding.weight.mul_(length / embedding.weight.norm(dim=1, keepdim=True))
    for label, row in rows.items():
        embedding.weight[label].copy_(old[row])
    embedding.power_iterate(INITIAL_POWER_ITERATIONS)
