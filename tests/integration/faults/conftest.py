"""What the tests of faults share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.faults.trial import Trial


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    """The quick form of a trial; `python -m benchmarks.faults` has the long one."""
    return Trial(tmp_path)
