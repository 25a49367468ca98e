"""The exponential moving average of the generator, from which samples are drawn."""

import copy

import torch
from torch import nn

from model.generator import Generator

WARM_UP_STEPS = 10
CALIBRATION_BATCHES = 16
CALIBRATION_BATCH_SIZE = 64


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Moves `average` towards `network` after step number `step` (from 0), in place.

    Parameters are averaged and buffers are copied. An average of u and v would underestimate σ.
    Batch norm's copied statistics belong to the weights of the last few steps, not to the average:
    `calibrated` computes the right ones. The decay starts low, so that the average soon forgets
    the random initial weights.
    """
    decay = min(decay, (1 + step) / (WARM_UP_STEPS + step))
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    torch._foreach_copy_(list(average.buffers()), list(network.buffers()))


@torch.no_grad()
def calibrated(average: Generator) -> Generator:
    """Returns a copy of `average`, in eval mode, with batch norm statistics of its own weights.

    The statistics are means over 16 batches of 64 latents, with classes that are shuffled and the
    same at every call ("standing statistics", Brock et al. 2019, appendix). Batches of neighbouring
    classes, which in ImageNet's order are all dogs or all birds, would have too little variance.
    """
    network = copy.deepcopy(average)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    network.train()
    device, config = network.linear.weight.device, network.config
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(CALIBRATION_BATCH_SIZE * CALIBRATION_BATCHES) % config.num_classes
    labels = labels[torch.randperm(len(labels), generator=random)]
    for batch in labels.to(device).split(CALIBRATION_BATCH_SIZE):
        z = torch.randn(len(batch), config.z_dim, generator=random)
        network(z.to(device), batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()
