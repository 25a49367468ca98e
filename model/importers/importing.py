"""Imports a foreign file: recognises its format, assembles the networks, lists assumptions."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from model.checkpoint import Checkpoint, ClassInfo
from model.discriminator import Discriminator
from model.generator import Generator
from model.importers.assembling import assemble_discriminator, assemble_generator
from model.importers.biggan_pytorch import BIGGAN_PYTORCH
from model.importers.classes import imagenet_classes
from model.importers.mimicry import MIMICRY
from model.importers.mmgeneration import MMGENERATION
from model.importers.naming import Format, ImportRefusedError, Rules, Split, Tensors
from model.importers.reading import read_state_dicts
from model.importers.studiogan import STUDIOGAN
from model.importers.tensorflow import TENSORFLOW

FORMATS = {f.name: f for f in (STUDIOGAN, MMGENERATION, BIGGAN_PYTORCH, MIMICRY, TENSORFLOW)}
NUM_IMAGENET_CLASSES = 1000
MAX_SHOWN = 4  # places of a file that an error names
N = TypeVar("N", Generator, Discriminator)


@dataclass(frozen=True)
class Overrides:
    """Values that the user sets instead of the format's rules; None keeps the rule."""

    batch_norm_eps: float | None = None
    colour_order: Literal["RGB", "BGR"] | None = None
    skip_sees_relu: bool | None = None

    def apply(self, rules: Rules) -> Rules:
        """The rules, changed by these values."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(rules, **known)


@dataclass(frozen=True)
class Imported:
    """The checkpoint made of a foreign file, and the lines that describe it."""

    checkpoint: Checkpoint
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """What a file turned out to be."""

    file: Path
    format: Format
    split: Split
    rules: Rules


def import_files(
    file: Path,
    format_name: str = "auto",
    *,
    discriminator: Path | None = None,
    classes: Sequence[ClassInfo] | None = None,
    overrides: Overrides | None = None,
) -> Imported:
    """The checkpoint of a foreign `file`, with the discriminator of another file if one is given.

    `format_name` is one of `FORMATS`, or "auto" to recognise the format by the keys. Nothing is
    written. Raises ImportRefusedError naming the file and the first key at fault.
    """
    found = _find(file, format_name, overrides)
    if not found.split.generator:
        raise ImportRefusedError(f"{file}: holds a discriminator and no generator")
    other = found if discriminator is None else _find(discriminator, format_name, overrides)
    if discriminator is not None and not other.split.discriminator:
        remarks = "; ".join(other.split.remarks)
        raise ImportRefusedError(f"{discriminator}: {remarks or 'holds no discriminator'}")
    if other.format is not found.format:
        raise ImportRefusedError(
            f"{other.file}: format {other.format.name}, but the generator has {found.format.name}"
        )
    other = replace(other, rules=found.rules)  # the file's name may say less than the generator's
    generator = _assembled(assemble_generator, found, found.split.generator)
    discriminator_network = None
    if other.split.discriminator:
        discriminator_network = _assembled(assemble_discriminator, other, other.split.discriminator)
        _require_a_pair(generator, discriminator_network, other.file)
    named = _classes(classes, generator.config.num_classes)
    files = [found] if discriminator is None else [found, other]
    facts = {"imported": {"format": found.format.name, **_provenance(files)}}
    checkpoint = Checkpoint(generator, discriminator_network, named, facts)
    lines = [*_lines(found, generator, discriminator_network), _classes_line(classes, named)]
    return Imported(checkpoint, tuple(lines))


def describe(file: Path) -> list[str]:
    """Lines that describe a foreign file; raises ImportRefusedError if its format is unknown."""
    found = _find(file, "auto", None)
    generator, discriminator_network = None, None
    if found.split.generator:
        generator = _assembled(assemble_generator, found, found.split.generator)
    if found.split.discriminator:
        discriminator_network = _assembled(assemble_discriminator, found, found.split.discriminator)
    return _lines(found, generator, discriminator_network)


def _find(file: Path, format_name: str, overrides: Overrides | None) -> _Found:
    state_dicts = read_state_dicts(file)
    candidates = list(FORMATS.values()) if format_name == "auto" else [FORMATS[format_name]]
    for candidate in candidates:
        splits = {place: candidate.split(tensors) for place, tensors in state_dicts.items()}
        if splits := {place: split for place, split in splits.items() if split != Split()}:
            split, place = choose_networks(splits)
            rules = (overrides or Overrides()).apply(candidate.rules(state_dicts[place], file.name))
            return _Found(file, candidate, split, rules)
    asked = "any known" if format_name == "auto" else format_name
    shown = ", ".join(
        f"{place + ': ' if place else ''}{next(iter(tensors))}"
        for place, tensors in [*state_dicts.items()][:MAX_SHOWN]
    )
    raise ImportRefusedError(
        f"{file}: {shown} is not a key of {asked} SAGAN checkpoint; "
        f"known formats: {', '.join(FORMATS)}"
    )


def choose_networks(splits: Mapping[str, Split]) -> tuple[Split, str]:
    """One generator and one discriminator of those at several places of a file.

    The averaged generator is preferred, whose place has "ema" in it; else the first one. The
    discriminator is the generator's neighbour, or the first one. Returns them, with a remark if
    the file has several places, and the place that says most about the format.
    """
    with_generator = [place for place, split in splits.items() if split.generator]
    averaged = [place for place in with_generator if "ema" in place.lower()]
    with_discriminator = [place for place, split in splits.items() if split.discriminator]
    chosen = next(iter((*averaged, *with_generator)), None)
    if chosen is not None and splits[chosen].discriminator:
        with_discriminator.insert(0, chosen)
    other = next(iter(with_discriminator), None)
    taken = [place for place in (chosen, other) if place is not None] or [next(iter(splits))]
    remarks = [remark for place in dict.fromkeys(taken) for remark in splits[place].remarks]
    if len(splits) > 1:
        left = [place for place in splits if place not in taken]
        remarks.append(
            f"generator taken from {chosen}, discriminator from {other}"
            + (f"; not used: {', '.join(left[:MAX_SHOWN])}" if left else "")
        )
    generator = splits[chosen].generator if chosen is not None else {}
    discriminator = splits[other].discriminator if other is not None else {}
    return Split(generator, discriminator, tuple(remarks)), taken[0]


def _assembled(
    assemble: Callable[[Format, Tensors, Rules], N], found: _Found, tensors: Tensors
) -> N:
    try:
        return assemble(found.format, tensors, found.rules)
    except ValueError as error:
        raise ImportRefusedError(f"{found.file}: {error}") from error


def _require_a_pair(generator: Generator, discriminator: Discriminator, file: Path) -> None:
    for name in ("resolution", "num_classes"):
        ours, its = getattr(generator.config, name), getattr(discriminator.config, name)
        if ours != its:
            raise ImportRefusedError(
                f"{file}: the discriminator has {name} {its}, the generator {ours}"
            )


def _classes(given: Sequence[ClassInfo] | None, count: int) -> Sequence[ClassInfo]:
    """The classes of `count` labels; empty if they are unknown, so that placeholders are used."""
    if given is None:
        return imagenet_classes() if count == NUM_IMAGENET_CLASSES else ()
    if len(given) != count:
        raise ImportRefusedError(
            f"--classes: {len(given)} class names for a generator of {count} classes"
        )
    return given


def _provenance(files: Sequence[_Found]) -> dict[str, object]:
    rules = asdict(files[0].rules)
    del rules["because"]
    sources = []
    for found in files:
        with found.file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        sources.append({"name": found.file.name, "sha256": digest})
    return {"files": sources, **rules}


def _lines(
    found: _Found, generator: Generator | None, discriminator: Discriminator | None
) -> list[str]:
    rules = found.rules
    lines = [f"format          {found.format.name}"]
    if generator is not None:
        config = generator.config
        lines.append(
            f"generator       {config.resolution} px, base channels {config.base_channels}, "
            f"{config.num_classes} classes, z {config.z_dim}, attention at {config.attention_at}"
        )
    if discriminator is not None:
        other = discriminator.config
        lines.append(
            f"discriminator   {other.resolution} px, base channels {other.base_channels}, "
            f"{other.num_classes} classes, attention at {other.attention_at}"
        )
    converted = ", made RGB" if rules.colour_order == "BGR" else ""
    return [
        *lines,
        *(f"remark          {remark}" for remark in found.split.remarks),
        "assumptions     (for what no shape shows; flags of `sagan import` override them)",
        f"batch_norm_eps  {rules.batch_norm_eps:g} (--batch-norm-eps)",
        f"colour_order    {rules.colour_order}{converted} (--colour-order)",
        f"skip_sees_relu  {'yes' if rules.skip_sees_relu else 'no'} (--[no-]skip-sees-relu)",
        *([] if generator is None else _generator_lines(rules)),
        f"spectral eps    {rules.spectral_norm_eps:g}",
        *([f"reasons         {rules.because}"] if rules.because else []),
    ]


def _generator_lines(rules: Rules) -> list[str]:
    return [
        f"class gain      {rules.conditional_gain}",
        f"upsampling      {rules.upsampling}",
    ]


def _classes_line(given: Sequence[ClassInfo] | None, named: Sequence[ClassInfo]) -> str:
    if given is not None:
        return f"classes         {len(named)} from the file given"
    if named:
        return "classes         1000, taken for ImageNet's in WordNet-id order (or --classes)"
    return "classes         unnamed (--classes FILE names them)"
