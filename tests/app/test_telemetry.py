"""Logs are JSON with a request id; metrics are in base units."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from app.telemetry import ApiMetrics, JsonFormatter, WorkerMetrics, request_id


def test_a_log_line_is_json_with_the_request_id() -> None:
    """Extra members come along, and a line break in a message stays one line."""
    token = request_id.set("abc")
    try:
        record = logging.LogRecord("app", logging.INFO, "f", 1, "hello\n%s", ("you",), None)
        record.images = 3
        line = JsonFormatter().format(record)
    finally:
        request_id.reset(token)
    read = json.loads(line)
    assert "\n" not in line
    assert (read["message"], read["request_id"], read["images"]) == ("hello\nyou", "abc", 3)
    assert read["level"] == "info"


def test_metrics_of_two_processes_do_not_meet() -> None:
    """Each has a registry of its own, so tests can have as many as they like."""
    first, second = ApiMetrics(), ApiMetrics()
    first.observe_job("bulk", queue_s=0.004, batch_s=0, model_s=0.04, encode_s=0.001, batch_size=8)
    text = generate_latest(first.registry).decode()
    assert 'sagan_queue_seconds_bucket{le="0.005",priority="bulk"} 1.0' in text
    assert 'sagan_batch_images_bucket{le="8.0"} 1.0' in text
    assert 'priority="bulk"' not in generate_latest(second.registry).decode()


def test_neither_process_exports_what_only_the_other_counts() -> None:
    """Such a series would stay 0 for ever and look like a fact."""
    worker, api = WorkerMetrics(max_batch_images=16), ApiMetrics()
    worker.observe_batch(8, model_s=0.25)
    workers, apis = (generate_latest(one.registry).decode() for one in (worker, api))
    assert 'sagan_batch_fill_ratio_bucket{le="0.5"} 1.0' in workers
    assert "sagan_device_busy_seconds_total 0.25" in workers
    for name in ("sagan_batch_fill_ratio", "sagan_reclaimed_total", 'stage="model"'):
        assert name in workers
        assert name not in apis
    for name in ("sagan_cache_hits_total", "sagan_dead_letters", 'stage="queue"'):
        assert name in apis
        assert name not in workers


@pytest.mark.parametrize("exists", [False, True])
def test_the_multiprocess_mode_of_prometheus_stays_off(tmp_path: Path, exists: bool) -> None:
    """PROMETHEUS_MULTIPROC_DIR, which other services of the machine may want, does nothing."""
    folder = tmp_path / "metrics"
    if exists:
        folder.mkdir()
    code = (
        "from prometheus_client import generate_latest; from app.telemetry import ApiMetrics\n"
        "metrics = ApiMetrics(); metrics.workers_ready.labels('a').set(2)\n"
        "metrics.workers_ready.clear(); metrics.workers_ready.labels('a').set(2)\n"
        "assert b'sagan_workers_ready{model=\"a\"} 2.0' in generate_latest(metrics.registry)"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-W", "error", "-c", code]
    subprocess.run(command, env=environment, check=True)
    assert not folder.exists() or not list(folder.iterdir())
