"""The LitServe of the comparison, as its documentation recommends: batches of 32 within 5 ms.

Run: python -m benchmarks.servers.litserve_server PORT NETWORK.
"""

from __future__ import annotations

import sys

import litserve
from fastapi import Response

from benchmarks.servers.networks import load_network


class PictureAPI(litserve.LitAPI):
    """Takes seeds and returns PNG files."""

    def setup(self, device: str) -> None:
        """Loads the network."""
        self.draw = load_network(sys.argv[2])

    def decode_request(self, request: dict[str, int]) -> int:
        """The seed of a request."""
        return int(request["seed"])

    def batch(self, inputs: list[int]) -> list[int]:
        """A batch is a list of seeds."""
        return inputs

    def predict(self, x: list[int]) -> list[bytes]:
        """The PNG files of the seeds."""
        return self.draw(x)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """The PNG files of the batch, one for each request."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """The response with a PNG file."""
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    server = litserve.LitServer(
        PictureAPI(max_batch_size=32, batch_timeout=0.005), accelerator="cpu"
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )
