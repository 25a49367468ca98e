"""ServedModels: the models that a worker serves, of which as many are in memory as fit.

Without a bound all of them are in memory. SAGAN_MODEL_MEMORY_MB bounds the weights of the models in
memory. A single model that is larger than the bound is in memory alone.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.queue.messages import ModelCard
from app.worker.renderer import Renderer, StoredRenderer

MIN_STAY_S = 1.0  # while its jobs wait, a model that was loaded stays for so long
MAX_STAY_S = 10.0
STAY_LOADS = 2  # and for as many times the time that a load takes


@dataclass
class ServedModel:
    """One model; `renderer` is None while it is not in memory."""

    card: ModelCard
    stored: StoredRenderer | None  # None: it cannot be loaded again, so it stays in memory
    renderer: Renderer | None
    size_bytes: int
    retiring: bool = False  # it is served but no longer registered
    broken: bool = False  # it could not be loaded again: not registered until it can
    leaving: bool = False  # it makes room as soon as none of its jobs is held
    load_s: float = 0.0  # of the last load
    loaded_s: float = field(default_factory=time.monotonic)
    used_s: float = field(default_factory=time.monotonic)

    @property
    def stay_s(self) -> float:
        """How long the model keeps its place while all models in memory have jobs.

        It is STAY_LOADS times the seconds of its last load, at least MIN_STAY_S and at most
        MAX_STAY_S.
        """
        return min(MAX_STAY_S, max(MIN_STAY_S, STAY_LOADS * self.load_s))


class ServedModels:
    """The models of a worker by fingerprint; `max_bytes` bounds the weights in memory."""

    def __init__(self, renderers: Sequence[Renderer] = (), max_bytes: int | None = None) -> None:
        self.max_bytes = max_bytes
        self._models: dict[str, ServedModel] = {}
        for renderer in renderers:
            self.add(renderer)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(list(self._models.values()))

    def __len__(self) -> int:
        return len(self._models)

    def __contains__(self, fingerprint: object) -> bool:
        return fingerprint in self._models

    def __getitem__(self, fingerprint: str) -> ServedModel:
        return self._models[fingerprint]

    @property
    def loaded(self) -> Mapping[str, Renderer]:
        """The renderers in memory by fingerprint."""
        return {f: m.renderer for f, m in self._models.items() if m.renderer is not None}

    @property
    def retiring(self) -> set[str]:
        """The fingerprints that are served but no longer registered."""
        return {fingerprint for fingerprint, model in self._models.items() if model.retiring}

    @property
    def cards(self) -> list[ModelCard]:
        """The cards to register."""
        return [m.card for m in self._models.values() if not (m.retiring or m.broken)]

    @property
    def absent(self) -> list[str]:
        """The fingerprints of the models that are not in memory."""
        return [f for f, model in self._models.items() if model.renderer is None]

    @property
    def size_bytes(self) -> int:
        """What the weights in memory take."""
        return sum(m.size_bytes for m in self._models.values() if m.renderer is not None)

    def add(self, renderer: Renderer, load_s: float = 0.0) -> ServedModel:
        """Adds a model that is in memory, or brings it back there."""
        fingerprint = renderer.card.fingerprint
        known = self._models.get(fingerprint)
        if known is None:
            known = ServedModel(
                renderer.card, renderer.stored(), renderer, renderer.size_bytes, load_s=load_s
            )
            self._models[fingerprint] = known
        else:
            renderer.card = known.card  # names of classes may have been mended
            known.renderer, known.size_bytes = renderer, renderer.size_bytes
            known.load_s = load_s or known.load_s
        known.broken = known.leaving = False
        known.loaded_s = known.used_s = time.monotonic()
        return known

    def rename(self, card: ModelCard) -> None:
        """Gives a model another card of the same fingerprint and renderer."""
        known = self._models[card.fingerprint]
        known.card = card
        if known.renderer is not None:
            known.renderer.card = card

    def use(self, fingerprint: str) -> Renderer | None:
        """The renderer of a model, which becomes the most recently used; None: not in memory."""
        if (model := self._models.get(fingerprint)) is None:
            return None
        model.used_s = time.monotonic()
        return model.renderer

    def unload(self, fingerprint: str) -> None:
        """Takes a model out of memory; it is still served."""
        model = self._models[fingerprint]
        if model.stored is None:
            raise ValueError(f"model {model.card.name} cannot be loaded again")
        model.renderer, model.leaving = None, False

    def drop(self, fingerprint: str) -> None:
        """Removes a model."""
        if (stored := self._models.pop(fingerprint).stored) is not None:
            stored.close()

    def fits(self, size_bytes: int) -> bool:
        """Whether a model of this size has room: within the bound, or as the only one there."""
        if self.max_bytes is None or not self.loaded:
            return True
        return self.size_bytes + size_bytes <= self.max_bytes

    @property
    def crowded(self) -> bool:
        """Whether a model must make room: one took more than was expected of it."""
        return (
            self.max_bytes is not None and self.size_bytes > self.max_bytes and len(self.loaded) > 1
        )

    def next_to_evict(self, busy: Collection[str], *, hurry: bool) -> ServedModel | None:
        """The model that makes room first: an idle one, the least recently used before others.

        If all are `busy`, it is the one that has been in memory for the longest time, at least for
        its `stay_s`. With `hurry` even one that was loaded a moment ago may go. None: no model can
        go yet.
        """
        candidates = [m for m in self if m.renderer is not None and m.stored is not None]
        if idle := [m for m in candidates if m.card.fingerprint not in busy]:
            return min(idle, key=lambda model: model.used_s)
        now_s = time.monotonic()
        served = [m for m in candidates if hurry or now_s - m.loaded_s >= m.stay_s]
        return min(served, key=lambda model: model.loaded_s, default=None)
