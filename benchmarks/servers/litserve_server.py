"""The comparison's LitServe, as its documentation recommends: LitAPI, batches of 32 within 5 ms.

Run: python -m benchmarks.servers.litserve_server PORT NETWORK.
"""

from __future__ import annotations

import sys

import litserve
from fastapi import Response

from benchmarks.servers.networks import load_network


class PictureAPI(litserve.LitAPI):
    """Seeds in, PNG files out."""

    def setup(self, device: str) -> None:
        """Part of LitAPI."""
        self.draw = load_network(sys.argv[2])

    def decode_request(self, request: dict[str, int]) -> int:
        """Part of LitAPI."""
        return int(request["seed"])

    def batch(self, inputs: list[int]) -> list[int]:
        """Part of LitAPI."""
        return inputs

    def predict(self, x: list[int]) -> list[bytes]:
        """Part of LitAPI."""
        return self.draw(x)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """Part of LitAPI."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """Part of LitAPI."""
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    server = litserve.LitServer(
        PictureAPI(max_batch_size=32, batch_timeout=0.005), accelerator="cpu"
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )
