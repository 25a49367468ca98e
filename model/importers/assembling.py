"""Makes this project's Generator or Discriminator of a foreign network's tensors.

Sizes and places are read from the shapes of the tensors; the rest comes from the format's rules. A
tensor that does not fit is refused, and the error names its foreign key.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import gcd
from typing import TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor

from model.config import (
    DISCRIMINATOR_MULTIPLIERS,
    GENERATOR_MULTIPLIERS,
    START_RESOLUTION,
    DiscriminatorConfig,
    GeneratorConfig,
)
from model.discriminator import Discriminator
from model.generator import Generator
from model.importers.checking import require_divisible, require_numbers, require_variances
from model.importers.naming import Format, ImportRefusedError, Kind, Part, Parts, Rules, Tensors
from model.importers.turning import swap_red_and_blue, widen_hidden

GENERATOR_RESOLUTIONS = {len(m) - 1: size for size, m in GENERATOR_MULTIPLIERS.items()}
DISCRIMINATOR_RESOLUTIONS = {len(m): size for size, m in DISCRIMINATOR_MULTIPLIERS.items()}
N = TypeVar("N", Generator, Discriminator)
C = TypeVar("C", GeneratorConfig, DiscriminatorConfig)
OPTIONAL = (".num_batches_tracked",)


def assemble_generator(source: Format, tensors: Tensors, rules: Rules) -> Generator:
    """The generator of `tensors`; raises ImportRefusedError naming the first key at fault."""
    names, parts = _collect(source, "generator", tensors)
    if rules.colour_order == "BGR":
        parts = swap_red_and_blue("generator", parts)
    count = _num_blocks(parts, GENERATOR_RESOLUTIONS)
    resolution = GENERATOR_RESOLUTIONS[count]
    places = [START_RESOLUTION * 2 ** (i + 1) for i in range(count)]
    parts, attention_at = _place_attention(parts, places)
    base, multipliers = _multipliers(
        _generator_widths(parts, count), GENERATOR_MULTIPLIERS[resolution]
    )
    config = _validated(
        GeneratorConfig,
        resolution=resolution,
        base_channels=base,
        channel_multipliers=multipliers,
        num_classes=_common(*(_size(parts, n, 0) for n in parts if n.endswith(".gain.weight"))),
        z_dim=_common(_size(parts, "linear.weight", 1)),
        attention_at=attention_at,
        conditional_spectral_norm="blocks.0.norm1.gain.u" in parts,
        conditional_gain=rules.conditional_gain,
        upsampling=rules.upsampling,
        batch_norm_eps=rules.batch_norm_eps,
        spectral_norm_eps=rules.spectral_norm_eps,
    )
    with torch.device("meta"):  # the weights come from the file: nothing to initialise
        generator = Generator(config)
    return _fill(generator, parts, names)


def assemble_discriminator(source: Format, tensors: Tensors, rules: Rules) -> Discriminator:
    """The discriminator of `tensors`; raises ImportRefusedError naming the first key at fault."""
    names, parts = _collect(source, "discriminator", tensors)
    if rules.colour_order == "BGR":
        parts = swap_red_and_blue("discriminator", parts)
    parts = widen_hidden(parts)
    count = _num_blocks(parts, DISCRIMINATOR_RESOLUTIONS)
    resolution = DISCRIMINATOR_RESOLUTIONS[count]
    places = DiscriminatorConfig(resolution=resolution, num_classes=1).block_resolutions
    parts, attention_at = _place_attention(parts, places)
    base, multipliers = _multipliers(
        _discriminator_widths(parts, count), DISCRIMINATOR_MULTIPLIERS[resolution]
    )
    config = _validated(
        DiscriminatorConfig,
        resolution=resolution,
        base_channels=base,
        channel_multipliers=multipliers,
        num_classes=_common(_size(parts, "embedding.u", 0), _size(parts, "embedding.weight", 0)),
        attention_at=attention_at,
        skip_sees_relu=rules.skip_sees_relu,
        spectral_norm_eps=rules.spectral_norm_eps,
    )
    with torch.device("meta"):
        discriminator = Discriminator(config)
    return _fill(discriminator, parts, names)


def _collect(source: Format, kind: Kind, tensors: Tensors) -> tuple[dict[str, str], Parts]:
    """Our names with the foreign keys, and the tensors that the file has for them."""
    names = source.names(kind, tensors)
    known = set(names.values())
    for key, tensor in tensors.items():
        if key not in known and not source.ignored(key):
            raise ImportRefusedError(f"{key} does not belong to a {source.name} SAGAN {kind}")
        if key in known and not key.endswith(OPTIONAL):
            require_numbers(key, tensor)
    parts = {n: Part(k, _single(tensors[k])) for n, k in names.items() if k in tensors}
    require_variances(parts)
    for name, key in names.items():
        if name not in parts and ".shortcut." not in name and not name.endswith(OPTIONAL):
            raise ImportRefusedError(f"{key} is missing")
    return names, source.convert(parts)


def _single(tensor: Tensor) -> Tensor:
    """At least float32: what a format computes with its vectors, half precision would round."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _num_blocks(parts: Parts, known: Mapping[int, int]) -> int:
    count = sum(name.endswith(".conv1.weight") for name in parts)
    if count not in known:
        raise ImportRefusedError(
            f"{count} blocks found, expected {', '.join(str(n) for n in known)} "
            f"for {', '.join(str(size) for size in known.values())} px"
        )
    return count


def _place_attention(parts: Parts, places: Sequence[int]) -> tuple[Parts, tuple[int, ...]]:
    """`parts` with attention named by its resolution, and the resolutions with attention."""
    placed: Parts = {}
    for name, part in parts.items():
        if name.startswith("attention."):
            _, block, rest = name.split(".", 2)
            after = int(block)
            if after < 0 or places[after] in places[:after]:
                raise ImportRefusedError(f"{part.key}: no attention is known at this place")
            name = f"attention.{places[after]}.{rest}"
            part = part.map(lambda t: t.reshape(())) if rest == "gamma" else part
        placed[name] = part
    return placed, tuple(sorted({int(n.split(".")[1]) for n in placed if n.startswith("att")}))


def _generator_widths(parts: Parts, count: int) -> list[int]:
    """Channels of the first feature map and of each block's output, as most tensors say."""
    rows = _size(parts, "linear.bias", 0)
    claims: list[list[int | None]] = [[rows // START_RESOLUTION**2 if rows else None]]
    for i in range(count):
        before, block = claims[-1], f"blocks.{i}"
        before += [_size(parts, f"{block}.norm1.norm.running_mean", 0)]
        before += [_size(parts, f"{block}.{c}.weight", 1) for c in ("conv1", "shortcut")]
        claims.append([_size(parts, f"{block}.{c}.weight", 0) for c in ("conv2", "shortcut")])
    claims[-1] += [_size(parts, "norm.weight", 0), _size(parts, "to_rgb.weight", 1)]
    return [_common(*claim) for claim in claims]


def _discriminator_widths(parts: Parts, count: int) -> list[int]:
    """Channels of each block's output, as most tensors say."""
    claims: list[list[int | None]] = []
    for i in range(count):
        block = f"blocks.{i}"
        if i:
            claims[-1] += [_size(parts, f"{block}.{c}.weight", 1) for c in ("conv1", "shortcut")]
        names = (f"{block}.conv1.weight", f"{block}.conv2.weight", f"{block}.conv2.bias")
        claims.append([_size(parts, name, 0) for name in names])
    claims[-1] += [_size(parts, f"{layer}.weight", 1) for layer in ("linear", "embedding")]
    return [_common(*claim) for claim in claims]


def _size(parts: Parts, name: str, axis: int) -> int | None:
    part = parts.get(name)
    return part.tensor.shape[axis] if part and axis < part.tensor.dim() else None


def _common(*claims: int | None) -> int:
    """The most frequent claim; 1 if there are none, which will not fit the other shapes."""
    counted = Counter(claim for claim in claims if claim)
    return counted.most_common(1)[0][0] if counted else 1


def _multipliers(widths: Sequence[int], usual: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """Base channels and multipliers: the size's usual multipliers if they fit."""
    base = max(widths[0] // usual[0], 1)
    if [base * m for m in usual] == list(widths):
        return base, tuple(usual)
    base = gcd(*widths)
    return base, tuple(width // base for width in widths)


def _validated(cls: type[C], **values: object) -> C:
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "shapes"
        raise ImportRefusedError(f"{place}: {first['msg']}") from error


def _fill(network: N, parts: Parts, names: Mapping[str, str]) -> N:
    """`network` in eval mode with the tensors of `parts`; each must have its place."""
    expected = network.state_dict()
    for name, part in parts.items():
        if name not in expected:
            raise ImportRefusedError(f"{part.key} does not fit: no such layer in this network")
    state: dict[str, Tensor] = {}
    for name, place in expected.items():
        if name.endswith(OPTIONAL):
            state[name] = torch.zeros((), dtype=torch.int64)
        elif name not in parts:
            raise ImportRefusedError(f"{names.get(name, name)} is missing")
        else:
            state[name] = _fitting(parts[name], place)
    network.load_state_dict(state, assign=True)
    require_divisible(network, parts)
    return network.eval()


def _fitting(part: Part, place: Tensor) -> Tensor:
    if part.tensor.shape != place.shape:
        raise ImportRefusedError(
            f"{part.key} has shape {tuple(part.tensor.shape)}, expected {tuple(place.shape)}"
        )
    return part.tensor.detach().to(torch.float32, copy=True).contiguous()
