"""The processes that train one run together, on one machine or on several.

Every process draws the order, flips and latents of the whole batch and takes its own shard of it,
so that the result of a run does not depend on the number of processes. Rank 0 alone writes files
and makes decisions.
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
TIMEOUT = timedelta(hours=2)  # longer than rank 0 takes to score and save a snapshot


@dataclass(frozen=True)
class Processes:
    """This process's rank among those of its run.

    `control` is the process group that sends decisions, over the CPU. If another process has died,
    every method that communicates raises RuntimeError.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    control: distributed.ProcessGroup | None = None

    @property
    def is_rank0(self) -> bool:
        """Whether this is the process that writes files and makes decisions."""
        return self.rank == 0

    def shard(self, batch: Tensor) -> Tensor:
        """Takes this process's rows of a (B, …) tensor that every process has: (B / count, …)."""
        return batch.chunk(self.count)[self.rank]

    def wrap(self, network: nn.Module) -> nn.Module:
        """Makes `network` average its gradients over the processes."""
        if self.count == 1:
            return network
        # Buffers need no broadcast: every process computes the same u and v, and the batch norms
        # synchronise their statistics.
        return DistributedDataParallel(network, **{_SYNC_BUFFERS: False})  # type: ignore[arg-type]

    def mean(self, values: Tensor) -> Tensor:
        """Averages `values` over the processes; the result is on the CPU."""
        values = values.detach().float().cpu()
        if self.count > 1:
            distributed.all_reduce(values, group=self.control)
            values /= self.count
        return values

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in any process."""
        return flag if self.count == 1 else bool(self.mean(torch.tensor(float(flag))) > 0)

    def from_rank0(self, content: bytes) -> bytes:
        """Sends the `content` of rank 0 to every process; the call returns it in each of them."""
        if self.count == 1:
            return content
        size = torch.tensor([len(content)])
        distributed.broadcast(size, 0, group=self.control)
        buffer = torch.zeros(int(size), dtype=torch.uint8)
        if self.is_rank0 and content:
            buffer.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        distributed.broadcast(buffer, 0, group=self.control)
        return buffer.numpy().tobytes()

    def gather(self, content: bytes) -> list[bytes]:
        """Sends the `content` of every process to rank 0.

        Rank 0 gets the contents in the order of the ranks, the others an empty list.
        """
        if self.count == 1:
            return [content]
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        distributed.all_gather(sizes, torch.tensor([len(content)]), group=self.control)
        if not self.is_rank0:
            sent = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            distributed.send(sent, 0, group=self.control)
            return []
        contents = [content]
        for rank in range(1, self.count):
            buffer = torch.zeros(int(sizes[rank]), dtype=torch.uint8)
            distributed.recv(buffer, rank, group=self.control)
            contents.append(buffer.numpy().tobytes())
        return contents

    @contextmanager
    def rank0_first(self) -> Iterator[None]:
        """At the end of the `with` block the other processes wait until rank 0 has finished it.

        If rank 0 raises inside the block, the others end silently with SystemExit.
        """
        try:
            yield
        except BaseException:
            if self.is_rank0:
                self.from_rank0(b"failed")
            raise
        if self.from_rank0(b""):
            raise SystemExit(1)

    def wait(self) -> None:
        """Waits until every process has called this."""
        if self.count > 1:
            distributed.barrier(group=self.control)

    @contextmanager
    def local_rank0_first(self) -> Iterator[None]:
        """Lets one process of each machine run the `with` block before the others of that machine.

        The others then find on the disk what it has prepared.
        """
        if self.local_rank != 0:
            self.wait()
        try:
            yield
        finally:
            if self.local_rank == 0:
                self.wait()


SINGLE_PROCESS = Processes()


@contextmanager
def join_processes(device: torch.device) -> Iterator[tuple[Processes, torch.device]]:
    """Connects this process to the others of `torchrun`; without `torchrun` it is the only one.

    Yields the processes and the device of this one. On a machine with several GPUs each process
    takes its own.
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


def require_divisible_batch(config: TrainConfig, processes: Processes) -> None:
    """Raises RunError unless the batch size is a multiple of processes times accumulation."""
    parts = processes.count * config.accumulation
    if config.batch_size % parts:
        raise RunError(
            f"batch_size={config.batch_size} does not divide into {processes.count} processes × "
            f"accumulation={config.accumulation}: choose a multiple of {parts}"
        )
