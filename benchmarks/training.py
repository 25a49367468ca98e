"""Compares the training step with BigGAN-PyTorch's own in one run.

    git clone https://github.com/ajbrock/BigGAN-PyTorch
    .venv/bin/python -m benchmarks.training --peer BigGAN-PyTorch --size 64
    .venv/bin/python -m benchmarks.training --profile          # where our own step's time goes

Both sides have the same architecture (its widths, our place of attention), the same weights at the
start, the same pictures in the same order, the same latents and the same learning rates; the
command prints both parameter counts. Steps alternate, so that times and loss curves come from one
run. Our step reads and converts its batches and updates the moving average within the measured
time; the peer gets ready tensors. Times are medians with quartiles. docs/training.md has the
differences.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.biggan_pytorch import BigGanPyTorch
from benchmarks.training_tables import FIRST_STEPS, PEER, Losses, quartiles, show, windows
from model.devices import kernels_of
from model.importers.assembling import assemble_discriminator, assemble_generator
from model.importers.biggan_pytorch import BIGGAN_PYTORCH, RULES
from training.data.image_set import ImageSet
from training.data.opening import open_data
from training.recipes.config import TrainConfig
from training.run.loader import Loader
from training.run.processes import Processes
from training.run.trainer import Trainer
from training.saving.state import TrainState

CPU = torch.device("cpu")
ATTENTION_AT = {32: 16, 64: 32, 128: 32}
# Its 64 px generator begins as wide as it goes on; ours by default has no 2 × 16 first.
GENERATOR_MULTIPLIERS = {64: (16, 16, 8, 4, 2)}
WARM_UP_STEPS = 4  # not timed: allocations, and compiling where asked for
Step = Callable[[], Losses]


@dataclass
class Measured:
    """The seconds and both losses of every step of one contender."""

    step: Step
    seconds: list[float] = field(default_factory=list)
    losses: list[Losses] = field(default_factory=list)

    def run(self) -> None:
        """Takes a step and records it."""
        start_s = time.perf_counter()
        losses = self.step()
        self.seconds.append(time.perf_counter() - start_s)
        self.losses.append(losses)


def main() -> None:
    """Prints the tables and, if asked, writes the same figures as JSON."""
    options = parse()
    data = open_data("picturebook", options.data_dir, options.size, options.num_pictures)
    if options.profile:
        print_profile(options, data)
        return
    contenders, counts = prepare(options, data)
    for _ in range(options.steps):
        for contender in contenders.values():
            contender.run()
    machine = f"torch {torch.__version__}, {kernels_of(CPU)}"
    step_s = {name: quartiles(c.seconds[WARM_UP_STEPS:]) for name, c in contenders.items()}
    losses = {
        name: [*c.losses[:FIRST_STEPS], *windows(c.losses, options.windows)]
        for name, c in contenders.items()
    }
    print(f"{machine}; {options.size} px, batch {options.batch_size}; parameters: {counts}")
    show(step_s, losses, options.batch_size)
    document = {
        "machine": machine,
        "size": options.size,
        "batch_size": options.batch_size,
        "parameters": counts,
        "step_s": step_s,
        "losses": losses,
    }
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--peer", type=Path, help="a clone of BigGAN-PyTorch")
    what.add_argument("--profile", action="store_true", help="profile our own step instead")
    parser.add_argument("--size", type=int, choices=sorted(ATTENTION_AT), default=64)
    parser.add_argument("--base-channels", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--windows", type=int, default=4, help="parts of the curve to average over")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="bf16")
    parser.add_argument("--compile", action="store_true", help="ours also compiled, in bf16")
    parser.add_argument("--num-pictures", type=int, default=2000)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--json", type=Path, help="also write the figures here")
    return parser.parse_args()


def config_of(
    options: argparse.Namespace, num_classes: int, precision: str, compiled: bool = False
) -> TrainConfig:
    """The config of a run with the peer's architecture at this size and the paper's recipe."""
    shared = {
        "resolution": options.size,
        "base_channels": options.base_channels,
        "num_classes": num_classes,
        "spectral_norm_eps": RULES.spectral_norm_eps,
    }
    at = ATTENTION_AT[options.size]
    generator = shared | {"conditional_gain": "offset", "attention_at": (at,)}
    # At 32 px it would put attention behind all four blocks of D, which all end at 16: none then.
    discriminator = shared | {"attention_at": (at,) if options.size > 32 else ()}
    if options.size in GENERATOR_MULTIPLIERS:
        generator["channel_multipliers"] = GENERATOR_MULTIPLIERS[options.size]
    return TrainConfig.model_validate(
        {
            "generator": generator,
            "discriminator": discriminator,
            "batch_size": options.batch_size,
            "precision": precision,
            "compile": compiled,
        }
    )


def prepare(
    options: argparse.Namespace, data: ImageSet
) -> tuple[dict[str, Measured], dict[str, dict[str, int]]]:
    """The contenders by name, and the number of parameters of each network of both sides.

    Raises RuntimeError if the two sides' parameters differ in number.
    """
    config = config_of(options, len(data.classes), "float32")
    peer = BigGanPyTorch(options.peer, config)
    contenders = {f"{PEER} float32": Measured(peer_step(peer, config, data))}
    variants = {"float32": ("float32", False), "bf16": ("bf16", False)}
    if options.compile:
        variants["bf16 compiled"] = ("bf16", True)
    for name, (precision, compiled) in variants.items():
        own = config_of(options, len(data.classes), precision, compiled)
        trainer = Trainer(own, data, state_like(peer, own))
        contenders[f"ours {name}"] = Measured(own_step(trainer))
    sides = {
        PEER: (peer.generator, peer.discriminator),
        "ours": (trainer.state.generator, trainer.state.discriminator),
    }
    counts = {
        side: dict(zip(("generator", "discriminator"), map(num_parameters, networks), strict=True))
        for side, networks in sides.items()
    }
    if counts["ours"] != counts[PEER]:
        raise RuntimeError(f"the networks differ: {counts}")
    return contenders, counts


def state_like(peer: BigGanPyTorch, config: TrainConfig) -> TrainState:
    """The state of a run that starts with the peer's weights, imported as by `sagan import`."""
    state = TrainState.start(config, CPU)
    generator = assemble_generator(BIGGAN_PYTORCH, peer.generator.state_dict(), RULES)
    discriminator = assemble_discriminator(BIGGAN_PYTORCH, peer.discriminator.state_dict(), RULES)
    state.generator.load_state_dict(generator.state_dict())
    state.average.load_state_dict(generator.state_dict())
    state.discriminator.load_state_dict(discriminator.state_dict())
    return state


def own_step(trainer: Trainer) -> Step:
    """Our step: it reads a batch from the memory map and updates both networks and the average."""

    def step() -> Losses:
        seen = trainer.step()
        return float(seen.discriminator.loss), float(seen.generator_loss)

    return step


def peer_step(peer: BigGanPyTorch, config: TrainConfig, data: ImageSet) -> Step:
    """The peer's step on the same batches, which are ready as contiguous tensors."""
    loader = Loader(config, data, CPU, Processes())
    ready = [loader.batch(0)]
    position = 0

    def step() -> Losses:
        nonlocal position
        images, labels = ready.pop()
        losses = peer.step(images.contiguous(), labels)
        position += config.batch_size
        ready.append(loader.batch(position))
        return losses

    return step


def num_parameters(network: nn.Module) -> int:
    """The number of parameters of all layers."""
    return sum(parameter.numel() for parameter in network.parameters())


def print_profile(options: argparse.Namespace, data: ImageSet) -> None:
    """Prints the operations that our step spends its time in."""
    config = config_of(options, len(data.classes), options.precision)
    trainer = Trainer(config, data, TrainState.start(config, CPU))
    trainer.step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        trainer.step()
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=20))


if __name__ == "__main__":
    main()
