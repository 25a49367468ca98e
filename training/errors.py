"""What ends a run."""


class RunError(ValueError):
    """A run that cannot begin or go on; says why and what to do."""
