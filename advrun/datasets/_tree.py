"""Folders of image files: hidden ones are passed over, links are followed once, and what is no image is counted."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from advrun.errors import DataError, printable

log = logging.getLogger("advrun")

FORMATS = ("PNG", "JPEG", "PPM", "BMP", "WEBP", "TIFF", "GIF")
"""Pillow's names."""
ENDINGS = (".png", ".jpg", ".jpeg", ".jfif", ".ppm", ".pgm", ".bmp", ".webp", ".tif", ".tiff", ".gif")
HIDDEN = (".", "__MACOSX", "@eaDir", "$RECYCLE.BIN")
"""What programs leave behind begins so: editors' copies, thumbnails, resource forks."""
LITTER = ("thumbs.db", "desktop.ini")
KINDS = 6
"""So many endings are named; the others are counted."""

Inode = tuple[int, int]


class LeftOut:
    """What lies in the folders and is not read, for one line of the log."""

    def __init__(self) -> None:
        self.endings: Counter[str] = Counter()
        self.hidden = self.loose = self.broken = 0
        self.folders: list[str] = []

    def __str__(self) -> str:
        said = []
        if total := sum(self.endings.values()):
            named = [f"{printable(ending)} {count}" for ending, count in self.endings.most_common(KINDS)]
            named += ["..."] if len(self.endings) > KINDS else []
            said.append(f"{_files(total)} no images ({', '.join(named)})")
        said += [f"{_files(self.hidden, 'image')} hidden"] if self.hidden else []
        said += [f"{_files(self.loose, 'image')} in no class folder"] if self.loose else []
        said += [f"{_files(self.broken, 'link')} broken"] if self.broken else []
        said += [f"{printable(', '.join(self.folders))}: not read"] if self.folders else []
        return "; ".join(said)

    def say(self, name: str, place: Path) -> None:
        """One line, if there is anything to say."""
        if text := str(self):
            log.warning("%s: %s (in %s)", name, text, printable(str(place)))


def _files(count: int, noun: str = "file") -> str:
    return f"{count:,} {noun} is" if count == 1 else f"{count:,} {noun}s are"


def is_image(file: Path) -> bool:
    """True where the ending says so."""
    return file.suffix.lower() in ENDINGS


def subfolders(place: Path) -> list[Path]:
    """The folders in a folder, links to folders among them, hidden ones not; by name. Raises DataError."""
    return sorted(entry for entry in _entries(place) if entry.is_dir() and not entry.name.startswith(HIDDEN))


def images_below(place: Path, left_out: LeftOut) -> list[Path]:
    """The image files in a folder and in those below it, sorted. A link to a folder above, or to one seen before, is not followed."""
    seen = {_inode(folder) for folder in place.resolve().parents}
    return sorted(_walk(place, seen, left_out))


def count_loose(place: Path, left_out: LeftOut) -> None:
    """Count what lies beside the class folders."""
    for entry in _entries(place):
        if not entry.is_dir() and _counted(entry, left_out):
            left_out.loose += 1


def numbered(names: Iterable[str]) -> bool:
    """True where all names are whole numbers."""
    return all(name.isascii() and name.isdigit() for name in names)


def in_order(names: Iterable[str]) -> list[str]:
    """Class names as classes are numbered: as numbers where all of them are numbers (0, 1, 2, 10; 00002), else by the alphabet."""
    names = list(names)
    return sorted(names, key=lambda name: (int(name), name)) if numbered(names) else sorted(names)


def _walk(place: Path, seen: set[Inode], left_out: LeftOut) -> Iterator[Path]:
    own = _inode(place)
    if own in seen:
        return
    seen.add(own)
    for entry in _entries(place):
        if entry.is_dir():
            if entry.name.startswith(HIDDEN):
                left_out.hidden += sum(map(is_image, entry.rglob("*")))
            else:
                yield from _walk(entry, seen, left_out)
        elif _counted(entry, left_out):
            yield entry


def _counted(entry: Path, left_out: LeftOut) -> bool:
    """True for an image; anything else is counted."""
    if entry.name.startswith(HIDDEN):
        left_out.hidden += is_image(entry)
    elif not entry.is_file():
        left_out.broken += entry.is_symlink()
    elif is_image(entry):
        return True
    elif entry.name.lower() not in LITTER:
        left_out.endings[entry.suffix.lower() or "no ending"] += 1
    return False


def _entries(place: Path) -> list[Path]:
    try:
        return list(place.iterdir())
    except OSError as error:
        raise DataError(f"{place}: cannot be read ({error.strerror or error}); give it the permission, or remove it") from error


def _inode(folder: Path) -> Inode:
    stat = os.stat(folder)
    return stat.st_dev, stat.st_ino
