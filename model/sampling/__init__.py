"""Sampling: from a trained generator to pictures, the same bytes in any batch."""
