"""A run as Prometheus sees it."""

import socket

from click.testing import CliRunner
from prometheus_client import generate_latest

import sagan
from training.monitor.prometheus import TrainingMetrics


def shown(metrics: TrainingMetrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_a_resumed_run_begins_where_it_left_off() -> None:
    """Its first value is no 0, which would make a leap in any rate; a rollback is no reset."""
    metrics = TrainingMetrics("first", 1000)
    assert "sagan_training_images_total{" not in shown(metrics)
    metrics.update_progress(500)
    assert 'sagan_training_images_total{run="first"} 500.0' in shown(metrics)
    metrics.update_progress(400)
    metrics.update_progress(450)
    assert 'sagan_training_images_total{run="first"} 550.0' in shown(metrics)


def test_what_is_logged_is_shown_under_a_name_for_each_kind() -> None:
    """Readings of the networks, γ of each layer, scores of the snapshot."""
    metrics = TrainingMetrics("first", 1000)
    metrics.record({"generator_loss": 0.5, "gamma_32": 0.1, "loader_wait": 0.02})
    metrics.record_scores({"fid_picturebook-64": 30.0})
    page = shown(metrics)
    assert 'sagan_training_loss{network="generator",run="first"} 0.5' in page
    assert 'sagan_training_gamma{layer="32",run="first"} 0.1' in page
    assert 'sagan_training_loader_wait_ratio{run="first"} 0.02' in page
    assert 'sagan_training_score{metric="fid_picturebook-64",run="first"} 30.0' in page
    assert 'sagan_training_goal_images{run="first"} 1000.0' in page


def test_a_taken_metrics_port_is_one_line(tmp_path: object) -> None:
    """Before anything is prepared."""
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        flags = ["--metrics-port", str(port), "--device", "cpu", "--data-dir", f"{tmp_path}/data"]
        result = CliRunner().invoke(sagan.main, ["train", f"{tmp_path}/run", *flags])
    assert result.exit_code == 2
    assert f"--metrics-port {port}: Address already in use; choose another port" in result.output
