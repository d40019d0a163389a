"""Files that are whole or absent, hashes of content, and names that may not lead out of their folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from advrun.errors import AdvrunError, WriteError

MAX_JSON = 16 << 20
"""Bytes; a larger JSON file is refused. Text of this size can become twenty times as much in memory."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a named pipe would wait for its other end


def inside(root: Path, name: str) -> Path:
    """The path of `name`, which has the form "rows/x.json", in the folder `root`; `root` itself may be a link.

    The last part of the name may be anything: whoever opens it takes `opened`, whoever writes it takes `atomic`, which follow no link.

    Raises:
        AdvrunError: where the name, or a link on the way, leads out of the folder.
    """
    if plain := _PLAIN.fullmatch(name):
        _check_folder(f"{root}/{plain[1]}")
        return root / name
    parts = PurePosixPath(name).parts
    if not parts or "\0" in name or "\\" in name or parts[0] == "/" or ".." in parts or Path(name).is_absolute():
        raise AdvrunError(f"{root}: the name {name!r:.200} leads out of the folder; it is not followed")
    for depth in range(1, len(parts)):
        _check_folder(str(root.joinpath(*parts[:depth])))
    return root.joinpath(*parts)


_PLAIN = re.compile(r"([A-Za-z0-9_-]+)/[A-Za-z0-9_-][A-Za-z0-9_.-]*")
"""A file in a folder, as nearly all names are: nothing in it can lead elsewhere."""


def _check_folder(folder: str) -> None:
    """Raise AdvrunError where there is something else than a folder in itself; nothing at all is no harm."""
    try:
        mode = os.lstat(folder).st_mode
    except OSError:
        return
    if not stat.S_ISDIR(mode):
        raise AdvrunError(f"{folder} is a link or no folder, and advrun writes and reads nothing behind it; remove it, and run again")


def is_regular(path: Path) -> bool:
    """Whether the path is a file in itself: no link, pipe, device or folder."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def opened(path: Path, flags: int = os.O_RDONLY, mode: str = "rb") -> BinaryIO:
    """The file, open; a link is not followed, and a pipe not waited for. Raises OSError for what is no file in itself."""
    descriptor = os.open(path, flags | _NO_LINK | _NO_WAIT | getattr(os, "O_CLOEXEC", 0), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no file in itself")
    return os.fdopen(descriptor, mode)  # type: ignore[return-value]


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all: yields a new, empty file in the same folder, then fsync and rename.

    Raises:
        WriteError: when the disk is full, or the place cannot be written.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, "wb").close()
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror or error}); what was there before is unharmed") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises WriteError."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all. Raises WriteError."""
    write_bytes(path, text.encode(errors="surrogateescape"))


@contextlib.contextmanager
def appending(path: Path) -> Iterator[BinaryIO]:
    """The file at its end, to be read and appended to while nobody else appends, on this machine or on another that shares the folder.

    Raises OSError for what is no file in itself, cannot be written, or has another name, perhaps elsewhere.
    """
    with opened(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, "ab+") as file:
        if os.fstat(file.fileno()).st_nlink > 1:
            raise OSError(f"{path} has another name")
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed; only a lock makes file servers tell each its end
        file.seek(0, os.SEEK_END)
        yield file


def has_torn_end(file: BinaryIO) -> bool:
    """Whether the last line of an open file has no end; the file is at its own then."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def content_of(path: Path | str, most: int) -> bytes:
    """The first `most` bytes of a file in itself. Raises OSError. For many small files: as `opened`, without a buffer around it."""
    descriptor = os.open(path, os.O_RDONLY | _NO_LINK | _NO_WAIT | getattr(os, "O_CLOEXEC", 0))
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise OSError(f"{path} is no file in itself")
        parts, left = [], min(state.st_size + 1, most)
        while left > 0 and (part := os.read(descriptor, left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def read_json(path: Path | str, most: int = MAX_JSON) -> Any:
    """What a JSON file holds.

    Raises:
        FileNotFoundError: where there is none. ValueError: where it is no JSON, larger than `most` bytes, nested too deeply, or no file
            in itself.
    """
    try:
        content = content_of(path, most + 1)
        if len(content) > most:
            raise ValueError(f"larger than {most >> 20} MiB")
        return json.loads(content)
    except (FileNotFoundError, ValueError):
        raise
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (OSError, MemoryError) as error:
        raise ValueError(str(error)) from error


def digest(path: Path) -> str:
    """Hash of a file's bytes."""
    with open(path, "rb") as file:
        return digest_of(file)


def digest_of_bytes(content: bytes) -> str:
    """Hash of bytes: that of a file that holds them."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def digest_of(file: Any) -> str:
    """Hash of the bytes of an open file."""
    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def content_key(content: Any) -> str:
    """Hash of plain data (mappings, sequences, numbers, strings)."""
    return digest_of_bytes(_ENCODER.encode(content).encode())


_ENCODER = json.JSONEncoder(sort_keys=True, default=str)
