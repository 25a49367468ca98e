"""The files of a run: snapshots, checkpoints, recipe and lock."""
