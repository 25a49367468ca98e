"""Trains: the loop, its steps and everything that takes part in them."""
