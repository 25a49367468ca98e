"""Measures checkpoints against data: feature networks, their statistics, and distances of those."""
