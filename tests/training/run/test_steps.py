"""A step changes the network it is meant to change, and nothing else."""

import copy
import shutil

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import SGD, Adam

from model.checkpoint import ClassInfo
from model.config import DiscriminatorConfig, GeneratorConfig
from model.discriminator import Discriminator
from model.generator import Generator
from model.layers import (
    ConditionalBatchNorm2d,
    advance_power_iteration,
    spectral_norm_layers,
)
from training.data.image_set import ImageSet
from training.recipes.config import TrainConfig
from training.run.losses import GradientPenalty
from training.run.steps import discriminator_step, generator_step
from training.run.trainer import Trainer
from training.saving.state import TrainState


def networks() -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(resolution=32, base_channels=8, num_classes=3))
    discriminator = Discriminator(
        DiscriminatorConfig(resolution=32, base_channels=8, num_classes=3)
    )
    for network in (generator, discriminator):
        for name, parameter in network.named_parameters():
            if name.endswith("gamma"):
                nn.init.constant_(parameter, 0.5)
    return generator, discriminator


def test_a_classifier_teaches_both_networks_the_classes() -> None:
    """AC-GAN in a few steps: D tells two plain classes apart, and G's gains get a gradient."""
    torch.manual_seed(0)
    shape = {"resolution": 32, "base_channels": 8, "num_classes": 2}
    generator = Generator(GeneratorConfig.model_validate(shape))
    discriminator = Discriminator(
        DiscriminatorConfig.model_validate(shape | {"conditioning": "classifier"})
    )
    optimizer = Adam(discriminator.parameters(), 2e-3, (0.0, 0.9))
    labels = torch.arange(8) % 2
    images = torch.tensor([-0.9, 0.9])[labels][:, None, None, None].expand(-1, 3, 32, 32)
    for _ in range(30):
        discriminator_step(
            discriminator, generator, optimizer, images, labels, torch.randn(8, 128), bf16=False
        )
    with torch.no_grad():
        assert (discriminator(images, labels)[:, 1:].argmax(1) == labels).all()
    generator_step(
        discriminator, generator, Adam(generator.parameters(), 1e-4), images, labels,
        torch.randn(8, 128), bf16=False,
    )  # fmt: skip
    gains = [m for m in generator.modules() if isinstance(m, ConditionalBatchNorm2d)]
    assert all(m.gain.weight.grad is not None and m.gain.weight.grad.any() for m in gains)


def parameters(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def changed(network: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}


def test_a_discriminator_step_changes_the_discriminator_alone() -> None:
    """Every one of its parameters moves, none of the generator's does.

    (Drawing the fakes in training mode moves the generator's batch norm statistics, as usual.)
    """
    generator, discriminator = networks()
    before_g, before_d = parameters(generator), parameters(discriminator)
    optimizer = Adam(discriminator.parameters(), 1e-3, (0.0, 0.9))
    labels = torch.tensor([0, 1, 2, 0])
    seen = discriminator_step(
        discriminator, generator, optimizer, torch.randn(4, 3, 32, 32), labels,
        torch.randn(4, 128), bf16=False,
    )  # fmt: skip
    assert changed(generator, before_g) == set()
    assert changed(discriminator, before_d) == set(before_d)
    assert seen.loss.isfinite()
    assert all(p.grad is None for p in generator.parameters())


def test_a_generator_step_changes_the_generator_alone() -> None:
    """Every one of its parameters moves; the discriminator gets no gradient and can learn again."""
    generator, discriminator = networks()
    before_g, before_d = parameters(generator), parameters(discriminator)
    optimizer = Adam(generator.parameters(), 1e-3, (0.0, 0.9))
    loss = generator_step(
        discriminator, generator, optimizer, torch.randn(4, 3, 32, 32),
        torch.tensor([0, 1, 2, 0]), torch.randn(4, 128), bf16=False,
    )  # fmt: skip
    assert loss.isfinite()
    assert changed(discriminator, before_d) == set()
    assert all(p.grad is None and p.requires_grad for p in discriminator.parameters())
    biases_before_batch_norm = {
        name for name in before_g if name.endswith((".conv1.bias", "linear.bias"))
    }
    # A constant before batch norm is subtracted again: such biases may stay where they are.
    assert changed(generator, before_g) >= set(before_g) - biases_before_batch_norm


def test_each_step_advances_its_own_networks_power_iteration_once() -> None:
    """u and v of the trained network are those of exactly one iteration more, the other's stay."""
    generator, discriminator = networks()
    labels, z, images = torch.tensor([0, 1]), torch.randn(2, 128), torch.randn(2, 3, 32, 32)
    for trained, other in ((discriminator, generator), (generator, discriminator)):
        for layer in spectral_norm_layers(trained):
            nn.init.normal_(layer.weight)  # so that an iteration shows
        once, untouched = copy.deepcopy(trained), vectors(other)
        advance_power_iteration(once)
        optimizer = Adam(trained.parameters(), 1e-3)
        if trained is discriminator:
            discriminator_step(discriminator, generator, optimizer, images, labels, z, bf16=False)
        else:
            generator_step(discriminator, generator, optimizer, images, labels, z, bf16=False)
        assert all(map(torch.equal, vectors(trained), vectors(once)))
        assert all(map(torch.equal, vectors(other), untouched))


def vectors(network: nn.Module) -> list[Tensor]:
    """Copies of all u and v."""
    pairs = ((layer.u, layer.v) for layer in spectral_norm_layers(network))
    return [vector.clone() for pair in pairs for vector in pair if vector is not None]


def test_bf16_steps_stay_close_to_float32_ones() -> None:
    """Autocast changes the rounding, not the loss: both agree to bf16's precision."""
    losses = []
    for bf16 in (False, True):
        generator, discriminator = networks()
        optimizer = Adam(discriminator.parameters(), 1e-3)
        torch.manual_seed(1)
        images, z = torch.randn(8, 3, 32, 32), torch.randn(8, 128)
        seen = discriminator_step(
            discriminator, generator, optimizer, images, torch.arange(8) % 3, z, bf16=bf16
        )
        losses.append(seen.loss)
        assert next(discriminator.parameters()).dtype == torch.float32
    torch.testing.assert_close(losses[0], losses[1], rtol=0.03, atol=0.03)


def test_a_discriminator_step_in_parts_equals_a_whole_one() -> None:
    """Without batch norm, gradients of parts add up to those of the batch: the same weights."""
    torch.manual_seed(1)
    images, z, labels = torch.randn(8, 3, 32, 32), torch.randn(8, 128), torch.arange(8) % 3
    results = []
    for num_parts in (1, 4):
        generator, discriminator = networks()
        optimizer = SGD(discriminator.parameters(), 0.1)
        seen = discriminator_step(
            discriminator, generator, optimizer, images, labels, z, bf16=False, num_parts=num_parts
        )
        results.append((seen.loss, discriminator.state_dict()))
    (whole_loss, whole), (loss, parts) = results
    torch.testing.assert_close(loss, whole_loss)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=0, atol=1e-5, msg=name)


def test_a_generator_step_in_parts_sees_each_with_batch_norm_of_its_own() -> None:
    """With statistics that do not depend on the batch (eval mode) parts equal the whole."""
    torch.manual_seed(1)
    z, labels, images = torch.randn(8, 128), torch.arange(8) % 3, torch.randn(8, 3, 32, 32)
    results = []
    for num_parts in (1, 4):
        generator, discriminator = networks()
        optimizer = SGD(generator.parameters(), 0.1)
        generator.eval()
        generator_step(
            discriminator,
            generator,
            optimizer,
            images,
            labels,
            z,
            bf16=False,
            num_parts=num_parts,
        )
        results.append(generator.state_dict())
    for name, tensor in results[0].items():
        torch.testing.assert_close(results[1][name], tensor, rtol=0, atol=1e-5, msg=name)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")
def test_compiled_networks_take_the_same_step() -> None:
    """Two steps compiled and two not, in float32: the same losses to rounding."""
    shape = {"resolution": 32, "base_channels": 8, "num_classes": 3, "attention_at": (16,)}
    data = ImageSet(
        np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8),
        np.arange(12) % 3,
        tuple(ClassInfo(name=name) for name in "abc"),
    )
    losses = []
    for compiled in (False, True):
        config = TrainConfig.model_validate(
            {"generator": shape, "discriminator": shape, "batch_size": 4, "compile": compiled}
        )
        trainer = Trainer(config, data, TrainState.start(config, torch.device("cpu")))
        steps = [trainer.step() for _ in range(2)]
        losses.append(
            [float(loss) for s in steps for loss in (s.discriminator.loss, s.generator_loss)]
        )
        trainer.loader.close()
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def relativistic_steps(
    bf16: bool, discriminator: Discriminator, generator: Generator
) -> tuple[Tensor, Tensor]:
    """A discriminator and a generator step of the relativistic loss with R1 and R2; the losses."""
    torch.manual_seed(1)
    images, labels, z = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0]), torch.randn(4, 128)
    seen = discriminator_step(
        discriminator, generator, SGD(discriminator.parameters(), 1.0), images, labels, z,
        bf16=bf16, loss="relativistic", penalty=GradientPenalty(0.5, 0.25, interval=4),
    )  # fmt: skip
    loss = generator_step(
        discriminator, generator, SGD(generator.parameters(), 1.0), images, labels, z,
        bf16=bf16, loss="relativistic",
    )  # fmt: skip
    return seen.loss, loss


def test_a_relativistic_step_s_gradients_equal_a_hand_written_one_s() -> None:
    """Both networks move by minus the gradients of the formulas, written out here."""
    generator, discriminator = networks()
    for layer in spectral_norm_layers(discriminator):
        layer.power_iterate(200)  # so that the step's own iteration changes nothing
    for layer in spectral_norm_layers(generator):
        layer.power_iterate(200)
    copies = copy.deepcopy((generator, discriminator))
    torch.manual_seed(1)
    images, labels, z = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0]), torch.randn(4, 128)

    by_hand_g, by_hand_d = copies
    fakes = by_hand_g(z, labels).detach().requires_grad_()
    reals = images.clone().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        real, fake = by_hand_d(reals, labels), by_hand_d(fakes, labels)
    loss = -(real - fake).sigmoid().log().mean()
    slopes = torch.autograd.grad(real.sum() + fake.sum(), (reals, fakes), create_graph=True)
    norms = [slope.flatten(1).norm(dim=1).square().mean() for slope in slopes]
    whole = loss + 4 * (0.5 / 2 * norms[0] + 0.25 / 2 * norms[1])
    gradients = torch.autograd.grad(whole, list(by_hand_d.parameters()), allow_unused=True)
    with torch.no_grad():
        for parameter, gradient in zip(by_hand_d.parameters(), gradients, strict=True):
            if gradient is not None:  # the head's bias is in neither a difference nor a slope
                parameter.sub_(gradient)
    on_fake, on_real = by_hand_d(by_hand_g(z, labels), labels), by_hand_d(images, labels)
    loss_g = -(on_fake - on_real).sigmoid().log().mean()
    gradients = torch.autograd.grad(loss_g, list(by_hand_g.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(by_hand_g.parameters(), gradients, strict=True):
            parameter.sub_(gradient)

    seen_loss, seen_loss_g = relativistic_steps(False, discriminator, generator)
    torch.testing.assert_close(seen_loss, loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(seen_loss_g, loss_g, rtol=1e-4, atol=1e-5)
    for ours, expected in ((discriminator, by_hand_d), (generator, by_hand_g)):
        theirs = dict(expected.named_parameters())
        for name, parameter in ours.named_parameters():
            torch.testing.assert_close(parameter, theirs[name], rtol=1e-3, atol=1e-4, msg=name)


def test_several_discriminator_steps_each_take_a_batch_of_their_own() -> None:
    """Two steps of 4 and one of the generator's: 8 images further, on the last 4's classes."""
    shape = {"resolution": 32, "base_channels": 8, "num_classes": 3, "attention_at": (16,)}
    config = TrainConfig.model_validate(
        {
            "generator": shape, "discriminator": shape, "batch_size": 4, "discriminator_steps": 2,
            "total_images": 20, "loss": "relativistic", "r1": 1.0,
        }
    )  # fmt: skip
    data = ImageSet(
        np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8),
        np.arange(12) % 3,
        tuple(ClassInfo(name=name) for name in "abc"),
    )
    trainer = Trainer(config, data, TrainState.start(config, torch.device("cpu")))
    asked: list[int] = []
    batch = trainer.loader.batch

    def noted(start: int) -> tuple[Tensor, Tensor]:
        asked.append(start)
        return batch(start)

    trainer.loader.batch = noted  # type: ignore[method-assign]
    trainer.step()
    trainer.step()
    trainer.loader.close()
    assert asked == [0, 4, 8, 12]
    assert trainer.state.num_images == 16
    assert config.num_steps == 3


def test_gamma_has_a_rate_of_its_own() -> None:
    """20 times the network's in both; without it there is one group, as in older snapshots."""
    shape = {"resolution": 32, "base_channels": 8, "num_classes": 3, "attention_at": (8, 16)}
    values = {"generator": shape, "discriminator": shape, "generator_rate": 1e-3}
    plain = TrainState.start(TrainConfig.model_validate(values), torch.device("cpu"))
    assert len(plain.generator_optimizer.param_groups) == 1
    config = TrainConfig.model_validate(values | {"gamma_rate": 20.0})
    state = TrainState.start(config, torch.device("cpu"))
    others, gammas = state.generator_optimizer.param_groups
    assert (others["lr"], gammas["lr"]) == (1e-3, 2e-2)
    assert {id(p) for p in gammas["params"]} == {
        id(p) for name, p in state.generator.named_parameters() if name.endswith("gamma")
    }


def test_the_rates_cool_down_over_the_last_images_of_a_run() -> None:
    """In a straight line to 0, γ's too; a run that is lengthened has its full rates again."""
    shape = {"resolution": 32, "base_channels": 8, "num_classes": 3, "attention_at": (16,)}
    config = TrainConfig.model_validate(
        {
            "generator": shape, "discriminator": shape, "generator_rate": 1e-3,
            "discriminator_rate": 2e-3, "gamma_rate": 10.0, "total_images": 100,
            "cooldown_images": 40,
        }
    )  # fmt: skip
    state = TrainState.start(config, torch.device("cpu"))

    def rates(config: TrainConfig, num_images: int) -> list[float]:
        state.num_images = num_images
        state.set_rates(config)
        optimizers = (state.generator_optimizer, state.discriminator_optimizer)
        return [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]

    full = [1e-3, 1e-2, 2e-3, 2e-2]
    assert rates(config, 60) == pytest.approx(full)
    assert rates(config, 90) == pytest.approx([rate / 4 for rate in full])
    assert rates(config.model_copy(update={"total_images": 200}), 90) == pytest.approx(full)
