"""Checkpoints of the other projects' own code against what that code computed, where at hand.

Set PEER_CHECKPOINTS to a folder of folders, each with `.pth` files (the discriminator's named
D…, netD… or model=D…) and an `expected.npz` of z, y, image_rgb and logit.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from model.importers.importing import import_files
from model.sampling.folding import FoldedGenerator
from model.sampling.inputs import of_classes

ROOT = Path(os.environ.get("PEER_CHECKPOINTS", ""))
FOLDERS = [f.parent for f in sorted(ROOT.glob("*/expected.npz"))] if ROOT.name else []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_imported_checkpoint_computes_what_its_own_code_does(folder: Path) -> None:
    """The picture within 1e-5, the logit within 1e-4 of its size."""
    files = sorted(folder.glob("*.pth"))
    judges = [f for f in files if f.name.startswith(("D", "netD", "model=D"))]
    (generator,) = set(files) - set(judges)
    checkpoint = import_files(generator, discriminator=next(iter(judges), None)).checkpoint
    expected = {k: torch.from_numpy(v) for k, v in np.load(folder / "expected.npz").items()}
    assert checkpoint.discriminator is not None
    with torch.no_grad():
        picture = checkpoint.generator(expected["z"], expected["y"])
        logit = checkpoint.discriminator(expected["image_rgb"], expected["y"])
    picture_error = float((picture - expected["image_rgb"]).abs().max())
    logit_error = float((logit / expected["logit"].flatten() - 1).abs().max())
    print(f"{folder.name}: picture {picture_error:.1e}, logit {logit_error:.1e}")  # noqa: T201
    assert (picture_error < 1e-5, logit_error < 1e-4) == (True, True)
    generator_in_float64 = checkpoint.generator.double()
    with torch.no_grad():
        z = expected["z"].double()
        plain = generator_in_float64(z, expected["y"])
        folded = FoldedGenerator(generator_in_float64)(of_classes(z, expected["y"]))
    assert float((folded - plain).abs().max()) < 1e-10
