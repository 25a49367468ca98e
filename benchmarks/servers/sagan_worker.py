"""A worker of this project with the comparison's trivial network instead of a checkpoint.

Run: python -m benchmarks.servers.sagan_worker, with the environment of any worker.
"""

from __future__ import annotations

import sys
from typing import cast

import uvloop

from app.queue.messages import ModelCard, ModelClass
from app.settings import load_settings, require_redis_url
from app.telemetry import configure_logging
from app.worker.main import serve
from app.worker.models import ServedModels
from app.worker.renderer import SamplerRenderer
from benchmarks.servers.trivial import NUM_CLASSES, RESOLUTION, Z_DIM, TrivialSampler
from model import Sampler, pictures

CARD = ModelCard(
    name="trivial",
    fingerprint="0123456789abcdef" * 4,
    resolution=RESOLUTION,
    classes=tuple(ModelClass(f"class_{i}") for i in range(NUM_CLASSES)),
    attention_grids=(),
    renderer=f"cpu-trivial-{pictures.encoder()}",
    z_dim=Z_DIM,
)

if __name__ == "__main__":
    settings = load_settings()
    configure_logging(settings.log_level)
    renderer = SamplerRenderer(cast("Sampler", TrivialSampler()), CARD, marked=settings.mark)
    sys.exit(uvloop.run(serve(settings, require_redis_url(settings), ServedModels([renderer]))))
