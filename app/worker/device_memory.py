"""DeviceMemory: what Prometheus is told of a GPU's memory, read when it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True)
class Memory:
    """Bytes of one device."""

    used: int  # by whatever process
    total: int
    held: int  # by this worker's torch, in use or kept for the next batch


class DeviceMemory(Collector):
    """Gauges of a device's memory; `read` is asked at each scrape."""

    def __init__(self, read: Callable[[], Memory]) -> None:
        self.read = read

    def collect(self) -> Iterator[Metric]:
        """The gauges as they are now."""
        memory = self.read()
        for name, text, value in (
            ("used", "Memory of the device in use, by whatever process", memory.used),
            ("total", "Memory of the device", memory.total),
            ("held", "Memory of the device that this worker holds", memory.held),
        ):
            yield GaugeMetricFamily(f"sagan_device_memory_{name}_bytes", text, value=value)


def cuda_memory() -> Memory:
    """Of the CUDA device that this worker draws on."""
    import torch  # a worker of a network that needs no torch has none of this

    free, total = torch.cuda.mem_get_info()
    return Memory(total - free, total, torch.cuda.memory_reserved())
