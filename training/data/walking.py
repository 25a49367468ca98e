"""Finds the picture files under a folder, and gives a reason for everything that it leaves out."""

import stat
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from training.data.pictures import SUFFIXES

# Folders that systems and programs make for themselves, in lower case.
SYSTEM_FOLDERS = frozenset(
    {
        "#recycle", "$recycle.bin", "@eadir", "@recently-snapshot", "@recycle", "__macosx",
        "lost+found", "recycler", "system volume information",
    }
)  # fmt: skip


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not read, and the reason."""

    path: Path
    reason: str


@dataclass
class Found:
    """The content of a folder.

    `loose` are the pictures directly in it, `by_folder` those anywhere under each of its folders
    (by path), `others` counts the files of other kinds by suffix.
    """

    loose: list[Path] = field(default_factory=list)
    by_folder: dict[Path, list[Path]] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def find_pictures(root: Path) -> Found:
    """Finds the pictures under `root`, in the order of their names, files before folders.

    Hidden files and folders are ignored, and so are folders that operating systems make for
    themselves. A link to a folder is followed unless that folder is read already, so that cycles
    end and no picture counts twice. Only regular files are read: a FIFO would block for ever.
    Raises OSError if `root` itself cannot be read.
    """
    walk = _Walk()
    walk.enter(root)
    own = walk.listing_of(root)
    walk.found.loose = own.pictures
    links = deque((folder, folder) for folder in own.links)
    for folder in own.folders:
        walk.found.by_folder[folder] = walk.pictures_under(folder, links, top=folder)
    while links:  # after the real folders: those keep their pictures
        top, link = links.popleft()
        if pictures := walk.pictures_under(link, links, top):
            walk.found.by_folder.setdefault(top, []).extend(pictures)
    return walk.found


def is_picture(file: Path) -> bool:
    """Whether the suffix is one of a picture."""
    return file.suffix.lower() in SUFFIXES


@dataclass
class _Listing:
    """The entries of a folder by kind; `links` are links to folders."""

    pictures: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)


class _Walk:
    """What has been found, and the folders that have been read, by device and inode."""

    def __init__(self) -> None:
        self.found = Found()
        self._entered: set[tuple[int, int]] = set()

    def enter(self, folder: Path) -> bool:
        """Notes that `folder` is read now; False if it was read before. Raises OSError."""
        status = folder.stat()
        identity = (status.st_dev, status.st_ino)
        new = identity not in self._entered
        self._entered.add(identity)
        return new

    def leave_out(self, path: Path, reason: str) -> None:
        """Notes that `path` is not read."""
        self.found.left_out.append(LeftOut(path, reason))

    def pictures_under(
        self, folder: Path, links: deque[tuple[Path, Path]], top: Path
    ) -> list[Path]:
        """The pictures anywhere under `folder`; adds (top, link) to `links` for linked folders."""
        pictures: list[Path] = []
        waiting = [folder]
        while waiting:
            place = waiting.pop()
            try:
                if not self.enter(place):
                    self.leave_out(place, "a link leads to this folder, which is read elsewhere")
                    continue
                listing = self.listing_of(place)
            except OSError as error:
                self.leave_out(place, f"folder cannot be read: {error.strerror}")
                continue
            pictures += listing.pictures
            waiting += reversed(listing.folders)
            links.extend((top, link) for link in listing.links)
        return pictures

    def listing_of(self, folder: Path) -> _Listing:
        """Lists a folder, in the order of names; raises OSError if it cannot be read."""
        listing = _Listing()
        for path in sorted(folder.iterdir()):
            if not path.name.startswith("."):
                self._add(path, listing)
        return listing

    def _add(self, path: Path, listing: _Listing) -> None:
        try:
            status = path.stat()
        except OSError as error:
            kind = "a link that leads nowhere" if path.is_symlink() else "cannot be read"
            self.leave_out(path, f"{kind}: {error.strerror}")
            return
        if stat.S_ISDIR(status.st_mode):
            if path.name.lower() not in SYSTEM_FOLDERS:
                (listing.links if path.is_symlink() else listing.folders).append(path)
        elif not is_picture(path):
            self.found.others[path.suffix.lower() or "no suffix"] += 1
        elif stat.S_ISREG(status.st_mode):
            listing.pictures.append(path)
        else:
            self.leave_out(path, "not a regular file")
