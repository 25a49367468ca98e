"""Looks at the settings: which are set, and which variables are none."""

from __future__ import annotations

import os
from collections.abc import Iterator

from app.doctor.finding import Finding, fault, note, ok
from app.settings import (
    HIDDEN,
    PREFIX,
    Settings,
    SettingsError,
    load_settings,
    service_links,
    unknown_variables,
)

SUBJECT = "settings"


def look(**flags: object) -> tuple[Settings | None, list[Finding]]:
    """The settings as `sagan serve` would have them, None if it would refuse them, and findings."""
    try:
        settings = load_settings(**flags)
    except SettingsError as error:
        mend = "correct or unset the variable; docs/serving.md lists all settings"
        return None, [fault(SUBJECT, line, mend) for line in str(error).splitlines()]
    return settings, [*_set_ones(settings, flags), *_left_aside()]


def _set_ones(settings: Settings, flags: dict[str, object]) -> Iterator[Finding]:
    """Each setting that has not its default, with where it came from."""
    given = sorted(settings.model_fields_set)
    for field in given:
        value = "(hidden)" if field in HIDDEN else repr(getattr(settings, field))
        where = "flag" if flags.get(field) is not None else "environment"
        yield ok(SUBJECT, f"{PREFIX}{field.upper()} = {value} ({where})")
    others = len(Settings.model_fields) - len(given)
    which = f"the {others} others have" if given else f"all {others} have"
    yield ok(SUBJECT, f"{which} their defaults")


def _left_aside() -> Iterator[Finding]:
    """Variables that look like settings and are none."""
    for variable in unknown_variables(os.environ):
        yield note(SUBJECT, f"{variable} is not a setting", "correct or unset it")
    for variable in service_links(os.environ):
        yield note(
            SUBJECT,
            f"{variable} describes a container or a Kubernetes Service, and is no setting here",
            "give that Service another name than sagan, or leave it: nothing reads the variable",
        )
