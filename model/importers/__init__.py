"""Imports checkpoints of other SAGAN implementations into this project's format."""
