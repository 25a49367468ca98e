"""The processes that train one run together, on one machine or many; one alone needs none of it.

Every process draws the same order, flips and latents for the whole batch and takes its own share,
so that a run does not depend on how many there are. The first one alone writes and decides.
"""

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from training.errors import RunError
from training.recipes.config import TrainConfig

# PyTorch 2.13 warns of the older name, and the versions before it do not know the newer one.
_SYNC_BUFFERS = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else "broadcast_buffers"
)
TIMEOUT = timedelta(hours=2)  # what the others wait for the first one to score and save


@dataclass(frozen=True)
class Processes:
    """This process's place among those of its run. `control` carries decisions, beside the device.

    Raises nothing of its own; a lost process ends the others' calls with a RuntimeError.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    control: distributed.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, whole: Tensor) -> Tensor:
        """This process's rows of a (B, …) tensor that all of them have, (B / count, …)."""
        return whole.chunk(self.count)[self.rank]

    def wrap(self, network: nn.Module) -> nn.Module:
        """`network`, with gradients averaged over the processes."""
        if self.count == 1:
            return network
        # Buffers are the same everywhere already: u and v by arithmetic, statistics by their sync.
        return DistributedDataParallel(network, **{_SYNC_BUFFERS: False})  # type: ignore[arg-type]

    def mean(self, values: Tensor) -> Tensor:
        """The mean of every process's `values`, on the CPU."""
        values = values.detach().float().cpu()
        if self.count > 1:
            distributed.all_reduce(values, group=self.control)
            values /= self.count
        return values

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in any process."""
        return flag if self.count == 1 else bool(self.mean(torch.tensor(float(flag))) > 0)

    def from_first(self, content: bytes) -> bytes:
        """The first process's `content`, in every process."""
        if self.count == 1:
            return content
        size = torch.tensor([len(content)])
        distributed.broadcast(size, 0, group=self.control)
        buffer = torch.zeros(int(size), dtype=torch.uint8)
        if self.first and content:
            buffer.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        distributed.broadcast(buffer, 0, group=self.control)
        return buffer.numpy().tobytes()

    @contextmanager
    def led(self) -> Iterator[None]:
        """Within, the first process works and the others wait.

        What it raises ends them too, without a word of theirs (SystemExit).
        """
        try:
            yield
        except BaseException:
            if self.first:
                self.from_first(b"failed")
            raise
        if self.from_first(b""):
            raise SystemExit(1)

    def wait(self) -> None:
        """Return once every process has come here."""
        if self.count > 1:
            distributed.barrier(group=self.control)

    @contextmanager
    def one_a_machine_first(self) -> Iterator[None]:
        """Within, one process of each machine goes ahead; the others find what it prepared."""
        if self.local_rank != 0:
            self.wait()
        try:
            yield
        finally:
            if self.local_rank == 0:
                self.wait()


@contextmanager
def joined(device: torch.device) -> Iterator[tuple[Processes, torch.device]]:
    """Meet the processes that `torchrun` started with this one; alone without it.

    Yields them and this process's device: with several GPUs to a machine, each takes its own.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes(), device
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    if device.type == "cuda":
        device = torch.device("cuda", local_rank if device.index is None else device.index)
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield (
            Processes(
                rank=distributed.get_rank(),
                count=distributed.get_world_size(),
                local_rank=local_rank,
                control=distributed.new_group(backend="gloo", timeout=TIMEOUT),
            ),
            device,
        )
    finally:
        distributed.destroy_process_group()


def require_shares(config: TrainConfig, processes: Processes) -> None:
    """Raise RunError where a batch does not divide into the processes and their parts of it."""
    parts = processes.count * config.accumulation
    if config.batch_size % parts:
        raise RunError(
            f"batch_size={config.batch_size} does not divide into {processes.count} processes × "
            f"accumulation={config.accumulation}: choose a multiple of {parts}"
        )
