"""Finding: what the doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    A note is worth knowing. With a fault, something does not work; `mend` says what to do about it.
    """

    verdict: Verdict
    subject: str
    says: str
    mend: str = ""


def ok(subject: str, says: str) -> Finding:
    """All is well."""
    return Finding("ok", subject, says)


def note(subject: str, says: str, mend: str) -> Finding:
    """It works, but may surprise."""
    return Finding("note", subject, says, mend)


def fault(subject: str, says: str, mend: str) -> Finding:
    """It does not work."""
    return Finding("fault", subject, says, mend)
