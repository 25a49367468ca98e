"""The Triton of the comparison, through nvidia-pytriton: dynamic batches of 32 within 1 ms.

Run: python -m benchmarks.servers.triton_server PORT NETWORK.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.servers.networks import load_network

MAX_BATCH, MAX_DELAY_US = 32, 1000


def main() -> None:
    """Serves until the process is killed."""
    draw_pngs = load_network(sys.argv[2])

    @batch
    def draw(seed: NDArray[np.uint32]) -> dict[str, NDArray[np.bytes_]]:  # (B, 1) -> (B, 1)
        pngs = draw_pngs([int(one) for one in seed[:, 0]])
        return {"png": np.array([[png] for png in pngs], dtype=object)}

    port = int(sys.argv[1])
    config = TritonConfig(http_port=port, grpc_port=port + 1, metrics_port=port + 2, log_verbose=0)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="pictures",
            infer_func=draw,
            inputs=[Tensor(name="seed", dtype=np.uint32, shape=(1,))],
            outputs=[Tensor(name="png", dtype=bytes, shape=(1,))],
            config=ModelConfig(
                max_batch_size=MAX_BATCH,
                batcher=DynamicBatcher(max_queue_delay_microseconds=MAX_DELAY_US),
            ),
        )
        triton.serve()


if __name__ == "__main__":
    main()
