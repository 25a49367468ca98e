"""What a run is said to cost, against counting by hand and against a real step."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.discriminator import Discriminator
from model.generator import Generator
from training.recipes.config import TrainConfig
from training.recipes.presets import preset
from training.recipes.recipe import config_of
from training.run import costs
from training.run.costs import PeakMemory, count_costs, measure_speed
from training.run.losses import GradientPenalty
from training.saving.state import TrainState

ROOT = Path(__file__).parents[3]


def config(**keys: object) -> TrainConfig:
    small: dict[str, object] = {"base_channels": 8, "batch_size": 4, "precision": "float32"}
    return config_of(preset("laptop-32-paper-feat16") | small | keys, num_classes=3)


def test_parameters_are_those_of_the_networks() -> None:
    """Counted on networks that are really built."""
    run = config()
    costs = count_costs(run)
    generator, discriminator = Generator(run.generator), Discriminator(run.discriminator)
    assert costs.generator_parameters == sum(p.numel() for p in generator.parameters())
    assert costs.discriminator_parameters == sum(p.numel() for p in discriminator.parameters())
    state = 16 * costs.generator_parameters + 12 * costs.discriminator_parameters
    assert costs.state_bytes == state


def test_the_arithmetic_of_a_discriminator_is_that_of_its_convolutions() -> None:
    """32 px, base 8, no attention: four blocks of 32 channels, by hand; two FLOPs each product."""
    places = {32: 32**2, 16: 16**2, 8: 8**2}
    products = (
        places[32] * 9 * 3 * 32 + places[16] * 16 * 32 * 32 + places[16] * 3 * 32
        + places[16] * 9 * 32 * 32 + places[8] * 16 * 32 * 32 + places[8] * 32 * 32
        + 4 * places[8] * 9 * 32 * 32
        + 32
    )  # fmt: skip
    assert count_costs(config(attention_at=[])).discriminator_flops == 2 * products


def test_attention_counts_its_scores_and_its_mixture() -> None:
    """On 16×16 with 32 channels: 1×1 convolutions, then 256 queries on 64 keys, padded to 16."""
    with_attention = count_costs(config(attention_at=[16])).discriminator_flops
    without = count_costs(config(attention_at=[])).discriminator_flops
    convolutions = 256 * (32 * 4 + 32 * 4 + 32 * 16 + 16 * 32)
    assert with_attention - without == 2 * (convolutions + 2 * 256 * 64 * 16)


def test_a_step_is_four_passes_of_the_generator_and_eight_of_the_discriminator() -> None:
    """Fakes 1, its own step 3; D on real and fake 6, and 2 for the generator's gradient."""
    costs = count_costs(config())
    passes = 4 * costs.generator_flops + 8 * costs.discriminator_flops
    assert costs.step_flops == pytest.approx(passes, rel=0.05)


@pytest.mark.slow
def test_memory_grows_with_the_batch_and_halves_less_than_with_bf16() -> None:
    """Activations are linear in the batch; the state is not."""
    small, large = (count_costs(config(batch_size=b)) for b in (8, 16))
    assert small.state_bytes == large.state_bytes
    assert 1.8 < large.step_bytes / small.step_bytes <= 2.0
    half = count_costs(config(batch_size=16, precision="bf16"))
    assert 0.4 < half.step_bytes / large.step_bytes < 0.8


def test_a_batch_in_parts_needs_the_memory_of_one_part() -> None:
    """Gradients add up in place; only one part's activations wait for their backward pass."""
    whole, parts = (count_costs(config(batch_size=b, accumulation=n)) for b, n in ((4, 1), (8, 2)))
    assert parts == whole


@pytest.mark.slow
def test_speed_is_measured_in_real_steps() -> None:
    """A batch of 4 as it is, one of 256 in steps of 16 on a CPU."""
    speed = measure_speed(config(), torch.device("cpu"))
    assert (speed.batch_size, speed.peak_bytes) == (4, None)
    assert speed.images_per_s > 0
    assert measure_speed(config(batch_size=256), torch.device("cpu")).batch_size == 16


@pytest.mark.slow
@pytest.mark.parametrize("name", ["laptop-32-paper-feat16", "laptop-32"])
def test_the_memory_of_a_step_is_that_of_its_real_tensors(name: str) -> None:
    """At its largest moment, with and without a gradient penalty."""
    small: dict[str, object] = {"base_channels": 8, "batch_size": 4, "precision": "float32"}
    run = config_of(preset(name) | small, num_classes=3)
    state = TrainState.start(run, torch.device("cpu"))
    due = GradientPenalty.of_run(run).is_due(0)
    costs._step(run, state, 4, due)
    peaks = []
    for half in costs._halves(run, state, 4, due):
        with PeakMemory() as memory:
            half()
        peaks.append(memory.peak_bytes)
    assert count_costs(run).step_bytes == pytest.approx(max(peaks), rel=0.02)


def test_a_peak_is_the_most_that_exists_at_once() -> None:
    """Views cost nothing, and what is deleted no longer counts."""
    start = torch.zeros(1000)
    with PeakMemory() as memory:
        first = start + 1
        view = first.view(10, 100)
        del first
        assert memory.num_bytes == 4000
        second = view * 2
        view.add_(second)
        del view, second
        assert memory.num_bytes == 0
    assert memory.peak_bytes == 8000


MEASURE = """
import sys
from pathlib import Path
import torch
from training.run import costs
from training.recipes.presets import preset
from training.recipes.recipe import config_of

def memory(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))

costs.MAX_MEASURED_BATCH = {}
values = preset(sys.argv[1]) | {"precision": "float32"}
run = config_of(values | {"batch_size": 64}, 10)
estimate = costs.count_costs(run).memory_bytes
costs.measure_speed(config_of(values | {"batch_size": 2}, 10), torch.device("cpu"))
before = memory("VmRSS")
costs.measure_speed(run, torch.device("cpu"))
print(estimate, memory("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("name", ["laptop-64-paper", "laptop-64"])
def test_a_process_grows_by_the_estimate_of_memory_and_what_kernels_need(name: str) -> None:
    """64 px, batch 64, on a CPU, over a process that did one step.

    A convolution's kernel copies its images and gradients into a layout of its own, which is up to
    0.7 times the estimate here.
    """
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, name],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    estimate, grown = map(int, done.stdout.split())
    assert 1.0 < grown / estimate < 1.7, (estimate, grown)
