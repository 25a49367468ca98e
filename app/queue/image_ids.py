"""The name of an image: one spelling per value, `<12 hex>-<class>-<seed>-<thousandths or n>`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.errors import InvalidValueError

MAX_SEED = 2**32 - 1
MAX_TRUNCATION_THOUSANDTHS = 4000
FINGERPRINT_DIGITS = 12

_NUMBER = r"0|[1-9][0-9]{0,9}"
PATTERN = rf"[0-9a-f]{{{FINGERPRINT_DIGITS}}}-({_NUMBER})-({_NUMBER})-(n|{_NUMBER})"
_SPELLING = re.compile(
    rf"(?P<prefix>[0-9a-f]{{{FINGERPRINT_DIGITS}}})-(?P<label>{_NUMBER})-(?P<seed>{_NUMBER})"
    rf"-(?P<truncation>n|{_NUMBER})",
    re.ASCII,
)


@dataclass(frozen=True)
class ImageId:
    """Which checkpoint (first 12 hex digits), class index, seed and truncation make an image."""

    prefix: str
    label: int
    seed: int
    truncation_thousandths: int | None

    def __str__(self) -> str:
        return format_image_id(self.prefix, self.label, self.seed, self.truncation_thousandths)


def format_image_id(
    fingerprint: str, label: int, seed: int, truncation_thousandths: int | None
) -> str:
    """The image id of these values; `fingerprint` may be the whole one."""
    truncation = "n" if truncation_thousandths is None else truncation_thousandths
    return f"{fingerprint[:FINGERPRINT_DIGITS]}-{label}-{seed}-{truncation}"


def parse_image_id(text: str) -> ImageId:
    """The values that an image id spells; raises InvalidValueError for any other spelling."""
    match = _SPELLING.fullmatch(text)
    if match is None:
        raise InvalidValueError(
            f"{text[:80]!r} is not an image id: expected <{FINGERPRINT_DIGITS} hex digits>-<class>"
            "-<seed>-<truncation in thousandths, or n>"
        )
    thousandths = None if match["truncation"] == "n" else int(match["truncation"])
    check_seed(int(match["seed"]))
    check_truncation_thousandths(thousandths)
    return ImageId(match["prefix"], int(match["label"]), int(match["seed"]), thousandths)


def check_seed(seed: int) -> None:
    """Raises InvalidValueError unless `seed` is 0…2³²−1."""
    if not 0 <= seed <= MAX_SEED:
        raise InvalidValueError(f"seed {seed} is not within 0 and {MAX_SEED}")


def check_truncation_thousandths(thousandths: int | None) -> None:
    """Raises InvalidValueError unless the truncation is none or 0.001…4."""
    if thousandths is not None and not 1 <= thousandths <= MAX_TRUNCATION_THOUSANDTHS:
        raise InvalidValueError(
            f"truncation {thousandths / 1000:g} is not within 0.001 and "
            f"{MAX_TRUNCATION_THOUSANDTHS / 1000:g}"
        )
