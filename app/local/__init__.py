"""One machine: `sagan serve` supervises an API, workers and a private Redis."""
