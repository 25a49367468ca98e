"""The options of a generator and of a discriminator: frozen, validated, saved as JSON."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Resolution = Literal[32, 64, 128, 256]
AttentionForm = Literal["released", "paper"]
AttentionLogits = Literal["dot", "cosine"]
Conditioning = Literal["projection", "classifier"]
Pooling = Literal["sum", "scaled"]

# Channels of the 4×4 input and of each block's output, in units of `base_channels`. 128 px is the
# paper's network; the other sizes follow the same family (SNGAN, Miyato & Koyama 2018, appendix).
GENERATOR_MULTIPLIERS: dict[int, tuple[int, ...]] = {
    32: (4, 4, 4, 4),
    64: (16, 8, 4, 2, 1),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
}
# Channels of each block's output; the blocks after `NUM_DOWNSAMPLINGS` keep their resolution.
DISCRIMINATOR_MULTIPLIERS: dict[int, tuple[int, ...]] = {
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
}
NUM_DOWNSAMPLINGS: dict[int, int] = {32: 2, 64: 4, 128: 5, 256: 6}
MIN_ATTENTION_CHANNELS = 8
START_RESOLUTION = 4  # the generator's first feature map is 4×4

Positive = Annotated[int, Field(gt=0)]


class _NetworkConfig(BaseModel):
    """What the two networks have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resolution: Resolution
    base_channels: Positive = 64
    num_classes: Positive
    channel_multipliers: tuple[Positive, ...] = ()
    attention_at: tuple[int, ...] = ()
    attention_form: AttentionForm = "released"
    attention_logits: AttentionLogits = "dot"
    residual_at: tuple[int, ...] = ()
    spectral_norm: bool = True
    spectral_norm_eps: Annotated[float, Field(gt=0)] = 1e-12

    def _require_multipliers(self, count: int) -> None:
        if len(self.channel_multipliers) != count:
            raise ValueError(
                f"channel_multipliers has {len(self.channel_multipliers)} entries, "
                f"{self.resolution} px needs {count}: {self.channel_multipliers}"
            )

    def _require_places_among(self, widths: dict[int, int]) -> None:
        """`widths` has the channels of the feature map at each resolution."""
        for field, places in (
            ("attention_at", self.attention_at),
            ("residual_at", self.residual_at),
        ):
            for place in places:
                if place not in widths:
                    raise ValueError(
                        f"{field}={place}: no block ends at that resolution, these do: "
                        f"{sorted(widths)}"
                    )
                if widths[place] < MIN_ATTENTION_CHANNELS:
                    raise ValueError(
                        f"{field}={place}: attention needs at least {MIN_ATTENTION_CHANNELS} "
                        f"channels (C/8 keys), there are {widths[place]}: raise base_channels"
                    )
        if both := sorted(set(self.attention_at) & set(self.residual_at)):
            raise ValueError(
                f"residual_at={both[0]}: attention_at has it too; a place takes one of the two"
            )


class GeneratorConfig(_NetworkConfig):
    """A SAGAN generator (Zhang et al. 2018, section 4 and the released code).

    `attention_at` lists the resolutions of the feature maps that self-attention follows; by default
    32, or 16 if the images have 32 px. `attention_form` "released" pools keys and values 2×2 and
    gives the values C/2 channels, as the released code and every public checkpoint do; "paper" is
    the form of the paper's equations. `attention_logits` "dot" is the product of query and key, as
    in the paper; "cosine" is the cosine of their angle, times a constant. `residual_at` lists the
    resolutions that a `ResidualBlock` follows instead, as in the paper's control experiment.
    `conditional_gain` "direct" multiplies by the class's embedding, "offset" by one plus it. With
    `conditional_latent` each conditional norm also adds a linear function of z to its gain and its
    bias, so that z reaches every block and not only the first (skip-z, Brock et al. 2019, section
    3.1 and appendix B, which gives each block a part of z; here every block gets all of it). Raises
    `pydantic.ValidationError` (a `ValueError`) naming the field and the value.
    """

    z_dim: Positive = 128
    upsampling: Literal["nearest", "bilinear"] = "nearest"
    conditional_gain: Literal["direct", "offset"] = "direct"
    conditional_spectral_norm: bool = False
    conditional_latent: bool = False
    batch_norm_eps: Annotated[float, Field(gt=0)] = 1e-5

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, values: dict[str, object]) -> dict[str, object]:
        return _with_defaults(values, GENERATOR_MULTIPLIERS)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._require_multipliers(len(GENERATOR_MULTIPLIERS[self.resolution]))
        self._require_places_among(self.width_at)
        return self

    @property
    def width_at(self) -> dict[int, int]:
        """The channels of the feature map that attention at each resolution gets."""
        return dict(zip(self.block_resolutions, self.widths[1:], strict=True))

    @property
    def widths(self) -> tuple[int, ...]:
        """The channels of the 4×4 input, then of each block's output."""
        return tuple(m * self.base_channels for m in self.channel_multipliers)

    @property
    def block_resolutions(self) -> tuple[int, ...]:
        """The resolution that each up block ends at: 8, 16, … `resolution`."""
        return tuple(
            START_RESOLUTION * 2 ** (i + 1) for i in range(len(self.channel_multipliers) - 1)
        )

    @property
    def attention_layers(self) -> tuple[int, ...]:
        """The resolutions with attention in the order they run; `layer` arguments index this."""
        return self.attention_at

    def key_grid(self, layer: int) -> tuple[int, int]:
        """(h, w) of the grid of keys of attention layer `layer`."""
        side = self.attention_layers[layer]
        return (side, side) if self.attention_form == "paper" else (side // 2, side // 2)


class DiscriminatorConfig(_NetworkConfig):
    """A discriminator with self-attention, or with residual blocks in its place.

    `conditioning` says how it uses the class: "projection" (Miyato & Koyama 2018), or "classifier",
    the auxiliary classifier of AC-GAN (Odena et al. 2017). `pooling` says how the last feature map
    becomes a vector: "sum" adds up its positions, as published; "scaled" divides that sum by the
    square root of their number. Then logits start in the same range at every resolution, which
    matters if no spectral norm bounds them. `skip_sees_relu` applies a block's first ReLU to its
    skip connection too, as the in-place ReLUs of StudioGAN and mimicry do; their checkpoints need
    it.
    """

    conditioning: Conditioning = "projection"
    pooling: Pooling = "sum"
    skip_sees_relu: bool = False

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, values: dict[str, object]) -> dict[str, object]:
        return _with_defaults(values, DISCRIMINATOR_MULTIPLIERS)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._require_multipliers(len(DISCRIMINATOR_MULTIPLIERS[self.resolution]))
        self._require_places_among(self.width_at)
        return self

    @property
    def width_at(self) -> dict[int, int]:
        """The channels that attention at each resolution gets, from the first block that ends
        there."""
        blocks = list(zip(self.block_resolutions, self.widths, strict=True))
        return dict(reversed(blocks))

    @property
    def widths(self) -> tuple[int, ...]:
        """The channels of each block's output."""
        return tuple(m * self.base_channels for m in self.channel_multipliers)

    @property
    def block_resolutions(self) -> tuple[int, ...]:
        """The resolution that each block ends at; the last ones have the same."""
        downs = NUM_DOWNSAMPLINGS[self.resolution]
        return tuple(
            self.resolution >> min(i + 1, downs) for i in range(len(self.channel_multipliers))
        )

    @property
    def attention_layers(self) -> tuple[int, ...]:
        """The resolutions with attention in the order they run."""
        return self.attention_at[::-1]


def _with_defaults(
    values: dict[str, object], multipliers: dict[int, tuple[int, ...]]
) -> dict[str, object]:
    """`values` with the defaults that depend on the resolution filled in."""
    resolution = values.get("resolution")
    if not isinstance(resolution, int) or resolution not in multipliers:
        return values  # the field's own check names the value
    defaults: dict[str, object] = {
        "channel_multipliers": multipliers[resolution],
        "attention_at": (32,) if resolution > 32 else (16,),
    }
    values = defaults | values
    for field in ("attention_at", "residual_at"):
        places = values.get(field)
        if isinstance(places, list | tuple) and all(isinstance(place, int) for place in places):
            values[field] = tuple(sorted(set(places)))  # one spelling a network
    return values
