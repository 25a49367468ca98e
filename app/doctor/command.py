"""The command `sagan doctor`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from app.doctor.finding import Finding

COLOURS = {"ok": "green", "note": "yellow", "fault": "red"}
SUBJECT_WIDTH = 11


@click.command()
@click.option("--url", help="Also ask the server at this address, such as http://127.0.0.1:8000.")
@click.option("--api-key", help="Key, if that server requires one.")
@click.option("--model", multiple=True, help="NAME=DIR; may be repeated, as for `sagan serve`.")
@click.option("--models-dir", help="Folder of checkpoints, as for `sagan serve`.")
@click.option("--device", type=click.Choice(["auto", "cuda", "mps", "cpu"]))
@click.option("--redis-url", help="[default: SAGAN_REDIS_URL]")
@click.option("--port", type=int, help="Port to listen on.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a finding, one a line.")
def doctor(
    url: str | None, api_key: str | None, *, model: Sequence[str], as_json: bool, **flags: object
) -> None:
    """Look for what keeps the service from running here, and say how to mend it.

    \b
    It looks at the settings, Python, torch, the device, the checkpoints, Redis, the port and
    the limits of this machine, and changes nothing. The exit status is 1 if anything is a fault.
    """
    flags["model"] = ",".join(model) or None
    faults = 0
    for finding in findings(url, api_key, flags):
        faults += finding.verdict == "fault"
        click.echo(json.dumps(asdict(finding)) if as_json else shown(finding))
    if not as_json:
        click.echo(f"{faults} fault{'' if faults == 1 else 's'}")
    raise SystemExit(1 if faults else 0)


def findings(url: str | None, api_key: str | None, flags: dict[str, object]) -> Iterator[Finding]:
    """All findings, what takes no time first."""
    from app.doctor import configuration, machine, redis_server, server, torch_report

    settings, found = configuration.look(**flags)
    yield from found
    yield from machine.look(settings)
    if settings is not None:
        yield from redis_server.look(settings)
        yield from torch_report.look(settings)
    if url is not None:
        yield from server.look(url.rstrip("/"), api_key)


def shown(finding: Finding) -> str:
    """A finding for people: the mend stands below it."""
    verdict = click.style(f"{finding.verdict:5}", fg=COLOURS[finding.verdict])
    line = f"{verdict}  {finding.subject:{SUBJECT_WIDTH}}  {finding.says}"
    return f"{line}\n{'':{SUBJECT_WIDTH + 9}}→ {finding.mend}" if finding.mend else line
