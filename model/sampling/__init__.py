"""Sampling: from a trained generator to images, the same bytes in any batch."""
