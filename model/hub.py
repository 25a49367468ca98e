"""Checkpoints on the Hugging Face Hub: `hf:ORG/NAME@REVISION` names one, as a folder's path does.

A download has only the files that a checkpoint folder has, and no pickle: weights are safetensors.
It needs the extra `hf`, which is imported only if such a name is used.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PREFIX = "hf:"
DEFAULT_REVISION = "main"
ALLOWED = ("config.json", "model.safetensors", "discriminator.safetensors", "README.md")
REQUIRED = ("config.json", "model.safetensors")
_REPO = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_PLACE = re.compile(rf"hf:({_REPO}/{_REPO})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,199}}))?")


class HubError(ValueError):
    """A repository cannot be read or written; the message names it and what to do."""


class HubPlace(NamedTuple):
    """A repository and a revision: a branch, a tag or a commit."""

    repo: str
    revision: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}@{self.revision}"

    @property
    def name(self) -> str:
        """The repository's name without its owner."""
        return self.repo.partition("/")[2]


def hub_place(text: str) -> HubPlace:
    """`"hf:me/cats@v1"` -> HubPlace("me/cats", "v1"); without `@` it is the branch main.

    Raises HubError for anything else.
    """
    match = _PLACE.fullmatch(text)
    if match is None:
        raise HubError(f"{text[:200]!r} names no repository: write hf:ORG/NAME@REVISION")
    return HubPlace(match[1], match[2] or DEFAULT_REVISION)


def download(place: HubPlace) -> Path:
    """The folder of a checkpoint in the local cache, downloaded if it is not there.

    Without a connection (or with HF_HUB_OFFLINE=1) the cache alone is used. Raises HubError.
    """
    with _told(place):
        from huggingface_hub import snapshot_download

        folder = Path(
            snapshot_download(place.repo, revision=place.revision, allow_patterns=list(ALLOWED))
        )
    if missing := [name for name in REQUIRED if not (folder / name).is_file()]:
        raise HubError(
            f"{place} has no {' and no '.join(missing)}: it is no checkpoint of this project; "
            "`sagan import` converts a checkpoint of another implementation to one"
        )
    return folder


def upload(place: HubPlace, files: dict[str, Path | bytes], *, private: bool, message: str) -> str:
    """Writes `files` by name in one commit, to a repository that is made if there is none.

    Returns the commit. Raises HubError.
    """
    with _told(place):
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi()
        api.create_repo(place.repo, private=private, exist_ok=True)
        operations = [
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in files.items()
        ]
        done = api.create_commit(
            place.repo, operations, commit_message=message, revision=place.revision
        )
    return str(done.oid)


@contextmanager
def _told(place: HubPlace) -> Iterator[None]:
    """Turns the errors of huggingface_hub into HubErrors that name the repository and the mend."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise HubError(
            f"{place} needs the package {error.name}: `pip install -e '.[hf]'` in the project's "
            "folder"
        ) from None
    except HubError:
        raise
    except Exception as error:
        if (mend := _mend(error) or (error.__cause__ and _mend(error.__cause__))) is None:
            raise
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise HubError(f"{place}: {mend} ({type(error).__name__}: {first[:300]})") from error


def _mend(error: BaseException) -> str | None:
    """What to do about an error of huggingface_hub; None if it is not one."""
    from huggingface_hub import errors

    mends: tuple[tuple[type[Exception], str], ...] = (
        (errors.GatedRepoError, "ask its owner for access, and set HF_TOKEN to a token of yours"),
        (
            errors.RepositoryNotFoundError,
            "there is no such repository, or it is private: correct ORG/NAME, or set HF_TOKEN to a "
            "token that may read it",
        ),
        (errors.RevisionNotFoundError, "it has no such revision: correct what follows the @"),
        (
            errors.LocalEntryNotFoundError,
            "it is not in the cache and the Hub cannot be reached: connect this machine once, or "
            "copy the checkpoint's folder here and name that",
        ),
        (errors.HfHubHTTPError, "the Hub refuses: see its answer, and set HF_TOKEN if it asks"),
    )
    for kind, mend in mends:
        if isinstance(error, kind):
            return mend
    if isinstance(error, OSError | ValueError) or _is_of_the_connection(error):
        return "the Hub cannot be reached, or the cache cannot be used: try again"
    return None


def _is_of_the_connection(error: BaseException) -> bool:
    """Whether it comes from the HTTP library that huggingface_hub uses, whichever that is."""
    return type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "requests")
