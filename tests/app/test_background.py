"""Repeated work that survives its own failures and ends with its block."""

from __future__ import annotations

import asyncio

import pytest

from app import background as module
from app.background import background


async def test_a_turn_that_fails_is_logged_and_the_next_follows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever was raised: what others wait for must not end unseen."""
    monkeypatch.setattr(module, "RETRY_S", 0.001)
    turns = 0
    third = asyncio.Event()

    async def turn() -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            third.set()
            await asyncio.sleep(60)
        raise TypeError(f"turn {turns}")

    async with background(turn, "test"), asyncio.timeout(1):
        await third.wait()
    assert turns == 3
    assert "test failed and is tried again" in caplog.text
    assert "TypeError: turn 2" in caplog.text


async def test_it_ends_with_its_block_even_where_a_cancel_gets_lost() -> None:
    """As in Python 3.11's wait_for."""
    turns = 0

    async def deaf_turn() -> None:
        nonlocal turns
        turns += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return

    async with asyncio.timeout(1), background(deaf_turn, "test"):
        await asyncio.sleep(0.01)
    assert turns == 1
