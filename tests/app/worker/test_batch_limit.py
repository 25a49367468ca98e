"""Out of memory: told apart from other errors, and remembered for a while."""

from __future__ import annotations

import time

import pytest
import torch

from app.worker.batch_limit import REMEMBER_S, BatchLimit, is_out_of_memory


def test_torch_out_of_memory_is_told_apart() -> None:
    """A CPU's is a plain RuntimeError: a real one shows whether its words are still the same."""
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**55)
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("poison"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_a_smaller_limit_is_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that another process held may be free again."""
    now_s = time.monotonic()
    limit = BatchLimit(16)
    assert limit.max_images == 16
    limit.lower(4)
    limit.lower(0)
    assert limit.max_images == 1
    monkeypatch.setattr(time, "monotonic", lambda: now_s + REMEMBER_S + 1)
    assert limit.max_images == 16
