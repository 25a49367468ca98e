"""Measures checkpoints against data: feature networks, statistics of features, and metrics."""
