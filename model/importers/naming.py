"""The names that foreign checkpoints have for the layers of this project's networks.

"Our" names here are those of the networks' `state_dict`, except for attention: `attention.3.query`
belongs to the attention that follows block 3, at any resolution.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from torch import Tensor

from model.checkpoint import CheckpointError

Kind = Literal["generator", "discriminator"]
LayerKind = Literal["linear", "conv", "conv1x1", "embedding", "conditional", "statistics", "norm"]
Tensors = Mapping[str, Tensor]
Suffixes = Mapping[str, str]

# What layers call their tensors in files of PyTorch's own modules and `spectral_norm`.
SPECTRAL = {"weight": ".weight_orig", "u": ".weight_u", "v": ".weight_v"}
PLAIN = {"weight": ".weight"}
BIAS = {"bias": ".bias"}
STATISTICS = {name: f".{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
TORCH_SUFFIXES: dict[LayerKind, Suffixes] = {
    "linear": SPECTRAL | BIAS,
    "conv": SPECTRAL | BIAS,
    "conv1x1": SPECTRAL,
    "embedding": SPECTRAL,
    "conditional": SPECTRAL,
    "statistics": STATISTICS,
    "norm": STATISTICS | PLAIN | BIAS,
}
_KINDS: dict[str, LayerKind] = {
    "linear": "linear",
    "embedding": "embedding",
    "gain": "conditional",
    "bias": "conditional",
    "norm": "statistics",
    **dict.fromkeys(("query", "key", "value", "out"), "conv1x1"),
}


class ImportRefusedError(CheckpointError):
    """A foreign file cannot be imported; the message is a line that names the first faulty key."""


class Part(NamedTuple):
    """One tensor of a network and the foreign key that it comes from."""

    key: str
    tensor: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> "Part":
        """The part after `change`; raises ImportRefusedError if the shape does not allow it."""
        try:
            return Part(self.key, change(self.tensor))
        except (RuntimeError, IndexError, ValueError) as error:
            shape = tuple(self.tensor.shape)
            raise ImportRefusedError(f"{self.key} of shape {shape} does not fit") from error


Parts = dict[str, Part]  # by our names


@dataclass(frozen=True)
class Rules:
    """What the shapes of tensors do not show; `because` says what it was derived from."""

    batch_norm_eps: float
    spectral_norm_eps: float
    conditional_gain: Literal["direct", "offset"] = "offset"
    upsampling: Literal["nearest", "bilinear"] = "nearest"
    skip_sees_relu: bool = False
    colour_order: Literal["RGB", "BGR"] = "RGB"
    because: str = ""


@dataclass(frozen=True)
class Split:
    """The tensors of each network that a file holds, by their full foreign names."""

    generator: Tensors = field(default_factory=dict)
    discriminator: Tensors = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spelling:
    """A table from our names of layers to the foreign ones, and the names of their tensors.

    `outside` has the layers outside the blocks, `block` those of a block, `attention` those of an
    attention layer. `suffixes` has the names of the tensors of each kind of layer.
    """

    outside: Mapping[str, str]
    block: Mapping[str, str]
    attention: Mapping[str, str]
    gamma: str
    suffixes: Mapping[LayerKind, Suffixes]

    def names(self, blocks: Sequence[str], attention: Mapping[int, str]) -> dict[str, str]:
        """Maps our tensor names to the foreign keys, for blocks and attention at these prefixes."""
        layers = dict(self.outside)
        for i, prefix in enumerate(blocks):
            layers |= {f"blocks.{i}.{ours}": prefix + own for ours, own in self.block.items()}
        for i, prefix in attention.items():
            layers |= {f"attention.{i}.{o}": prefix + own for o, own in self.attention.items()}
        names = {f"attention.{i}.gamma": prefix + self.gamma for i, prefix in attention.items()}
        for ours, own in layers.items():
            suffixes = self.suffixes[layer_kind(ours)]
            names |= {f"{ours}.{tensor}": own + suffix for tensor, suffix in suffixes.items()}
        return names

    def prefixed(self, prefix: str) -> "Spelling":
        """This table with `prefix` before the foreign names of the layers outside the blocks."""
        return replace(self, outside={ours: prefix + own for ours, own in self.outside.items()})


@dataclass(frozen=True)
class Format:
    """One implementation's checkpoints.

    `split` finds the networks of a file (none if it is not of this format). `names` maps our tensor
    names to the foreign keys of one network. `rules` derives from all tensors and the file's name
    what the shapes do not show. `convert` changes the tensors to our layout. `ignored` recognises
    foreign keys that are not needed.
    """

    name: str
    split: Callable[[Tensors], Split]
    names: Callable[[Kind, Tensors], dict[str, str]]
    rules: Callable[[Tensors, str], Rules]
    convert: Callable[[Parts], Parts] = lambda parts: parts
    ignored: Callable[[str], bool] = lambda _key: False


def always(rules: Rules) -> Callable[[Tensors, str], Rules]:
    """`Format.rules` for a format whose rules are the same for every file."""
    return lambda *_: rules


def layer_kind(layer: str) -> LayerKind:
    """The kind of the layer with our name `layer`; `norm`, outside the blocks, has an affine."""
    return "norm" if layer == "norm" else _KINDS.get(layer.rpartition(".")[2], "conv")


def starts(keys: Collection[str], *prefixes: str) -> bool:
    """Whether any key starts with any of the prefixes."""
    return any(key.startswith(prefixes) for key in keys)


def walk(
    keys: Collection[str], place: Callable[[int], str], attention_layer: str
) -> tuple[list[str], dict[int, str]]:
    """The prefixes of blocks and of attention in a numbered foreign list that has both.

    `place(j)` is the prefix of entry j. An entry with keys below `attention_layer` is attention,
    which follows the block before it.
    """
    blocks: list[str] = []
    attention: dict[int, str] = {}
    position = 0
    while starts(keys, prefix := place(position)):
        if starts(keys, prefix + attention_layer):
            attention[len(blocks) - 1] = prefix
        else:
            blocks.append(prefix)
        position += 1
    return blocks, attention
