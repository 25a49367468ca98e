"""Self-attention against the paper's equations written as loops."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.attention import COSINE_SCALE, SelfAttention, fused_attention
from model.config import AttentionForm, AttentionLogits


def layer(
    form: AttentionForm, gamma: float = 0.7, logits: AttentionLogits = "dot"
) -> SelfAttention:
    torch.manual_seed(0)
    attention = SelfAttention(16, form=form, logits=logits, spectral_norm=True, eps=1e-12).double()
    torch.nn.init.constant_(attention.gamma, gamma)
    return attention


def logit(kind: AttentionLogits, query: Tensor, key: Tensor) -> float:
    dot = float(torch.dot(query, key))
    return dot if kind == "dot" else COSINE_SCALE * dot / float(query.norm() * key.norm())


def naive(attention: SelfAttention, x: Tensor) -> Tensor:
    """Equations 1 to 3 of the paper, position by position."""
    pool = (lambda t: F.max_pool2d(t, 2)) if attention.pooled else (lambda t: t)
    query = attention.query(x).flatten(2)
    key, value = pool(attention.key(x)).flatten(2), pool(attention.value(x)).flatten(2)
    mixed = torch.zeros(len(x), value.shape[1], query.shape[2], dtype=x.dtype)
    for b in range(len(x)):
        for j in range(query.shape[2]):
            scores = [
                math.exp(logit(attention.logits, query[b, :, j], key[b, :, i]))
                for i in range(key.shape[2])
            ]
            for i, score in enumerate(scores):
                mixed[b, :, j] += score / sum(scores) * value[b, :, i]
    out: Tensor = attention.out(mixed.view(len(x), -1, *x.shape[2:]))
    return attention.gamma * out + x


@pytest.mark.parametrize("form", ["released", "paper"])
@pytest.mark.parametrize(("logits", "error"), [("dot", 1e-9), ("cosine", 1e-4)])
@torch.no_grad()
def test_attention_equals_a_naive_triple_loop(
    form: AttentionForm, logits: AttentionLogits, error: float
) -> None:
    """The fused path is softmax(f(x)ᵀg(x)) without 1/√d, to float64 rounding.

    Cosines differ by the small number that is added to lengths, so that none is 0.
    """
    attention, x = layer(form, logits=logits), torch.randn(2, 16, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(attention(x), naive(attention, x), rtol=error, atol=error)


@pytest.mark.parametrize("form", ["released", "paper"])
@torch.no_grad()
def test_cosine_logits_do_not_depend_on_the_size_of_the_features(form: AttentionForm) -> None:
    """Features a thousand times as large would make each position look at one other only."""
    attention, x = layer(form, logits="cosine"), torch.randn(1, 16, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(
        attention.weights(1000 * x), attention.weights(x), rtol=1e-3, atol=1e-4
    )
    assert torch.equal(layer(form).weights(1e6 * x).amax((2, 3)), torch.ones(1, 16).double())


@pytest.mark.parametrize("form", ["released", "paper"])
def test_cosine_logits_have_second_derivatives_everywhere(form: AttentionForm) -> None:
    """Where a query or a key is 0, too: penalties on gradients need them."""
    attention = layer(form, logits="cosine")
    x = torch.zeros(1, 16, 4, 4, dtype=torch.float64, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH):
        [slope] = torch.autograd.grad(attention(x).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in attention.parameters())


@pytest.mark.parametrize("form", ["released", "paper"])
def test_attention_is_the_identity_at_gamma_zero(form: AttentionForm) -> None:
    """γ starts at 0, and then the layer hands on its input bit for bit."""
    fresh = SelfAttention(16, form=form, spectral_norm=True, eps=1e-12)
    x = torch.randn(2, 16, 4, 4)
    assert fresh.gamma.item() == 0.0
    assert torch.equal(fresh(x), x)


@pytest.mark.parametrize("form", ["released", "paper"])
@torch.no_grad()
def test_the_explicit_weights_are_those_that_the_fused_path_used(form: AttentionForm) -> None:
    """Mixing the values with `weights` gives what `forward` gave; each map sums to 1."""
    attention, x = layer(form), torch.randn(2, 16, 4, 4, dtype=torch.float64)
    weights = attention.weights(x).double()
    side = 2 if form == "released" else 4
    assert weights.shape == (2, 16, side, side)
    torch.testing.assert_close(weights.sum((2, 3)), torch.ones(2, 16, dtype=torch.float64))
    value = attention._pool(attention.value(x)).flatten(2)
    mixed = (weights.flatten(2) @ value.mT).mT.reshape(2, -1, 4, 4)
    expected = x + attention.gamma * attention.out(mixed)
    torch.testing.assert_close(attention(x), expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_asked_positions_get_their_rows_only() -> None:
    """`positions` picks queries y·W + x without computing the others."""
    attention, x = layer("released"), torch.randn(1, 16, 4, 4, dtype=torch.float64)
    some = attention.weights(x, torch.tensor([7, 0]))
    assert torch.equal(some[0], attention.weights(x)[0, [7, 0]])


def test_fused_attention_pads_widths_without_changing_the_result() -> None:
    """Zero columns for the kernel's sake change neither scores nor mixtures."""
    query, key, value = torch.randn(2, 9, 3), torch.randn(2, 5, 3), torch.randn(2, 5, 7)
    expected = (query @ key.mT).softmax(-1) @ value
    torch.testing.assert_close(fused_attention(query, key, value), expected)


def test_too_few_channels_are_refused_with_the_number() -> None:
    """C/8 keys need 8 channels."""
    with pytest.raises(ValueError, match="got 4"):
        SelfAttention(4, form="released", spectral_norm=True, eps=1e-12)


@pytest.mark.parametrize("form", ["released", "paper"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_every_memory_layout_takes_the_fused_kernel(
    form: AttentionForm, layout: torch.memory_format
) -> None:
    """With that kernel alone allowed there is a result, and it is the usual one."""
    torch.manual_seed(0)
    attention = SelfAttention(64, form=form, spectral_norm=False, eps=1e-5)
    torch.nn.init.constant_(attention.gamma, 0.7)
    x = torch.randn(2, 64, 8, 8).contiguous(memory_format=layout)
    with sdpa_kernel(SDPBackend.MATH):
        expected = attention(x)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        torch.testing.assert_close(attention(x), expected)
