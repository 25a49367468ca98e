"""Preset under file under flags, and what is wrong with a file."""

from pathlib import Path

import pytest

from training.recipes.config import TrainConfig
from training.recipes.presets import Values
from training.recipes.recipe import RecipeError, config_of, network_options, read_recipe


def recipe(tmp_path: Path, text: str, name: str | None = None, **flags: object) -> TrainConfig:
    file = tmp_path / "recipe.toml"
    file.write_text(text, encoding="utf-8")
    values: Values = read_recipe(name, file, flags, networks_given=False)
    return config_of(values, num_classes=3)


def test_flags_beat_the_file_and_the_file_beats_the_preset(tmp_path: Path) -> None:
    """Key by key: what the later ones leave out stays."""
    text = "batch_size = 32\nadam_beta2 = 0.99\n[generator]\nupsampling = 'bilinear'\n"
    config = recipe(tmp_path, text, "sagan-128-sn-d-only", batch_size=8)
    assert config.batch_size == 8
    assert config.adam_beta2 == 0.99
    assert config.total_images == 256_000_000
    assert (config.generator.upsampling, config.generator.spectral_norm) == ("bilinear", False)
    assert config.generator.num_classes == 3


def test_a_switch_of_both_networks_is_overridden_by_a_networks_own_table(tmp_path: Path) -> None:
    """`spectral_norm` above, `[discriminator] spectral_norm` below."""
    text = "size = 32\nspectral_norm = false\nattention_at = [8, 16]\n[discriminator]\n"
    config = recipe(tmp_path, text + "spectral_norm = true\n")
    assert (config.generator.spectral_norm, config.discriminator.spectral_norm) == (False, True)
    assert config.generator.attention_at == config.discriminator.attention_at == (8, 16)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("batchsize = 3", r"recipe\.toml: unknown key 'batchsize'; did you mean batch_size or"),
        ("[generator]\nupsamplin = 1", r"\[generator\]: unknown key .*did you mean upsampling\?"),
        ("[generator]\nnum_classes = 3", r"\[generator\]: unknown key 'num_classes'"),
        ("resolution = 64", r"unknown key 'resolution'"),
        ("generator = 3", r"generator is a table, not 3"),
        ("batch_size = 0", r"batch_size: input should be greater than 0, not 0"),
        ("batch_size = 'many'", r"batch_size: .*valid integer.*, not 'many'"),
        ("size = 48", r"size: input should be 32, 64, 128 or 256, not 48"),
        ("attention_at = [7]", r"generator: attention_at=7: no block ends at that resolution"),
        (
            "precision = 'half'",
            r"precision: input should be 'float32', 'bf16' or 'auto', not 'half'",
        ),
        ("attention_at = 16", r"generator\.attention_at: input should be a list, .*, not 16"),
        ("fid = 'inception'", r"fid is no part of a recipe, only the flag --fid"),
        ("data-dir = 'data'", r"data-dir is no part of a recipe, only the flag --data-dir"),
        ("batch_size = ", r"recipe\.toml: not TOML: Invalid value"),
    ],
)
def test_a_bad_file_is_one_clear_line(text: str, complaint: str, tmp_path: Path) -> None:
    """The key, what is wrong and what it was."""
    with pytest.raises(RecipeError, match=complaint) as caught:
        recipe(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the system's reason."""
    with pytest.raises(RecipeError, match=r"none\.toml: No such file"):
        read_recipe(None, tmp_path / "none.toml", {}, networks_given=False)


def test_a_checkpoint_to_start_from_leaves_no_say_about_the_networks(tmp_path: Path) -> None:
    """Flags and file may not contradict it; the preset's recipe still counts."""
    with pytest.raises(RecipeError, match="--init gives the networks: leave out size"):
        read_recipe(None, None, {"size": 64}, networks_given=True)
    for table in ("base_channels = 8", "[generator]\nupsampling = 'bilinear'"):
        file = tmp_path / "recipe.toml"
        file.write_text(table)
        with pytest.raises(RecipeError, match=r"(base_channels|generator\.upsampling)\. Only"):
            read_recipe(None, file, {}, networks_given=True)
    assert read_recipe("sagan-128", None, {}, networks_given=True)["batch_size"] == 256


def test_only_attention_can_change_in_the_networks_of_a_checkpoint(tmp_path: Path) -> None:
    """As the file says, in one network or in both; what the preset says does not count."""
    file = tmp_path / "recipe.toml"
    file.write_text("attention_logits = 'cosine'\n[generator]\nattention_at = [16, 32]")
    values = read_recipe("laptop-64", file, {}, networks_given=True)
    both = {"attention_logits": "cosine"}
    assert network_options(values, "generator") == both | {"attention_at": [16, 32]}
    assert network_options(values, "discriminator") == both


def test_a_variant_that_does_not_fit_its_base_is_named() -> None:
    """Unless something else mends it; where it is not to blame, it is not blamed."""
    with pytest.raises(RecipeError, match=r"variant schedule-b does not fit: .*attention_at=64"):
        read_recipe("laptop-32-no-ttur-schedule-b", None, {}, networks_given=False)
    assert read_recipe("laptop-32-schedule-b", None, {"size": 128}, networks_given=False)
    assert read_recipe("laptop-32-feat64-feat16", None, {}, networks_given=False)
    values = read_recipe("laptop-32-no-ttur", None, {"size": 48}, networks_given=False)
    with pytest.raises(RecipeError, match=r"^size: "):
        config_of(values, num_classes=3)
