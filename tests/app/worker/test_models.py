"""Which models are in memory, and which goes first."""

from __future__ import annotations

import time

import pytest

from app.worker.models import MAX_STAY_S, MIN_STAY_S, ServedModels
from tests.app.worker.swapping import SIZE_BYTES, Shelf, Swapped
from tests.fake_renderer import FINGERPRINT, FakeRenderer

SHELVES = [Shelf(name) for name in ("ants", "bees", "cats")]
ANTS, BEES, CATS = (shelf.fingerprint for shelf in SHELVES)


@pytest.fixture
def models() -> ServedModels:
    """Three models, of which two are in memory."""
    models = ServedModels([Swapped(shelf) for shelf in SHELVES], max_bytes=2 * SIZE_BYTES)
    models.unload(CATS)
    return models


def test_a_model_out_of_memory_is_still_registered(models: ServedModels) -> None:
    """Requests may name it; what it takes is what is in memory."""
    assert [card.name for card in models.cards] == ["ants", "bees", "cats"]
    assert models.absent == [CATS]
    assert models.size_bytes == 2 * SIZE_BYTES
    assert not models.fits(SIZE_BYTES)
    assert models.use(CATS) is None


def test_an_idle_model_goes_before_a_busy_one_and_the_least_recently_used_first(
    models: ServedModels,
) -> None:
    """Whatever the order in which they came."""
    models.use(ANTS)
    victim = models.next_to_evict((), hurry=False)
    assert victim is not None
    assert victim.card.name == "bees"
    victim = models.next_to_evict({BEES}, hurry=False)
    assert victim is not None
    assert victim.card.name == "ants"


def test_busy_models_keep_their_places_for_a_while(models: ServedModels) -> None:
    """Then the one goes that has been there for the longest time; in a hurry it goes at once."""
    busy = {ANTS, BEES}
    assert models.next_to_evict(busy, hurry=False) is None
    hurried = models.next_to_evict(busy, hurry=True)
    assert hurried is not None
    assert hurried.card.name == "ants"
    models[BEES].loaded_s = time.monotonic() - MIN_STAY_S - 1
    victim = models.next_to_evict(busy, hurry=False)
    assert victim is not None
    assert victim.card.name == "bees"


def test_a_model_that_loads_slowly_stays_longer_but_not_for_ever(models: ServedModels) -> None:
    """Twice as long as its load, within bounds."""
    for load_s, stay_s in ((0.01, MIN_STAY_S), (2.0, 4.0), (60.0, MAX_STAY_S)):
        models[ANTS].load_s = load_s
        assert models[ANTS].stay_s == stay_s


def test_a_model_larger_than_the_bound_is_alone_in_memory() -> None:
    """It is served nevertheless."""
    models = ServedModels(max_bytes=SIZE_BYTES // 2)
    assert models.fits(SIZE_BYTES)
    models.add(Swapped(SHELVES[0]))
    assert not models.fits(SIZE_BYTES)


def test_a_model_that_cannot_be_loaded_again_stays(models: ServedModels) -> None:
    """Its renderer has no store."""
    models = ServedModels([FakeRenderer()], max_bytes=1)
    assert models.next_to_evict((), hurry=True) is None
    with pytest.raises(ValueError, match="cannot be loaded again"):
        models.unload(FINGERPRINT)


def test_a_dropped_model_closes_its_files() -> None:
    """Otherwise the disk would keep them."""
    shelf = Shelf("eels")
    models = ServedModels([Swapped(shelf)])
    models.drop(shelf.fingerprint)
    assert shelf.closed
    assert shelf.fingerprint not in models
