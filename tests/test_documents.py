"""What the documents say of the tree and of one another: names that exist, figures that agree."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("app", "benchmarks", "model", "tests", "training")
DOCUMENTS = (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
PATH = re.compile(rf"(?<![\w/.-])(?:docker|docs|{'|'.join(PACKAGES)})/[\w./-]*\w")
MODULE = re.compile(rf"(?:python -m |`)((?:{'|'.join(PACKAGES)})(?:\.\w+)+)")
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
IN_EXAMPLES = {"NAME", "model.py", "app.py", "model.safetensors"}  # not of this tree
every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.name)


def anchors(text: str) -> set[str]:
    """Those that GitHub gives the headings of a document."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in plain}


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module, or something that a module has."""
    try:
        importlib.import_module(dotted)
    except ModuleNotFoundError:
        module, _, name = dotted.rpartition(".")
        return module in PACKAGES or hasattr(importlib.import_module(module), name)
    return True


@every_document
def test_each_path_and_module_that_is_named_is_there(document: Path) -> None:
    """Also in the changelog, whose names would stay behind when a file moves."""
    text = document.read_text()
    paths = {path for path in PATH.findall(text) if not IN_EXAMPLES & {*path.split("/")}}
    assert {path for path in paths if not (ROOT / path).exists()} == set()
    names = {name for name in MODULE.findall(text) if name not in IN_EXAMPLES}
    assert {name for name in names if not exists(name)} == set()


@every_document
def test_each_link_leads_somewhere(document: Path) -> None:
    """To a file, and to a heading in it."""
    for path, anchor in LINK.findall(document.read_text()):
        target = document.parent / path if path else document
        assert target.exists(), path
        assert not anchor or anchor in anchors(target.read_text()), f"{path}#{anchor}"


@every_document
def test_each_target_of_make_that_is_named_is_there(document: Path) -> None:
    """In commands, at the beginning of a line or in backquotes."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z][a-z-]*)", document.read_text(), re.MULTILINE)
    assert set(named) <= targets


def read(name: str) -> str:
    """A document without bold and without the ranges that stand after figures."""
    return re.sub(r"\*\*| \([\d,.]+–[\d,.]+\)", "", (ROOT / name).read_text())


def test_the_faults_of_the_readme_are_those_of_the_table() -> None:
    """The total of its rows, in both documents; none lost and none answered twice in any row."""
    table = read("docs/reliability.md").partition("## Ten times")[0]
    rows = re.findall(
        r"^\| [\w-]+ \|.*\| ([\d,]+) \| [^|]+ \| (\d+) \| (\d+) \| \S+ s \| \S+ s \|$", table, re.M
    )
    total = f"{sum(int(requests.replace(',', '')) for requests, _, _ in rows):,}"
    assert {(lost, twice) for _, lost, twice in rows} == {("0", "0")}
    assert f"sent {total} requests in all: no request was lost" in table
    assert f"{len(rows)} faults with {total} requests lost no request" in read("README.md")


def test_the_servers_of_the_readme_are_as_measured() -> None:
    """Each cell of its table stands in the row of docs/performance.md."""
    measured = read("docs/performance.md").replace("p50 ", "")
    table = read("README.md").replace("p50 ", "").partition("| clients |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE)
    assert [clients for clients, _ in rows] == ["1", "8", "64"]
    for clients, cells in rows:
        line = re.search(rf"^\| {clients} clients? \| .*$", measured, re.MULTILINE)
        assert line is not None
        assert line.group().endswith(f"| {cells} |")


def test_the_training_steps_of_the_readme_are_as_measured() -> None:
    """Images a second of a batch of 32, and how many times BigGAN-PyTorch's that is."""
    measured = dict(re.findall(r"^\| (\d+ px) \| (.* s.*) \|$", read("docs/training.md"), re.M))
    rows = dict(re.findall(r"^\| (\d+ px) \| ([\d.]+.*\(.*×\).*) \|$", read("README.md"), re.M))
    assert set(rows) == {"32 px", "64 px", "128 px"}
    for size, cells in rows.items():
        seconds = [float(s) for s in re.findall(r"([\d.]+) s", measured[size])]
        rates = [float(rate) for rate in re.findall(r"(?:^|\| )([\d.]+)", cells)]
        assert all(abs(32 / s - rate) < 1 for s, rate in zip(seconds, rates, strict=True))
        assert re.findall(r"[\d.]+×", cells) == re.findall(r"[\d.]+×", measured[size])


def test_the_encoder_has_one_rate() -> None:
    """The README's, from which the cores beside a GPU are computed."""
    (rate,) = re.findall(r"The encoder makes ([\d,]+) PNG files a second", read("README.md"))
    assert f"{rate}/s on two cores, `benchmarks.encoder`" in read("docs/scaling.md")
