"""Presets: bases, variants behind them, and names for what the paper compares with."""

import pytest

from model.config import DiscriminatorConfig, GeneratorConfig
from training.recipes.config import TrainConfig
from training.recipes.presets import DEFAULT, PresetError, descriptions, preset
from training.recipes.recipe import config_of

PAPERS = [
    "sagan-128", "sagan-128-feat64", "sagan-128-feat16", "sagan-128-feat8", "sagan-128-residual",
    "sngan-projection-128", "sagan-128-sn-d-only", "sagan-128-no-ttur", "acgan-128",
    "sagan-128-schedule-b", "sagan-32", "sagan-64", "sagan-256", "laptop-32", "laptop-64",
]  # fmt: skip


def config(name: str) -> TrainConfig:
    return config_of(preset(name), num_classes=10)


@pytest.mark.parametrize("name", PAPERS)
def test_every_preset_is_a_valid_run(name: str) -> None:
    """Its keys are known and its networks can be built."""
    assert isinstance(config(name), TrainConfig)


def test_the_papers_network_and_recipe() -> None:
    """Base 64 at 128 px, attention on 32×32, TTUR, a million steps of 256."""
    paper = config("sagan-128")
    shape = {"resolution": 128, "base_channels": 64, "num_classes": 10, "attention_at": (32,)}
    assert paper.generator == GeneratorConfig.model_validate(shape)
    assert paper.discriminator == DiscriminatorConfig.model_validate(shape)
    assert (paper.generator_rate, paper.discriminator_rate) == (1e-4, 4e-4)
    assert (paper.adam_beta1, paper.adam_beta2, paper.batch_size) == (0.0, 0.9, 256)
    assert paper.num_steps == 1_000_000


def test_a_variant_changes_what_it_says_and_nothing_else() -> None:
    """Against sagan-128, field by field."""
    plain = config("sagan-128")
    networks = {"attention_at": (64,)}
    assert config("sagan-128-feat64") == plain.model_copy(
        update={
            "generator": plain.generator.model_copy(update=networks),
            "discriminator": plain.discriminator.model_copy(update=networks),
        }
    )
    assert config("sagan-128-sn-d-only") == plain.model_copy(
        update={"generator": plain.generator.model_copy(update={"spectral_norm": False})}
    )
    assert config("sagan-128-no-ttur") == plain.model_copy(
        update={"generator_rate": 2e-4, "discriminator_rate": 2e-4}
    )
    control = config("sagan-128-residual")
    for network in (control.generator, control.discriminator):
        assert (network.attention_layers, network.residual_at) == ((), (32,))
    assert config("acgan-128").discriminator.conditioning == "classifier"
    assert config("acgan-128").generator.attention_layers == ()


def test_variants_combine_in_the_order_of_their_names() -> None:
    """The ablation's axes, on any base, without a name for each product."""
    both = config("laptop-32-paper-sn-d-only-no-ttur-no-attention")
    assert (both.generator.resolution, both.generator.base_channels) == (32, 16)
    assert (both.generator.spectral_norm, both.discriminator.spectral_norm) == (False, True)
    assert both.generator_rate == both.discriminator_rate
    assert both.generator.attention_layers == both.discriminator.attention_layers == ()
    assert config("sagan-128-feat8-feat16").generator.attention_at == (16,)
    assert config("acgan-128-feat32").generator.attention_at == (32,)


def test_a_variant_combines_with_every_base_that_has_room_for_it() -> None:
    """What does not fit is attention at a resolution that a network has no block of."""
    for base, _ in descriptions()["bases"]:
        for variant, _ in descriptions()["variants"]:
            try:
                config(f"{base}-{variant}")
            except ValueError as error:
                assert "no block ends at that resolution" in str(error)  # noqa: PT017


def test_without_a_preset_a_run_takes_the_recipe_that_keeps_its_diversity() -> None:
    """Pairs are compared, D pays for being steep, z is in every norm, no layer is normalised."""
    run = config_of(preset(DEFAULT), num_classes=10)
    assert (run.loss, run.r1, run.r2) == ("relativistic", 2.0, 2.0)
    assert (run.generator.conditional_latent, run.discriminator.pooling) == (True, "scaled")
    assert not run.generator.spectral_norm
    assert not run.discriminator.spectral_norm
    assert run.generator_rate == run.discriminator_rate == 4e-4


@pytest.mark.parametrize("size", [32, 64])
def test_the_papers_recipe_has_a_name_at_laptop_size(size: int) -> None:
    """`laptop-64-paper` is TrainConfig's own defaults but for sizes, length and number format."""
    run = config_of(preset(f"laptop-{size}-paper"), num_classes=10)
    shape = {"resolution": size, "base_channels": 16, "num_classes": 10}
    assert run == TrainConfig(
        generator=GeneratorConfig.model_validate(shape),
        discriminator=DiscriminatorConfig.model_validate(shape),
        precision="auto",
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [("sagan-129", "sagan-128"), ("sagan-128-feet64", "sagan-128-feat64"), ("acgan", "acgan-128")],
)
def test_an_unknown_preset_names_the_likeliest(name: str, meant: str) -> None:
    """And the command that lists them all."""
    with pytest.raises(PresetError, match=rf"{name!r}; did you mean .*{meant}.*sagan presets"):
        preset(name)


def test_a_variant_alone_is_no_preset() -> None:
    """It goes behind a base."""
    with pytest.raises(PresetError, match="no preset is called 'no-ttur'"):
        preset("no-ttur")
