"""Unpacking zip archives from the network: everything is judged by the table of contents before one byte is written."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from advrun.errors import DownloadError, printable

MAX_RATIO = 100
"""Unpacked to packed size; held against archives that unpack to more than `FREE_BYTES`."""
FREE_BYTES = 256 * 2**20
MAX_BYTES = 8 * 2**30
ENCRYPTED = 0x1
DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    NotImplementedError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    ValueError,
    IndexError,
    RuntimeError,
)
"""What `zipfile` raises where the bytes are not those of an archive."""


def unzip(path: Path, folder: Path) -> None:
    """Unpack all of the archive into `folder`, over what is there: whole, or not at all.

    Raises:
        DownloadError: the archive is damaged, or holds absolute or parent paths, links, devices, encrypted or repeated
            names, names that break a line, or far more than its size can honestly hold. Nothing is unpacked then.
    """
    aside = folder / f".{path.name}.unpacking"
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check(path, members)
            for member in members:
                _extract(archive, member, aside / member.filename)
        _move(aside, folder)
    except DAMAGE as error:
        raise DownloadError(f"{path}: damaged archive ({error}); delete it to download it again") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # zipfile reads no more than the declared size, and checks the CRC at the end.
    with archive.open(member) as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def _move(source: Path, folder: Path) -> None:
    """Put the files of `source` into `folder`; both lie on one disk, so this takes no room and hardly any time."""
    for place, _, files in os.walk(source):
        target = folder / Path(place).relative_to(source)
        target.mkdir(parents=True, exist_ok=True)
        for name in files:
            os.replace(Path(place) / name, target / name)


def _check(path: Path, members: list[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for member in members:
        if problem := _problem(member, seen):
            raise DownloadError(f"{path}: {member.filename!r} {problem}; the archive is not safe to unpack")
        seen.add(member.filename)
    above = {str(folder) for name in seen for folder in PurePosixPath(name).parents}
    if both := sorted(above & {name for name in seen if not name.endswith("/")}):
        raise DownloadError(f"{path}: {both[0]!r} is a file and a folder; the archive is not safe to unpack")
    total = sum(member.file_size for member in members)
    ratio = total / max(1, path.stat().st_size)
    if total > MAX_BYTES or (total > FREE_BYTES and ratio > MAX_RATIO):
        raise DownloadError(f"{path}: would unpack to {total:,} bytes, {ratio:.0f} times its size; the archive is not safe to unpack")


def _problem(member: zipfile.ZipInfo, seen: set[str]) -> str:
    name = member.filename
    if printable(name) != name:
        return "has control characters in its name"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or "\\" in name:
        return "is an absolute path"
    if ".." in PurePosixPath(name).parts or not PurePosixPath(name).parts:
        return "leads out of the folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if member.flag_bits & ENCRYPTED:
        return "is encrypted"
    return "is there twice" if name in seen else ""
