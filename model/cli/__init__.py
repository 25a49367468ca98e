"""Commands that need a checkpoint and no server: generate, walk, attention, classes, inspect."""
