"""BigGAN-PyTorch's own networks and training step, from a clone of its repository.

Its modules are imported unchanged, except for those that load and save pictures: empty modules
replace these, so that the comparison needs neither torchvision nor h5py. The step does not use
them.
"""

import contextlib
import importlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from training.recipes.config import TrainConfig

UNUSED = ("torchvision", "torchvision.transforms", "datasets")
SETTLING_ITERATIONS = 100
REQUIRED = ("BigGAN.py", "layers.py", "train_fns.py", "utils.py")


class BigGanPyTorch:
    """A run of BigGAN-PyTorch's SAGAN with our learning rates: `step` is its `train_fns` step.

    Its latents come from the same random stream as those of our run, and its fakes have the classes
    of the real images as ours do, so that both runs see the same numbers. Raises FileNotFoundError
    if `folder` is not a clone.
    """

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self._random = torch.Generator().manual_seed(config.seed)
        self._batch = config.batch_size
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of every layer
            self._build(folder, config)

    def _build(self, folder: Path, config: TrainConfig) -> None:
        networks, steps, utils = modules_of(folder)
        options = options_of(config)
        torch.manual_seed(config.seed)
        self.generator: nn.Module = networks.Generator(**options)
        self.discriminator: nn.Module = networks.Discriminator(**options)
        settle(self.generator, self.discriminator)
        average = networks.Generator(**options, skip_init=True, no_optim=True)
        ema = utils.ema(self.generator, average, config.ema_decay, 0)
        z, labels = utils.prepare_z_y(
            self._batch, config.generator.z_dim, options["n_classes"], device="cpu"
        )
        z.sample_ = lambda: z.copy_(self._latents(config.generator.z_dim))
        labels.sample_ = lambda: labels.copy_(self._labels)
        pair = networks.G_D(self.generator, self.discriminator)
        settings = {
            "batch_size": self._batch, "toggle_grads": True, "split_D": False, "ema": True,
            "num_D_steps": 1, "num_D_accumulations": 1, "num_G_accumulations": 1,
            "D_ortho": 0.0, "G_ortho": 0.0,
        }  # fmt: skip
        self._step: Callable[[Tensor, Tensor], dict[str, float]] = steps.GAN_training_function(
            self.generator, self.discriminator, pair, z, labels, ema, {"itr": 0}, settings
        )

    def step(self, images: Tensor, labels: Tensor) -> tuple[float, float]:
        """Takes a step on (B, 3, H, W) images and (B,) labels; returns the losses of D and G."""
        self._labels = labels
        losses = self._step(images, labels)
        return losses["D_loss_real"] + losses["D_loss_fake"], losses["G_loss"]

    def _latents(self, width: int) -> Tensor:
        return torch.randn(self._batch, width, generator=self._random)


def settle(*networks: nn.Module) -> None:
    """Iterates every layer's u until σ is the largest singular value, before the first step.

    Their u starts at random and is iterated at every read, ours once per step, so otherwise the two
    sides would begin with different weights.
    """
    with torch.no_grad():
        for network in networks:
            for layer in network.modules():
                read: Any = getattr(layer, "W_", None)
                for _ in range(SETTLING_ITERATIONS if read else 0):
                    read()


def options_of(config: TrainConfig) -> dict[str, Any]:
    """The options of its networks: those of its SAGAN script, with our size and learning rates."""
    generator, discriminator = config.generator, config.discriminator
    return {
        "resolution": generator.resolution,
        "n_classes": generator.num_classes,
        "G_ch": generator.base_channels,
        "D_ch": discriminator.base_channels,
        "G_attn": "_".join(map(str, generator.attention_at or (0,))),
        "D_attn": "_".join(map(str, discriminator.attention_at or (0,))),
        "G_shared": False,
        "G_init": "xavier",
        "D_init": "xavier",
        "SN_eps": 1e-8,
        "BN_eps": 1e-5,
        "G_lr": config.generator_rate,
        "D_lr": config.discriminator_rate,
        "G_B2": config.adam_beta2,
        "D_B2": config.adam_beta2,
    }


def modules_of(folder: Path) -> tuple[ModuleType, ModuleType, ModuleType]:
    """Its modules `BigGAN`, `train_fns` and `utils`; raises FileNotFoundError without them."""
    if missing := [name for name in REQUIRED if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder}: no clone of BigGAN-PyTorch, {missing[0]} is missing")
    for name in UNUSED:
        empty = ModuleType(name)
        empty.__dict__["__getattr__"] = lambda _name: None
        sys.modules.setdefault(name, empty)
    sys.path.insert(0, str(folder))
    networks, steps, utils = (
        importlib.import_module(name) for name in ("BigGAN", "train_fns", "utils")
    )
    return networks, steps, utils
