"""Estimates a run before it starts: parameters, arithmetic, memory and time."""

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Adam
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from model.discriminator import Discriminator
from model.generator import Generator
from training.recipes.config import TrainConfig
from training.run.losses import GradientPenalty
from training.run.steps import discriminator_step, generator_step
from training.saving.state import TrainState

# In float32: the parameter and Adam's two moments.
BYTES_PER_TRAINED, BYTES_PER_AVERAGED = 12, 4
MEASURED_STEPS = 3
MAX_MEASURED_BATCH = {"cpu": 16}  # a CPU's images per second hardly depend on the batch


@dataclass(frozen=True)
class Costs:
    """The size of a run's networks, and what a step of it needs.

    FLOPs count a multiplication and an addition as two. `generator_flops` and `discriminator_flops`
    are those of a forward pass on one image, `step_flops` those of a training step divided by its
    number of real images. `state_bytes` are those of weights, moments and the moving average,
    `step_bytes` the most that a step needs besides: activations, gradients, temporary tensors.
    """

    generator_parameters: int
    discriminator_parameters: int
    generator_flops: int
    discriminator_flops: int
    step_flops: int
    state_bytes: int
    step_bytes: int

    @property
    def memory_bytes(self) -> int:
        """The memory of a run, without what kernels need inside themselves."""
        return self.state_bytes + self.step_bytes


@dataclass(frozen=True)
class Speed:
    """Real images a second, measured in steps of `batch_size`. Only a GPU gives `peak_bytes`."""

    images_per_s: float
    batch_size: int
    peak_bytes: int | None


def count_costs(config: TrainConfig) -> Costs:
    """Counts the costs of a run without any of its arithmetic.

    The networks run on tensors that have shapes but no content. The memory of a step is the largest
    sum of the tensors that exist at one moment, in the discriminator's or the generator's update.
    If a batch is split into parts, it is that of one part. Temporary memory of kernels is not
    counted.
    """
    with FakeTensorMode():  # unlike the meta device it supports autocast
        state = _shapes(config)
        ones, twos = (_batch(config, n, torch.device("cpu")) for n in (1, 2))
        # The difference between two images and one: weights are prepared once for any batch.
        generator_flops = _flops(lambda: state.generator(*twos[:2])) - _flops(
            lambda: state.generator(*ones[:2])
        )
        discriminator_flops = _flops(lambda: state.discriminator(*twos[:0:-1])) - _flops(
            lambda: state.discriminator(*ones[:0:-1])
        )
        step_flops = int(_mean_over_steps(config, lambda due: _step_flops(config, state, due)))
        # The optimizers' moments, which belong to the state, exist since the steps above.
        part = config.batch_size // config.accumulation
        due = GradientPenalty.of_run(config).is_due(0)
        step_bytes = max(map(_peak_bytes, _halves(config, state, part, due)))
    num_generator, num_discriminator = map(_size, (state.generator, state.discriminator))
    return Costs(
        num_generator,
        num_discriminator,
        generator_flops,
        discriminator_flops,
        step_flops,
        state_bytes=BYTES_PER_TRAINED * (num_generator + num_discriminator)
        + BYTES_PER_AVERAGED * num_generator,
        step_bytes=step_bytes,
    )


def measure_speed(config: TrainConfig, device: torch.device) -> Speed:
    """Times a few steps with random pictures on `device`, after one step to warm up.

    The steps have the run's batch size, but at most 16 on a CPU. Raises `torch.OutOfMemoryError` if
    the batch does not fit.
    """
    batch_size = min(config.batch_size, MAX_MEASURED_BATCH.get(device.type, config.batch_size))
    state = TrainState.start(config, device)
    step_s = _mean_over_steps(config, lambda due: _step_s(config, state, batch_size, due))
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return Speed(config.discriminator_steps * batch_size / step_s, batch_size, peak)


def _mean_over_steps(config: TrainConfig, cost: Callable[[bool], float]) -> float:
    """Averages `cost(penalty_due)` over the steps with and without the gradient penalty."""
    if not GradientPenalty.of_run(config).is_due(0):
        return cost(False)
    share = 1 / config.penalty_interval
    return share * cost(True) + (1 - share) * (cost(False) if share < 1 else 0.0)


def _step_flops(config: TrainConfig, state: TrainState, penalty_due: bool) -> float:
    """The FLOPs of a step divided by its number of real images."""
    images = 2
    flops = _flops(lambda: _step(config, state, images, penalty_due))
    return flops / (images * config.discriminator_steps)


def _step_s(config: TrainConfig, state: TrainState, batch_size: int, penalty_due: bool) -> float:
    """The seconds of a step, measured after one step to warm up."""
    _step(config, state, batch_size, penalty_due)
    _wait_for(state.device)
    begin = time.perf_counter()
    for _ in range(MEASURED_STEPS):
        _step(config, state, batch_size, penalty_due)
    _wait_for(state.device)
    return (time.perf_counter() - begin) / MEASURED_STEPS


def _shapes(config: TrainConfig) -> TrainState:
    """A state as `TrainState.start` makes it, for fake tensors."""
    generator, discriminator = Generator(config.generator), Discriminator(config.discriminator)
    return TrainState(
        generator=generator,
        discriminator=discriminator,
        average=generator,
        generator_optimizer=Adam(generator.parameters()),
        discriminator_optimizer=Adam(discriminator.parameters()),
        random=torch.Generator(),
    )


def _batch(
    config: TrainConfig, batch_size: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Random latents, classes and images of a batch."""
    side = config.generator.resolution
    z = torch.randn(batch_size, config.generator.z_dim, device=device)
    labels = torch.zeros(batch_size, dtype=torch.int64, device=device)
    images = torch.randn(batch_size, 3, side, side, device=device)
    return z, labels, images.contiguous(memory_format=torch.channels_last)


def _halves(
    config: TrainConfig, state: TrainState, batch_size: int, penalty_due: bool
) -> list[Callable[[], object]]:
    """The update of the discriminator and that of the generator, on a random batch."""
    penalty = GradientPenalty.of_run(config) if penalty_due else None
    generator, discriminator, loss = state.generator, state.discriminator, config.loss
    device, bf16 = state.device, config.runs_in_bf16(state.device)
    z, labels, images = _batch(config, batch_size, device)
    return [
        lambda: discriminator_step(
            discriminator, generator, state.discriminator_optimizer, images, labels, z,
            bf16=bf16, loss=loss, penalty=penalty,
        ),
        lambda: generator_step(
            discriminator, generator, state.generator_optimizer, images, labels, z,
            bf16=bf16, loss=loss,
        ),
    ]  # fmt: skip


def _step(config: TrainConfig, state: TrainState, batch_size: int, penalty_due: bool) -> None:
    on_discriminator, on_generator = _halves(config, state, batch_size, penalty_due)
    for _ in range(config.discriminator_steps):
        on_discriminator()
    on_generator()


def _flops(run: Callable[[], object]) -> int:
    # Only the unfused form of attention is counted on every device.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return int(counter.get_total_flops())


def _peak_bytes(run: Callable[[], object]) -> int:
    """The most bytes of new tensors that exist at one moment of `run`."""
    memory = PeakMemory()
    with memory:
        run()
    return memory.peak_bytes


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all storages that are created in the `with` block, while they exist."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.num_bytes: int = 0
        self.peak_bytes: int = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        """Runs an operation and counts the storages of its results that are new."""
        used = {s._cdata for s in _storages((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            if storage._cdata not in used and storage._cdata not in self._known:
                self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        num_bytes, address = storage.nbytes(), storage._cdata
        self._known.add(address)
        self.num_bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self.num_bytes)

        def drop() -> None:
            self._known.discard(address)
            self.num_bytes -= num_bytes

        weakref.finalize(storage, drop)


def _storages(values: object) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
