"""The exponential moving average of the generator, which is what samples are drawn from."""

import torch
from torch import nn

WARM_UP_STEPS = 10


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move `average` towards `network` after step number `step` (from 0), in place.

    Parameters are averaged. Buffers are copied: u and v belong to the newest weight (their average
    would underestimate σ), and batch norm's statistics are running averages already. The decay
    starts low, so that the random start is soon forgotten.
    """
    decay = min(decay, (1 + step) / (WARM_UP_STEPS + step))
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    for kept, new in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(new)
