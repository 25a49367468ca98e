"""Batch norm over the batches of all processes, on every device.

PyTorch's SyncBatchNorm, which is used on CUDA, needs CUDA. The one here uses differentiable sums
over the processes, so that two processes with half a batch each compute what one process computes
with the whole batch.
"""

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with the mean and variance over the batches of all processes."""

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> "SyncedBatchNorm2d":
        """Makes a synced norm that shares the parameters and buffers of `norm`."""
        affine, momentum = norm.affine, norm.momentum
        synced = cls(norm.num_features, eps=norm.eps, momentum=momentum, affine=affine)
        for name, parameter in norm.named_parameters():
            synced.register_parameter(name, parameter)
        for name, buffer in norm.named_buffers():
            synced.register_buffer(name, buffer)
        return synced.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W), as many in each process
        """Normalises `x`; in training mode it updates the running statistics, as usual."""
        if not self.training:
            return super().forward(x)
        exact = x.float()
        # Two passes: E[x²] − E[x]² would lose all digits where the mean is far from 0.
        mean = _mean(exact.mean((0, 2, 3)))
        centred = exact - mean[:, None, None]
        variance = _mean(centred.square().mean((0, 2, 3)))
        self._follow(mean.detach(), variance.detach(), x.numel() // x.shape[1])
        normalized = centred * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            normalized = normalized * self.weight[:, None, None] + self.bias[:, None, None]
        return normalized.to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        total = count * distributed.get_world_size()
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            return
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (total / (total - 1)), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def sync_batch_norm(network: nn.Module) -> None:
    """Replaces every batch norm of `network` by a synced one, in place."""
    if next(network.parameters()).device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SyncedBatchNorm2d.of(child))


def _mean(values: Tensor) -> Tensor:
    """The mean of the (C,) values of all processes; its gradient reaches every process."""
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total / distributed.get_world_size()


class _Sum(torch.autograd.Function):
    """The sum over the processes; its gradient is the sum of the gradients of all processes."""

    @staticmethod
    def forward(_ctx: FunctionCtx, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)  # type: ignore[no-any-return, no-untyped-call]
