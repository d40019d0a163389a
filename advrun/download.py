"""Downloads of published archives: several mirrors, resume, size and SHA-256, then safe extraction.

A data set file declares what it can fetch as `ARCHIVES`, a tuple of `Archive`; nothing else lists it. pooch, which
checks hashes well, neither resumes, nor tries a second mirror, nor sees a web page that came in place of the archive; with
these, what is left to it is one line of hashlib. So this is urllib, the standard library's own.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from advrun import registry
from advrun.datasets._sniff import describe
from advrun.datasets._unzip import unzip
from advrun.errors import DownloadError, PluginError, did_you_mean
from advrun.files import write_text

log = logging.getLogger("advrun")

Progress = Callable[[str, int, int], None]
"""Called with the archive's name, the bytes that are here, and the bytes expected."""

CHUNK = 1 << 18
TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as cut."""
MAX_RESUMES = 50
ZIP_MAGIC = b"PK\x03\x04"


@dataclass(frozen=True)
class Archive:
    """One published zip file. size in bytes, sha256 in hex, urls in the order in which they are tried."""

    name: str
    size: int
    sha256: str
    urls: tuple[str, ...]


def fetchable() -> dict[str, tuple[Archive, ...]]:
    """The archives of every data set that declares some."""
    found = {}
    for name in registry.names("datasets"):
        with suppress(PluginError):  # a broken file stops no other
            module = sys.modules[registry.load("datasets", name).__module__]
            found[name] = getattr(module, "ARCHIVES", ())
    return {name: archives for name, archives in found.items() if archives}


def fetch(name: str, folder: Path, *, progress: Progress | None = None) -> Path:
    """Download and unpack the data set `name` into `folder`; what is there already is not fetched again.

    Archives stay in `folder`; they may be deleted once unpacked. An archive put there by hand is checked and used.

    Raises:
        DownloadError: no mirror gave the right bytes, with each one's reason; or an archive is not safe to unpack.
    """
    from filelock import FileLock

    archives = fetchable()
    if name not in archives:
        raise DownloadError(f"data set {name!r} has nothing to download{did_you_mean(name, archives)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".fetch.lock"):
            for archive in archives[name]:
                _fetch_archive(archive, folder, progress or _silent)
    except OSError as error:
        raise DownloadError(f"{folder}: cannot be written ({error.strerror or error}); make room or choose another folder") from error
    return folder


def _silent(name: str, done: int, total: int) -> None:
    pass


def _fetch_archive(archive: Archive, folder: Path, progress: Progress) -> None:
    unpacked = folder / f".{archive.name}.unpacked"
    if unpacked.is_file() and unpacked.read_text(encoding="utf-8") == archive.sha256:
        return
    path = folder / archive.name
    if not path.exists():
        _download(archive, path, progress)
    elif problem := _mismatch(path, archive):
        raise DownloadError(f"{path}: {problem}; delete it to download it again")
    unzip(path, folder)
    write_text(unpacked, archive.sha256)


def _download(archive: Archive, path: Path, progress: Progress) -> None:
    """Try the mirrors in turn. Bytes that came so far are kept in NAME.part, for the next mirror and the next call."""
    part = path.with_name(f"{path.name}.part")
    # What an earlier call left may be wrong; the first mirror then gets a second chance, from nothing.
    urls = (archive.urls[0], *archive.urls) if part.exists() else archive.urls
    opener = build_opener(_Redirects)
    reasons = {}
    for url in urls:
        reason = _complete(opener, url, part, archive, progress)
        if not reason and not (reason := _mismatch(part, archive)):
            part.replace(path)
            return
        log.info("%s: %s: %s", archive.name, url, reason)
        reasons[urlsplit(url).netloc] = reason
        if _size(part) >= archive.size:
            part.unlink()
    told = "; ".join(f"{host}: {reason}" for host, reason in reasons.items())
    raise DownloadError(
        f"{archive.name}: no mirror gave it ({told}); try again, or put the file at {path} by hand "
        f"({archive.size:,} bytes, SHA-256 {archive.sha256})"
    )


def _mismatch(path: Path, archive: Archive) -> str:
    """Why the file is not the published archive, or an empty string."""
    if _size(path) != archive.size:
        return f"{_size(path):,} bytes, expected {archive.size:,}"
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if sha256 == archive.sha256 else f"wrong SHA-256 ({sha256})"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _complete(opener: OpenerDirector, url: str, part: Path, archive: Archive, progress: Progress) -> str:
    """Fetch what is missing, resuming for as long as each connection brings new bytes. Returns the reason of failure, or ''."""
    reason = ""
    for _ in range(MAX_RESUMES):
        before = _size(part)
        if before >= archive.size:
            return ""
        reason = _transfer(opener, url, part, archive, progress)
        if _size(part) <= before:
            break
    return reason


def _transfer(opener: OpenerDirector, url: str, part: Path, archive: Archive, progress: Progress) -> str:
    """One connection. Returns why it ended before the archive was complete, or an empty string."""
    offset = _size(part)
    request = Request(url, headers={"User-Agent": "advrun", "Accept-Encoding": "identity"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        with opener.open(request, timeout=TIMEOUT) as response:
            resumes = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
            return _write(response, part, offset if resumes else 0, archive, progress)
    except HTTPError as error:
        return f"HTTP {error.code} {error.reason}".strip()
    except URLError as error:
        return str(getattr(error.reason, "strerror", None) or error.reason)
    except (HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        return str(error) or type(error).__name__


def _write(response: Any, part: Path, offset: int, archive: Archive, progress: Progress) -> str:
    chunk = response.read(CHUNK)
    # Looked at before `part` is opened: a web page must not replace the bytes that are here.
    if offset == 0 and not chunk.startswith(ZIP_MAGIC):
        return f"{describe(chunk) or 'something else'} instead of the archive"
    done = offset
    with open(part, "ab" if offset else "wb") as file:
        while chunk:
            file.write(chunk)
            done += len(chunk)
            progress(archive.name, done, archive.size)
            chunk = response.read(CHUNK) if done <= archive.size else b""
    return "" if done >= archive.size else f"connection cut after {done:,} of {archive.size:,} bytes"


class _Redirects(HTTPRedirectHandler):
    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str) -> Request | None:
        if problem := redirect_problem(req.full_url, newurl):
            raise HTTPError(newurl, code, problem, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def redirect_problem(source: str, target: str) -> str:
    """Why a redirect must not be followed, or an empty string.

    A public host may send us only to another public host, over https: never to this machine or its network.
    """
    if _is_private(source):
        return ""
    if urlsplit(target).scheme != "https":
        return f"redirect to {target}, which is not https, refused"
    return f"redirect to {target}, which is not public, refused" if _is_private(target) else ""


def _is_private(url: str) -> bool:
    """True when the host's name stands for an address that is not public. Unknown names count as public: a proxy may know them."""
    try:
        found = socket.getaddrinfo(urlsplit(url).hostname, None)
    except OSError:
        return False
    addresses = [ipaddress.ip_address(str(entry[4][0]).split("%")[0]) for entry in found]
    return not all((getattr(address, "ipv4_mapped", None) or address).is_global for address in addresses)
