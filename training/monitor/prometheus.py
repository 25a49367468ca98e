"""TrainingMetrics: a run as Prometheus sees it, for `sagan train --metrics-port`."""

import time
from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    start_http_server,
)

# what the log calls a reading -> the metric, and which of it
READINGS = {
    "discriminator_loss": ("loss", "discriminator"),
    "generator_loss": ("loss", "generator"),
    "real_logit": ("logit", "real"),
    "fake_logit": ("logit", "fake"),
    "real_accuracy": ("accuracy", "real"),
    "fake_accuracy": ("accuracy", "fake"),
    "pair_accuracy": ("accuracy", "pairs"),
}


class TrainingMetrics:
    """The numbers of one run, in a registry of its own; Report keeps them up to date."""

    def __init__(self, run: str, total_images: int) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.run = run
        self.registry = CollectorRegistry()
        self.images = Counter(
            "sagan_training_images_total", "Pictures seen", ("run",), registry=self.registry
        )  # a resumed run's begins where it left off: no rate is made of a leap from 0
        self._num_images = 0
        self._readings = {
            "loss": self._gauge("loss", "Mean loss of late", "network"),
            "logit": self._gauge("logit", "What the discriminator gives", "pictures"),
            "accuracy": self._gauge(
                "accuracy_ratio", "Part that the discriminator takes for what it is", "pictures"
            ),
        }
        self.gamma = self._gauge("gamma", "γ of an attention layer", "layer")
        self.score = self._gauge("score", "What the last snapshot scored", "metric")
        self.loader_wait = self._gauge("loader_wait_ratio", "Part of the time waiting for pictures")
        self.snapshot_time = self._gauge(
            "snapshot_timestamp_seconds", "When the last snapshot was made"
        )
        self._gauge("goal_images", "Pictures at which the run is finished").labels(run).set(
            total_images
        )

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"sagan_training_{name}", text, ("run", *labels), registry=self.registry)

    def serve(self, port: int) -> None:
        """Answers Prometheus on every address of this machine; raises OSError."""
        start_http_server(port, registry=self.registry)

    def moved(self, num_images: int) -> None:
        """So many pictures are seen; fewer than before after a rollback, which are seen anew."""
        self.images.labels(self.run).inc(max(0, num_images - self._num_images))
        self._num_images = num_images

    def record(self, values: Mapping[str, float]) -> None:
        """What the log has of the last steps."""
        for name, value in values.items():
            if name in READINGS:
                metric, which = READINGS[name]
                self._readings[metric].labels(self.run, which).set(value)
            elif name.startswith("gamma_"):
                self.gamma.labels(self.run, name.removeprefix("gamma_")).set(value)
        self.loader_wait.labels(self.run).set(values["loader_wait"])

    def scored(self, scores: Mapping[str, float]) -> None:
        """A snapshot was made, and scored this."""
        for name, value in scores.items():
            self.score.labels(self.run, name).set(value)
        self.snapshot_time.labels(self.run).set(time.time())
