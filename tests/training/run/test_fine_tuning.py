"""Training on a folder of pictures, from a checkpoint."""

import logging
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import sagan
from model.checkpoint import Checkpoint, ClassInfo, load_checkpoint
from model.config import DiscriminatorConfig, GeneratorConfig
from model.discriminator import Discriminator
from model.generator import Generator
from training.recipes.config import TrainConfig
from training.run.fine_tuning import configs_for, known_labels, start_from
from training.saving.state import TrainState

OLD = (ClassInfo(name="tabby", wnid="n02123045"), ClassInfo(name="zebra"))
NEW = (ClassInfo(name="cat", wnid="n02123045"), ClassInfo(name="ship"), ClassInfo(name="zebra"))


def checkpoint(*, discriminator: bool = True) -> Checkpoint:
    torch.manual_seed(0)
    shape = {"resolution": 32, "base_channels": 8, "num_classes": 2}
    generator = Generator(GeneratorConfig.model_validate(shape | {"upsampling": "bilinear"}))
    for name, parameter in generator.named_parameters():
        if ".gain." in name:
            torch.nn.init.normal_(parameter)
    judge = Discriminator(DiscriminatorConfig.model_validate(shape)) if discriminator else None
    return Checkpoint(generator, judge, OLD)


def started(source: Checkpoint, **changes: object) -> tuple[TrainState, list[str]]:
    """`changes` are made to both networks."""
    networks = {name: one.model_dump() | changes for name, one in configs_for(source, 3).items()}
    config = TrainConfig.model_validate(networks)
    state = TrainState.start(config, torch.device("cpu"))
    return state, start_from(state, source, NEW)


def test_known_classes_draw_as_before_and_unknown_ones_start_fresh() -> None:
    """Rows go by WordNet id, then by name; all the rest is the checkpoint's, its switches too."""
    source = checkpoint()
    state, fresh = started(source)
    assert fresh == ["ship"]
    assert state.generator.config.upsampling == "bilinear"
    z = torch.randn(2, 128)
    for network in (state.generator.eval(), state.average):
        drawn = network(z, torch.tensor([0, 2]))  # channels last: rounds otherwise
        torch.testing.assert_close(
            drawn, source.generator(z, torch.tensor([0, 1])), atol=1e-5, rtol=0
        )
    assert source.discriminator is not None
    ours, theirs = state.discriminator.state_dict(), source.discriminator.state_dict()
    assert torch.equal(ours["blocks.0.conv1.weight"], theirs["blocks.0.conv1.weight"])


def test_the_discriminator_judges_a_known_class_much_as_before() -> None:
    """Fresh rows do not take the share of σ: a known row keeps nearly its length."""
    source = checkpoint()
    assert source.discriminator is not None
    judge = source.discriminator.eval()
    state, _ = started(source)
    before, after = (d.embedding.normalized_weight() for d in (judge, state.discriminator.eval()))
    ratios = after[[0, 2]].norm(dim=1) / before[[0, 1]].norm(dim=1)
    assert ((ratios > 0.9) & (ratios < 1.1)).all(), ratios


def test_new_attention_changes_nothing_at_first() -> None:
    """Its γ is 0; a layer that is left out is forgotten, and all else is the checkpoint's."""
    source = checkpoint()
    state, _ = started(source, attention_at=(8,), attention_logits="cosine")
    assert list(state.generator.attention) == ["8"]
    assert all(one.gamma == 0 for one in state.generator.attention.values())
    bare, _ = started(source, attention_at=())
    z, labels = torch.randn(2, 128), torch.tensor([0, 2])
    drawn, without = (one.average.eval()(z, labels) for one in (state, bare))
    torch.testing.assert_close(drawn, without)
    kept, _ = started(source, attention_at=(16,), attention_logits="cosine")
    ours, theirs = kept.generator.state_dict(), source.generator.state_dict()
    assert torch.equal(ours["attention.16.key.weight"], theirs["attention.16.key.weight"])


def test_a_checkpoint_without_a_discriminator_gets_a_new_one() -> None:
    """Many public files have the generator alone."""
    state, _ = started(checkpoint(discriminator=False))
    assert state.discriminator.config.resolution == 32
    assert state.discriminator.config.num_classes == 3


@pytest.mark.parametrize(
    ("shape", "base", "attention_at", "residual_at"),
    [
        ({"resolution": 64, "base_channels": 4}, 8, (32,), ()),
        ({"resolution": 64, "base_channels": 16, "attention_at": ()}, 16, (), ()),
        ({"resolution": 64, "base_channels": 16, "attention_at": (16, 64)}, 16, (16,), ()),
        (
            {"resolution": 128, "base_channels": 8, "attention_at": (), "residual_at": (32,)},
            8, (), (32,),
        ),
        ({"resolution": 32, "base_channels": 1, "attention_at": (),
          "channel_multipliers": (64, 16, 24, 40)}, 10, (), ()),
    ],
)  # fmt: skip
def test_a_generator_alone_gets_a_discriminator_like_itself(
    shape: dict[str, object], base: int, attention_at: tuple[int, ...], residual_at: tuple[int, ...]
) -> None:
    """Attentive where it is, wide enough for that, with its spectral norm's epsilon."""
    config = GeneratorConfig.model_validate(
        {"num_classes": 2, "z_dim": 8, "spectral_norm_eps": 1e-6, **shape}
    )
    judge = configs_for(Checkpoint(Generator(config), None, OLD), 3)["discriminator"]
    assert isinstance(judge, DiscriminatorConfig)
    assert judge == DiscriminatorConfig(
        resolution=config.resolution,
        base_channels=base,
        num_classes=3,
        attention_at=attention_at,
        residual_at=residual_at,
        spectral_norm_eps=1e-6,
    )
    Discriminator(judge)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three class folders of odd sizes and formats."""
    source = tmp_path / "pictures"
    for label, name in enumerate(("ship", "tabby", "truck")):
        (source / name).mkdir(parents=True)
        for i in range(4):
            colour = (80 * label, 20 * i, 200)
            kind = ("png", "jpg", "webp", "gif")[i]
            Image.new("RGB", (40 + 7 * i, 33), colour).save(source / name / f"{i}.{kind}")
    return source


def train(*args: object) -> Result:
    options = ["--batch-size", 4, "--device", "cpu", "--precision", "float32"]
    return CliRunner().invoke(sagan.main, ["train", *map(str, [*args, *options])])


@pytest.mark.slow
def test_a_checkpoint_is_fine_tuned_on_a_folder_of_new_classes(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The command line, a few steps, and a checkpoint of the new classes at the end.

    Going on needs neither the recipe nor the checkpoint that it began from.
    """
    caplog.set_level(logging.INFO)
    source = checkpoint().save(tmp_path / "source")
    run = tmp_path / "run"
    args = (run, "--data", pictures, "--init", source, "--data-dir", tmp_path / "data")
    result = train(*args, "--total-images", 12)
    assert result.exit_code == 0, result.output
    tuned = load_checkpoint(run / "checkpoint")
    assert [c.name for c in tuned.classes] == ["ship", "tabby", "truck"]
    assert tuned.config.upsampling == "bilinear"
    recipe = tuned.facts["recipe"]
    assert isinstance(recipe, dict)
    fingerprint = load_checkpoint(source).fingerprint
    assert recipe["init"] == fingerprint
    started = (
        f"starting from checkpoint {fingerprint[:12]} and its discriminator; classes that start "
        "fresh: ship, truck"
    )
    assert started in caplog.text
    shutil.rmtree(source)
    alone = ("train", run, "--data-dir", tmp_path / "data", "--total-images", 16)
    result = CliRunner().invoke(sagan.main, [*map(str, alone), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert load_checkpoint(run).facts["images_seen"] == 16


@pytest.mark.parametrize(
    ("old", "new", "rows"),
    [
        (("Cafe\u0301",), ("Café",), {0: 0}),
        (("food",), ("Food", "food"), {1: 0}),
        (("Food", "food"), ("food", "FOOD"), {0: 1}),
        (("Food", "food"), ("FOOD",), {}),
        (("crane", "crane"), ("crane",), {}),
        (("a", "b"), ("1", "0"), {}),
    ],
)
def test_the_same_class_is_found_in_any_spelling_unless_another_fits_better(
    old: tuple[str, ...], new: tuple[str, ...], rows: dict[int, int]
) -> None:
    """Never by an index, and not where two classes would do."""
    as_classes = [[ClassInfo(name=name) for name in names] for names in (old, new)]
    assert known_labels(*as_classes) == rows


def test_two_wordnet_ids_are_two_classes_whatever_their_names() -> None:
    """ImageNet has two cranes."""
    bird, machine = (ClassInfo(name="crane", wnid=wnid) for wnid in ("n02012849", "n03126707"))
    assert known_labels([bird], [machine]) == {}
    assert known_labels([bird, machine], [machine]) == {0: 1}
    assert known_labels([bird], [ClassInfo(name="crane")]) == {0: 0}
