"""The sampler on a CUDA device."""

import threading

import numpy as np
import pytest
import torch

from model.checkpoint import load_checkpoint
from model.latents import latents
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


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_mixes_of_classes_share_the_graphs_of_plain_ones(precision: str) -> None:
    """The same bytes alone, in batches of every size and backwards; a plain class is `sample`'s.

    The last picture mixes three classes, which no graph draws.
    """
    sampler = Sampler(load_checkpoint(), "cuda", precision)  # type: ignore[arg-type]
    z, weights = latents(range(80), 128), np.zeros((80, 10), np.float32)
    for i, row in enumerate(weights):
        row[i % 10] += 1 - i % 2 * i / 80
        row[(i + 1) % 10] += i % 2 * i / 80
    weights[-1] = [0.25, 0.25, 0.5, *[0] * 7]
    alone = np.concatenate([sampler.render(z[i : i + 1], weights[i : i + 1]) for i in range(80)])
    for size in (2, 3, 7, 16, 33, 64, 79, 80):
        assert np.array_equal(sampler.render(z[:size], weights[:size]), alone[:size]), size
    assert np.array_equal(sampler.render(z[::-1], weights[::-1]), alone[::-1])
    plain = sampler.sample([i % 10 for i in range(0, 80, 2)], range(0, 80, 2))
    assert np.array_equal(alone[::2], plain)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_attention_scales_leave_the_graphs_bytes_as_they_are(precision: str) -> None:
    """A batch with a scale runs without a graph; its pictures of scale 1 are the graphs'."""
    sampler = Sampler(load_checkpoint(), "cuda", precision)  # type: ignore[arg-type]
    labels, seeds = [i % 10 for i in range(80)], list(range(80))
    scales = [(1.0, 0.0, 0.5, 1.0, 2.0)[i % 5] for i in range(80)]
    plain = sampler.sample(labels, seeds)
    alone = np.concatenate(
        [sampler.sample([y], [s], None, a) for y, s, a in zip(labels, seeds, scales, strict=True)]
    )
    unscaled = np.array(scales) == 1
    assert np.array_equal(alone[unscaled], plain[unscaled])
    assert not np.array_equal(alone[~unscaled], plain[~unscaled])
    for size in (2, 3, 7, 16, 33, 64, 80):
        drawn = sampler.sample(labels[:size], seeds[:size], None, scales[:size])
        assert np.array_equal(drawn, alone[:size]), size


def test_auto_takes_bf16_on_a_device_that_has_it() -> None:
    """Where its pictures are close enough."""
    sampler = Sampler(load_checkpoint(), "cuda", "auto")
    sampler.warm_up()
    major = torch.cuda.get_device_capability()[0]
    assert sampler.precision == ("bf16" if major >= 8 else "float32")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_sampler_on_the_second_device_draws_what_one_on_the_first_draws() -> None:
    """A graph is captured on the current device unless it is told otherwise."""
    labels, seeds = [i % 10 for i in range(20)], list(range(20))
    checkpoint = load_checkpoint()
    first, second = (Sampler(checkpoint, f"cuda:{i}").sample(labels, seeds) for i in range(2))
    assert np.array_equal(first, second)
    assert len(np.unique(second.reshape(20, -1), axis=0)) == 20


def test_another_sampler_warms_up_beside_one_that_draws() -> None:
    """As a worker loads a newer checkpoint: its captures and the drawing do not disturb another."""
    checkpoint = load_checkpoint()
    sampler = Sampler(checkpoint, "cuda")
    expected = sampler.sample([3] * 16, range(16))
    drawn: list[bool] = []
    stopped = threading.Event()

    def draw() -> None:
        while not stopped.is_set():
            drawn.append(np.array_equal(sampler.sample([3] * 16, range(16)), expected))

    thread = threading.Thread(target=draw)
    thread.start()
    newer = Sampler(checkpoint, "cuda")
    newer.warm_up()
    stopped.set()
    thread.join()
    assert drawn
    assert all(drawn)
    assert newer._graphs is not None
    assert np.array_equal(newer.sample([3] * 16, range(16)), expected)
    assert not torch.backends.cudnn.allow_tf32
