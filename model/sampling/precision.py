"""How close bfloat16 comes to float32."""

import copy
import logging

import torch
from torch import Tensor

from model.sampling.folding import FoldedGenerator

MIN_BF16_PSNR_DB = 40.0
RANGE = 2.0  # pictures lie in [-1, 1]

logger = logging.getLogger(__name__)


@torch.inference_mode()
def settled(network: FoldedGenerator, z: Tensor, classes: Tensor) -> FoldedGenerator:
    """`network` in bfloat16 where its pictures of these latents stay within 40 dB PSNR, else as is.

    (B, z_dim) latents and (B,) classes. Says in the log what was chosen and why.
    """
    rounded = copy.deepcopy(network).to(torch.bfloat16)
    psnr_db = psnr(rounded(z, classes), network(z, classes))
    close = psnr_db >= MIN_BF16_PSNR_DB
    chosen = "bf16" if close else "float32"
    logger.info("%s: bf16 gives %.1f dB PSNR, %.0f are asked", chosen, psnr_db, MIN_BF16_PSNR_DB)
    return rounded if close else network


def psnr(images: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio of pictures in [-1, 1], in dB; 120 where they are equal."""
    error = float((images.double() - reference.double()).square().mean())
    return 10 * float(torch.log10(torch.tensor(RANGE**2 / max(error, RANGE**2 * 1e-12))))
