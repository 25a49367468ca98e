"""Tensors that are not taken: one line that names the key, and nothing written."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.model.importers.refusing import KEY, require_refusal, run, studiogan_state
from tests.model.importers.writers import State


@pytest.fixture
def state() -> State:
    return studiogan_state()


def _without(state: State) -> State:
    return {key: t for key, t in state.items() if key != KEY}


def _misshapen(state: State) -> State:
    return state | {KEY: torch.cat([state[KEY], state[KEY]])}


def _flat(state: State) -> State:
    return state | {KEY: state[KEY].flatten()}


def _with_nan(state: State) -> State:
    return state | {KEY: torch.full_like(state[KEY], float("nan"))}


def _sparse(state: State) -> State:
    return state | {KEY: state[KEY].to_sparse()}


def _meta(state: State) -> State:
    return state | {KEY: state[KEY].to("meta")}


def _whole_numbers(state: State) -> State:
    return state | {KEY: state[KEY].mul(10).to(torch.int64)}


def _complex(state: State) -> State:
    return state | {KEY: state[KEY].to(torch.complex64)}


def _truths(state: State) -> State:
    return state | {KEY: state[KEY] > 0}


def _too_large(state: State) -> State:
    return state | {KEY: state[KEY].double() * 1e300}


def _nothing_but_zeros(state: State) -> State:
    return state | {KEY: torch.zeros_like(state[KEY])}


def _sigma_overflows(state: State) -> State:
    return state | {KEY: torch.full_like(state[KEY], 3e38)}


@pytest.mark.parametrize(
    "change",
    [
        _sparse, _meta, _whole_numbers, _complex, _truths, _too_large, _nothing_but_zeros,
        _sigma_overflows,
    ],
)  # fmt: skip
def test_a_tensor_that_no_layer_can_compute_with_is_named(
    change: Callable[[State], State], state: State, tmp_path: Path
) -> None:
    """Of another kind than a dense one of numbers, or without a spectral norm to divide by."""
    torch.save({"state_dict": change(state)}, tmp_path / "G.pth")
    require_refusal(run("auto", tmp_path / "G.pth", "-o", tmp_path / "out"), tmp_path / "out", KEY)


def test_a_variance_below_zero_is_named(state: State, tmp_path: Path) -> None:
    """Its square root would make every picture NaN."""
    key = "blocks.1.0.bn1.bn.running_var"
    torch.save({"state_dict": state | {key: -state[key]}}, tmp_path / "G.pth")
    require_refusal(run("auto", tmp_path / "G.pth", "-o", tmp_path / "out"), tmp_path / "out", key)


@pytest.mark.parametrize("change", [_without, _misshapen, _flat, _with_nan])
def test_a_tensor_that_is_missing_misshapen_or_not_finite_is_named(
    change: Callable[[State], State], state: State, tmp_path: Path
) -> None:
    """By its key in the file."""
    torch.save({"state_dict": change(state)}, tmp_path / "G.pth")
    require_refusal(run("auto", tmp_path / "G.pth", "-o", tmp_path / "out"), tmp_path / "out", KEY)


@pytest.mark.parametrize("extra", ["extra.weight", "blocks.7.0.conv2d1.bias", "shared.weight"])
def test_a_tensor_too_many_is_named(extra: str, state: State, tmp_path: Path) -> None:
    """What has no place in the network may mean that it is another one."""
    torch.save({"state_dict": state | {extra: torch.zeros(3)}}, tmp_path / "G.pth")
    result = run("auto", tmp_path / "G.pth", "-o", tmp_path / "out")
    require_refusal(result, tmp_path / "out", extra)
