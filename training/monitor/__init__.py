"""Watches a run: what is measured, what is wrong, and where it is shown."""
