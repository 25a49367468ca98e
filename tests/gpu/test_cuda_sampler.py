"""The sampler on a CUDA device."""

import numpy as np
import pytest
import torch

from model.checkpoint import load_checkpoint
from model.sampling.sampler import Sampler

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_seed_gives_the_same_bytes_at_every_batch_size_on_cuda(precision: str) -> None:
    """Graphs of every size, pictures alone, in batches and mixed with others."""
    sampler = Sampler(load_checkpoint(), "cuda", precision)  # type: ignore[arg-type]
    seeds, labels = list(range(80)), [i % 10 for i in range(80)]
    alone = np.concatenate([sampler.sample([y], [s]) for y, s in zip(labels, seeds, strict=True)])
    for size in (2, 3, 7, 16, 33, 64, 80):
        assert np.array_equal(sampler.sample(labels[:size], seeds[:size]), alone[:size]), size
    assert np.array_equal(sampler.sample(labels[::-1], seeds[::-1]), alone[::-1])


def test_cuda_draws_what_the_cpu_draws() -> None:
    """In float32 within a level or two: other kernels, the same picture."""
    labels, seeds = [i % 10 for i in range(20)], list(range(20))
    checkpoint = load_checkpoint()
    cuda = Sampler(checkpoint, "cuda").sample(labels, seeds).astype(int)
    cpu = Sampler(checkpoint, "cpu").sample(labels, seeds).astype(int)
    assert np.abs(cuda - cpu).max() <= 2


def test_mixes_of_classes_are_drawn_on_cuda_too() -> None:
    """A row with a single 1 is close to that class, which a graph draws."""
    sampler = Sampler(load_checkpoint(), "cuda")
    weights = np.eye(10, dtype=np.float32)[[3]]
    z = np.random.default_rng(0).standard_normal((1, 128)).astype(np.float32)
    assert sampler.render(z, weights).std() > 0


def test_auto_takes_bf16_on_a_device_that_has_it() -> None:
    """Where its pictures are close enough."""
    sampler = Sampler(load_checkpoint(), "cuda", "auto")
    sampler.warm_up()
    major = torch.cuda.get_device_capability()[0]
    assert sampler.precision == ("bf16" if major >= 8 else "float32")
