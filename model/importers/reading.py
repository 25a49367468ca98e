"""Reads the tensors of a foreign file without running any code in it."""

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.importers.naming import ImportRefusedError

ZIP_MAGIC, PICKLE_MAGIC = b"PK", b"\x80"
WRAPPERS = re.compile(r"(^|\.)(?:(?:module|_orig_mod)\.)+")  # of data-parallel and compiled modules
MAX_DEPTH = 6  # of what a training script saved around a state dict
MAX_NESTED = 64  # entries of a list that are looked at
# What damaged pickles and archives make the readers raise.
DAMAGE = (
    pickle.UnpicklingError, EOFError, OSError, LookupError, TypeError, ValueError, AttributeError,
    AssertionError, RuntimeError, ArithmeticError, MemoryError, struct.error, zipfile.BadZipFile,
    NotImplementedError,
)  # fmt: skip


class _Inert:
    """Stands for what a training script left beside the tensors: never looked at.

    It takes whatever a pickle gives to the object that it stands for, and does nothing with it.
    """

    def __new__(cls, *_args: object) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _empty_list(*_args: object) -> list[object]:
    """Stands for a deque: the unpickler appends to lists alone."""
    return []


def _empty_dict(*_args: object) -> dict[object, object]:
    """Stands for a defaultdict, whose factory is not kept: items go into dicts alone."""
    return {}


# Scores, options and dates, by the names that pickles have for them: none of these is called.
BESIDE_TENSORS = (
    "argparse.Namespace", "builtins.dict", "builtins.float", "builtins.int", "builtins.list",
    "datetime.date", "datetime.datetime", "datetime.timedelta", "datetime.timezone",
    "numpy.dtype", "numpy.ndarray", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
    "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
)  # fmt: skip
STAND_INS: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    (_empty_list, "collections.deque"),
    (_empty_dict, "collections.defaultdict"),
    *((_Inert, name) for name in BESIDE_TENSORS),
]


StateDict = dict[str, Tensor]


def read_state_dicts(file: Path) -> dict[str, StateDict]:
    """The state dicts of a `.pth` file, or of an `.npz`, by their place in it.

    The place of a bare state dict is "", that of one in a mapping `{"G": …}` is "G", and so on:
    "models.0", "ema.state_dict". A state dict has its tensors by their keys in file order; the
    prefixes `module.` and `_orig_mod.` of wrappers are removed. Raises ImportRefusedError with the
    reason in one line: there is no such file, it is damaged, it holds no tensors, or its pickle
    refers to code, which is not run.
    """
    try:
        with file.open("rb") as opened:
            magic = opened.read(2)
    except OSError as error:
        raise ImportRefusedError(f"{file}: {error.strerror or error}") from error
    if magic == ZIP_MAGIC:
        return _read_archive(file)
    if magic[:1] == PICKLE_MAGIC:
        return _state_dicts(_load(file, archive=False), file)
    raise ImportRefusedError(f"{file}: neither a PyTorch file nor an .npz")


def _read_archive(file: Path) -> dict[str, StateDict]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.namelist()
            damaged = archive.testzip()
    except DAMAGE as error:
        raise ImportRefusedError(f"{file}: damaged or cut short: {_line(error)}") from error
    if damaged is not None:
        raise ImportRefusedError(f"{file}: damaged: {damaged} does not match its checksum")
    if any(name.endswith("/constants.pkl") for name in members):
        raise ImportRefusedError(f"{file}: a TorchScript archive, not a state dict")
    if any(name.endswith("data.pkl") for name in members):
        return _state_dicts(_load(file, archive=True), file)
    if members and all(name.endswith(".npy") for name in members):
        return {"": _load_npz(file)}
    raise ImportRefusedError(f"{file}: neither a PyTorch file nor an .npz")


def _load(file: Path, *, archive: bool) -> object:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(STAND_INS):
            warnings.simplefilter("ignore")  # what does not load is refused with a line of its own
            loaded: object = torch.load(file, "cpu", weights_only=True, mmap=archive)
    except DAMAGE as error:
        raise ImportRefusedError(f"{file}: {_why_not_loaded(error)}") from error
    return loaded


def _why_not_loaded(error: BaseException) -> str:
    """In our words: PyTorch's advise to load the file without care."""
    asked = re.search(r"GLOBAL ([\w.]+)|(?:class|function) ([\w.]+\.\w+)", str(error))
    if isinstance(error, pickle.UnpicklingError) and asked:
        return f"asks for {asked[1] or asked[2]}, which is not a tensor: refused without running it"
    if "weights only" in str(error).lower():
        return "damaged, or a pickle of something else than a state dict"
    return f"damaged or cut short: {_line(error)}"


def _load_npz(file: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    try:
        with np.load(file, allow_pickle=False) as arrays:
            for key in arrays.files:
                array = arrays[key]
                if array.dtype.kind in "fiub":
                    tensors[key.removesuffix(":0")] = torch.from_numpy(np.array(array, order="C"))
    except DAMAGE as error:
        raise ImportRefusedError(f"{file}: damaged or cut short: {_line(error)}") from error
    if not tensors:
        raise ImportRefusedError(f"{file}: holds no arrays of numbers")
    return tensors


def _state_dicts(loaded: object, file: Path) -> dict[str, StateDict]:
    found: dict[str, StateDict] = {}

    def look(value: object, place: tuple[str, ...]) -> None:
        if len(place) > MAX_DEPTH:
            return
        if isinstance(value, list | tuple):
            value = dict(enumerate(value[:MAX_NESTED]))
        if not isinstance(value, Mapping):
            return
        tensors = {str(k): t for k, t in value.items() if isinstance(t, Tensor)}
        if tensors:
            found[".".join(place)] = {WRAPPERS.sub(r"\1", key): t for key, t in tensors.items()}
        for key, inner in value.items():
            look(inner, (*place, str(key)))

    look(loaded, ())
    if not found:
        raise ImportRefusedError(f"{file}: holds no state dict of tensors{_keys(loaded)}")
    return found


def _keys(loaded: object) -> str:
    """`; its keys are …` for a mapping, else nothing."""
    if not isinstance(loaded, Mapping) or not loaded:
        return ""
    names = [str(key)[:40] for key in loaded]
    return f"; its keys are {', '.join(names[:6])}{', …' if len(names) > 6 else ''}"


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
