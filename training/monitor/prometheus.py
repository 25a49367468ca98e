"""TrainingMetrics: the metrics of a run for Prometheus, for `sagan train --metrics-port`."""

import time
from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    start_http_server,
)

# name in the log -> metric and the value of its label
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
    """The metrics of one run, in a registry of their own. `Report` keeps them up to date."""

    def __init__(self, run: str, total_images: int) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.run = run
        self.registry = CollectorRegistry()
        self.images = Counter(
            "sagan_training_images_total", "Pictures seen", ("run",), registry=self.registry
        )  # created at the first update, so that a resumed run shows no leap from 0
        self._num_images = 0
        self._readings = {
            "loss": self._gauge("loss", "Mean loss over the last logged steps", "network"),
            "logit": self._gauge("logit", "Mean logit of the discriminator", "pictures"),
            "accuracy": self._gauge(
                "accuracy_ratio",
                "Part of the pictures that the discriminator classifies correctly",
                "pictures",
            ),
        }
        self.gamma = self._gauge("gamma", "γ of an attention layer", "layer")
        self.score = self._gauge("score", "Scores of the last snapshot", "metric")
        self.loader_wait = self._gauge(
            "loader_wait_ratio", "Part of the time that steps wait for pictures"
        )
        self.snapshot_time = self._gauge("snapshot_timestamp_seconds", "Time of the last snapshot")
        self._gauge("goal_images", "Number of pictures after which the run is finished").labels(
            run
        ).set(total_images)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"sagan_training_{name}", text, ("run", *labels), registry=self.registry)

    def serve(self, port: int, host: str = "127.0.0.1") -> None:
        """Serves the metrics at this address; raises OSError."""
        start_http_server(port, host, registry=self.registry)

    def update_progress(self, num_images: int) -> None:
        """Counts up to `num_images`.

        After a rollback `num_images` is lower than before; the counter then stays the same.
        """
        self.images.labels(self.run).inc(max(0, num_images - self._num_images))
        self._num_images = num_images

    def record(self, values: Mapping[str, float]) -> None:
        """Sets the metrics of the last logged steps."""
        for name, value in values.items():
            if name in READINGS:
                metric, which = READINGS[name]
                self._readings[metric].labels(self.run, which).set(value)
            elif name.startswith("gamma_"):
                self.gamma.labels(self.run, name.removeprefix("gamma_")).set(value)
        self.loader_wait.labels(self.run).set(values["loader_wait"])

    def record_scores(self, scores: Mapping[str, float]) -> None:
        """Sets the scores of a new snapshot and its time."""
        for name, value in scores.items():
            self.score.labels(self.run, name).set(value)
        self.snapshot_time.labels(self.run).set(time.time())
