"""Self-attention over the positions of a feature map (Zhang et al. 2018, section 3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import MIN_ATTENTION_CHANNELS, AttentionForm, AttentionLogits
from model.layers import Conv2d

COSINE_SCALE = 8.0  # the largest logit: a key gets at most e^16 times the weight of another
LENGTH_EPS = 1e-6  # added to squared lengths; a query of zeros then looks everywhere alike


class SelfAttention(nn.Module):
    """y = γ·o(attend(x)) + x with a learned γ that starts at 0 (equations 1 to 3).

    The paper's f, g, h, v are `key`, `query`, `value`, `out` here. There is no 1/√d. In the
    "released" form keys and values are max-pooled 2×2 and values have C/2 channels; in the "paper"
    form nothing is pooled and values have C/8.

    The paper's logits are products of query and key ("dot"), which spectral norm keeps small.
    Without spectral norm they grow in training until each position looks at one other only. With
    "cosine" logits query and key have length 1 (Henry et al. 2020, "Query-Key Normalization for
    Transformers"), and the product is multiplied by COSINE_SCALE.
    """

    def __init__(
        self,
        channels: int,
        *,
        form: AttentionForm,
        logits: AttentionLogits = "dot",
        spectral_norm: bool,
        eps: float,
    ) -> None:
        super().__init__()
        if channels < MIN_ATTENTION_CHANNELS:
            raise ValueError(
                f"attention needs at least {MIN_ATTENTION_CHANNELS} channels (C/8 keys), "
                f"got {channels}"
            )
        self.pooled = form == "released"
        self.logits: AttentionLogits = logits
        inner = channels // 8
        value_width = channels // 2 if self.pooled else inner

        def conv1x1(width_in: int, width_out: int) -> Conv2d:
            return Conv2d(width_in, width_out, 1, spectral_norm=spectral_norm, eps=eps, bias=False)

        self.query = conv1x1(channels, inner)
        self.key = conv1x1(channels, inner)
        self.value = conv1x1(channels, value_width)
        self.out = conv1x1(value_width, channels)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        """Attends with the fused kernel, without forming the HW × HW/4 weights."""
        query, key = self._query_and_key(x)
        value = self._pool(self.value(x)).flatten(2).mT  # (B, HW/4, C/2)
        mixed = fused_attention(query.flatten(2).mT, key.flatten(2).mT, value)  # (B, HW, C/2)
        out = self.out(mixed.mT.unflatten(2, x.shape[2:]))
        return torch.addcmul(x, self.gamma.to(out), out)

    def weights(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """Computes the weights of each query position.

        `x` is the (B, C, H, W) that `forward` gets; `positions` are (Q,) indices y·W + x into its
        grid, all of them by default. Returns (B, Q, h, w) over the key grid in float32 or better,
        each (h, w) summing to 1 (β of equation 1).
        """
        query, key = self._query_and_key(x)
        query = query.flatten(2) if positions is None else query.flatten(2)[:, :, positions]
        dtype = torch.promote_types(query.dtype, torch.float32)
        logits = query.mT.to(dtype) @ key.flatten(2).to(dtype)  # (B, Q, hw)
        weights: Tensor = logits.softmax(-1)
        return weights.view(*weights.shape[:2], *key.shape[2:])

    def _query_and_key(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Query (B, C/8, H, W) and key (B, C/8, h, w), whose products are the logits."""
        return scaled_for_logits(self.query(x), self._pool(self.key(x)), self.logits)

    def _pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2) if self.pooled else x


def scaled_for_logits(query: Tensor, key: Tensor, logits: AttentionLogits) -> tuple[Tensor, Tensor]:
    """(B, D, H, W) queries and keys, changed so that their products are the logits."""
    if logits == "dot":
        return query, key
    return _unit(query) * COSINE_SCALE, _unit(key)


def _unit(x: Tensor) -> Tensor:
    """(B, D, H, W) with the length 1 at each position. Differentiable twice, at 0 too."""
    return x * (x.square().sum(1, keepdim=True) + LENGTH_EPS).rsqrt()


def fused_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(query·keyᵀ)·value: (B, Q, D), (B, K, D), (B, K, E) -> (B, Q, E).

    PyTorch's fused kernels need one width for all three, a multiple of 8, a head axis, and rows
    that are contiguous, which those of (B, C, H, W) maps are only in channels-last memory;
    otherwise PyTorch forms the weights, which is several times slower. So the tensors are padded
    with zeros, which changes no product, and copied if their layout needs it.
    """
    width = value.shape[2]
    fused_width = -(-max(width, query.shape[2]) // 8) * 8
    query, key, value = (
        F.pad(t, (0, fused_width - t.shape[2])).contiguous().unsqueeze(1)
        for t in (query, key, value)
    )
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)[:, 0, :, :width]
