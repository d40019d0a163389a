"""Unpacking zip archives from the network: everything is judged by the table of contents before one byte is written."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from advrun.errors import DownloadError

MAX_RATIO = 100
"""Unpacked to packed size; held against archives that unpack to more than `FREE_BYTES`."""
FREE_BYTES = 256 * 2**20
MAX_BYTES = 8 * 2**30
ENCRYPTED = 0x1


def unzip(path: Path, folder: Path) -> None:
    """Unpack all of the archive into `folder`, over what is there.

    Raises:
        DownloadError: the archive is damaged, or holds absolute or parent paths, links, devices, encrypted or repeated
            names, or far more than its size can honestly hold. Except for damaged members, nothing is written then.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check(path, members)
            for member in members:
                _extract(archive, member, folder / member.filename)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, zlib.error) as error:
        raise DownloadError(f"{path}: damaged archive ({error}); delete it to download it again") from error


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # zipfile reads no more than the declared size, and checks the CRC at the end.
    with archive.open(member) as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def _check(path: Path, members: list[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for member in members:
        if problem := _problem(member, seen):
            raise DownloadError(f"{path}: {member.filename!r} {problem}; the archive is not safe to unpack")
        seen.add(member.filename)
    total = sum(member.file_size for member in members)
    ratio = total / max(1, path.stat().st_size)
    if total > MAX_BYTES or (total > FREE_BYTES and ratio > MAX_RATIO):
        raise DownloadError(f"{path}: would unpack to {total:,} bytes, {ratio:.0f} times its size; the archive is not safe to unpack")


def _problem(member: zipfile.ZipInfo, seen: set[str]) -> str:
    name = member.filename
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
