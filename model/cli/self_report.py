"""`python -m model.cli.self_report DEVICE [CHECKPOINT…]`: what torch and checkpoints are here.

It prints a JSON object a line: torch, the device, then each checkpoint ("": the default), whose
weights are read and whose fingerprint is computed.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence

import torch

from model.checkpoint import DEFAULT_NAME, load_checkpoint
from model.devices import computes_bf16, kernels_of, pick_device


def main(device: str, locations: Sequence[str]) -> None:
    """Prints the report; each line as soon as it is known."""
    for part in parts(device, locations):
        print(json.dumps(part), flush=True)  # noqa: T201 - the output of the command


def parts(device: str, locations: Sequence[str]) -> Iterator[Mapping[str, object]]:
    """The lines of the report."""
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield {"torch": torch.__version__, "threads": torch.get_num_threads(), "devices": names}
    try:
        found = pick_device(device)
    except ValueError as error:
        yield {"device_error": str(error)}
    else:
        yield {
            "device": str(found), "kernels": kernels_of(found), "bf16": computes_bf16(found),
        }  # fmt: skip
    for location in locations:
        yield _about(location or DEFAULT_NAME)


def _about(location: str) -> Mapping[str, object]:
    try:
        checkpoint = load_checkpoint(location, discriminator=False)
    except (ValueError, OSError) as error:
        return {"name": location, "error": str(error)}
    return {
        "name": location,
        "fingerprint": checkpoint.fingerprint,
        "resolution": checkpoint.config.resolution,
        "num_classes": checkpoint.config.num_classes,
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
