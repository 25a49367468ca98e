"""Devices: chooses one, and names the kernels that determine its rounding."""

import platform
from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch


def pick_device(name: str) -> torch.device:
    """Returns the torch device of `name`; "auto" is CUDA if available, else MPS, else the CPU.

    Raises ValueError naming a device that cannot be used here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} is not usable here: {reason}") from error
    return device


def use_exact_kernels() -> None:
    """From now on CUDA uses no TF32 for float32 and no nondeterministic algorithms in this process.

    The flags belong to the process: a `with` block in one thread would end that of another.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def use_training_kernels() -> None:
    """From now on CUDA picks its fastest kernels for shapes that repeat, without TF32 for float32.

    So float32 has one meaning in training and evaluation; PyTorch would use TF32 in convolutions.
    """
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def exact_kernels() -> AbstractContextManager[None]:
    """In the `with` block CUDA uses no TF32 for float32 and no nondeterministic algorithms.

    Only for a process in which no other thread uses the device, such as a training run.
    """
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )


def computes_bf16(device: torch.device) -> bool:
    """Whether the device has bfloat16 arithmetic; without it bfloat16 is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    found = cpu_capabilities() if device.type == "cpu" else {}
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def cpu_capabilities() -> Mapping[str, object]:
    """The names of the processor's instruction sets; empty if torch does not report them."""
    return torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}


def kernels_of(device: torch.device) -> str:
    """Names what determines the kernels and their rounding: instructions, threads, libraries."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device).replace(" ", "_")
        return f"{name}-cudnn{torch.backends.cudnn.version()}"
    if device.type != "cpu":
        return platform.machine()
    found = cpu_capabilities()
    extra = "".join(f"+{name}" for name in ("avx512_bf16", "amx_tile") if found.get(name))
    capability = torch.backends.cpu.get_cpu_capability().lower()
    return f"{capability}{extra}-{torch.get_num_threads()}threads"
