"""Serves samples and attention maps of a SAGAN checkpoint over HTTP through a Redis queue."""
