"""FeatureExtractor: turns pictures into features and class probabilities."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.devices import exact_kernels

# (N, 3, H, W) uint8 RGB, and whether probabilities are wanted -> (N, D), and (N, classes) or None
Forward = Callable[[Tensor, bool], tuple[Tensor, Tensor | None]]


class FeatureError(ValueError):
    """A feature network is missing or unreadable, or returns the wrong shapes."""


@dataclass(frozen=True, eq=False)
class FeatureExtractor:
    """A network that turns a picture into D features, and perhaps into class probabilities.

    Reports call the features by `name`; `key` is a hash of the weights. Two distances can only be
    compared if name and key are the same. `classes` has the names of the classes in the order of
    the probabilities; it is empty if they are not known.
    """

    name: str
    key: str
    device: torch.device
    forward: Forward
    classes: tuple[str, ...] = ()

    @torch.inference_mode()
    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Computes (N, D) features of (N, H, W, 3) pictures.

        Raises FeatureError if the network returns something else.
        """
        values, _ = self._run(pixels, classify=False)
        return values

    @torch.inference_mode()
    def features_and_probabilities(
        self, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Computes (N, D) features and (N, classes) probabilities of (N, H, W, 3) pictures.

        Raises FeatureError if the network does not return both.
        """
        values, probabilities = self._run(pixels, classify=True)
        if probabilities is None:
            raise FeatureError(
                f"{self.name} gives features but no logits: an Inception score takes both"
            )
        return values, probabilities.float().cpu().numpy()

    def _run(
        self, pixels: NDArray[np.uint8], *, classify: bool
    ) -> tuple[NDArray[np.float32], Tensor | None]:
        images = torch.from_numpy(np.array(pixels)).to(
            self.device
        )  # copied, since a memory map is read-only
        with exact_kernels():
            values, probabilities = self.forward(images.permute(0, 3, 1, 2).contiguous(), classify)
        if values.shape[0] != len(pixels) or values.dim() < 2:
            raise FeatureError(
                f"{self.name} gave {tuple(values.shape)} for {len(pixels)} pictures, "
                f"expected ({len(pixels)}, D)"
            )
        found = values.flatten(1).float().cpu().numpy()
        if not np.isfinite(found).all():
            raise FeatureError(f"{self.name} gave features that are not finite")
        return found, probabilities
