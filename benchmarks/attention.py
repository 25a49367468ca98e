"""Compares forward and backward passes of self-attention: fused, and with the weights formed.

Run: python benchmarks/attention.py [--repeats 8]. The shapes are those of the 64 px network with 16
base channels: 32×32 queries, keys pooled to 16×16. Variants alternate; the command prints medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from model.attention import fused_attention

BATCH, QUERIES, KEYS, KEY_WIDTH, VALUE_WIDTH = 32, 1024, 256, 4, 16


def formed_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(query·keyᵀ)·value, forming the (B, Q, K) weights."""
    return (query @ key.mT).softmax(-1) @ value


def run_once(attention: Callable[[Tensor, Tensor, Tensor], Tensor], dtype: torch.dtype) -> float:
    """The seconds of one forward and backward pass."""
    query, key, value = (
        torch.randn(BATCH, rows, width, dtype=dtype, requires_grad=True)
        for rows, width in ((QUERIES, KEY_WIDTH), (KEYS, KEY_WIDTH), (KEYS, VALUE_WIDTH))
    )
    start_s = time.perf_counter()
    attention(query, key, value).sum().backward()
    return time.perf_counter() - start_s


def main() -> None:
    """Prints a line for each number format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=8)
    repeats = parser.parse_args().repeats
    variants = {"formed": formed_attention, "fused": fused_attention}
    for dtype in (torch.float32, torch.bfloat16):
        times: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(repeats + 1):
            for name, attention in variants.items():
                times[name].append(run_once(attention, dtype))
        medians = {name: statistics.median(values[1:]) for name, values in times.items()}
        told = "  ".join(f"{name} {1000 * seconds:6.1f} ms" for name, seconds in medians.items())
        ratio = medians["formed"] / medians["fused"]
        print(f"{str(dtype).removeprefix('torch.'):<9} {told}  {ratio:.1f}×")


if __name__ == "__main__":
    main()
