"""Downloads from a real server on this machine that misbehaves in every way that servers do; and hostile archives."""

from __future__ import annotations

import hashlib
import io
import stat
import threading
import zipfile
from collections.abc import Iterator
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request

import numpy as np
import pytest

from advrun import download
from advrun.datasets import gtsrb
from advrun.datasets._unzip import unzip
from advrun.download import Archive, fetch, fetchable, redirect_problem
from advrun.errors import DownloadError


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


PHOTOGRAPHS = np.random.default_rng(0).bytes(700_000)
CONTENT = packed({"GTSRB/image.ppm": PHOTOGRAPHS, "GTSRB/notes.txt": b"hello"})


class Handler(BaseHTTPRequestHandler):
    """The first folder of the path says how to behave."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Range")))
        behaviour = self.path.split("/")[1]
        getattr(self, behaviour)()

    def answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        if length is not None:
            self.close_connection = True

    def ranged(self, body: bytes, longest: int) -> None:
        """At most `longest` bytes at once, then the connection is cut."""
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        status, headers = (206, {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}) if asked else (200, {})
        self.answer(status, body[start : start + longest], len(body) - start, **headers)

    def good(self) -> None:
        self.ranged(CONTENT, len(CONTENT))

    def cut(self) -> None:
        self.ranged(CONTENT, len(CONTENT) // 2)

    def cut_for_good(self) -> None:
        self.answer(200, CONTENT[:1000], len(CONTENT))

    def without_range(self) -> None:
        self.answer(200, CONTENT)

    def wrong(self) -> None:
        self.answer(200, CONTENT[:-1] + b"!")

    def longer(self) -> None:
        self.answer(200, CONTENT + b"!" * 2_000_000)

    def missing(self) -> None:
        self.answer(404, b"<html>not here")

    def page(self) -> None:
        self.answer(200, b"<!DOCTYPE html><p>Please log in", Content_Type="text/html")

    def moved(self) -> None:
        self.answer(302, b"", Location=f"/good/{self.path.split('/')[-1]}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def publish(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch):
    """Declare one archive for `gtsrb`, with a mirror for each behaviour."""

    def declare(*behaviours: str, content: bytes = CONTENT) -> Archive:
        urls = tuple(f"http://127.0.0.1:{server.server_port}/{behaviour}/data.zip" for behaviour in behaviours)
        archive = Archive("data.zip", len(content), hashlib.sha256(content).hexdigest(), urls)
        monkeypatch.setattr(gtsrb, "ARCHIVES", (archive,))
        return archive

    return declare


def behaviours(server: ThreadingHTTPServer) -> list[str]:
    return [path.split("/")[1] for path, _ in server.requests]


def test_a_good_server(publish, server, tmp_path: Path) -> None:
    publish("good")
    seen = []
    assert fetch("gtsrb", tmp_path / "data", progress=lambda *state: seen.append(state)) == tmp_path / "data"
    assert (tmp_path / "data/GTSRB/image.ppm").read_bytes() == PHOTOGRAPHS
    assert (tmp_path / "data/GTSRB/notes.txt").read_bytes() == b"hello"
    assert seen[-1] == ("data.zip", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert not list((tmp_path / "data").glob("*.part"))


def test_what_is_unpacked_is_not_fetched_again(publish, server, tmp_path: Path) -> None:
    publish("good")
    fetch("gtsrb", tmp_path)
    (tmp_path / "data.zip").unlink()
    fetch("gtsrb", tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("first", ["missing", "page", "wrong", "longer", "cut_for_good"])
def test_the_next_mirror_is_tried(publish, server, tmp_path: Path, first: str) -> None:
    publish(first, "good")
    fetch("gtsrb", tmp_path)
    assert (tmp_path / "GTSRB/image.ppm").read_bytes() == PHOTOGRAPHS
    assert behaviours(server)[0] == first
    assert behaviours(server)[-1] == "good"


def test_a_cut_connection_is_resumed_where_it_ended(publish, server, tmp_path: Path) -> None:
    publish("cut")
    fetch("gtsrb", tmp_path)
    assert (tmp_path / "GTSRB/image.ppm").read_bytes() == PHOTOGRAPHS
    half = len(CONTENT) // 2
    assert [asked for _, asked in server.requests][:2] == [None, f"bytes={half}-"]


def test_the_next_call_resumes_too(publish, server, tmp_path: Path) -> None:
    publish("cut_for_good")
    with pytest.raises(DownloadError, match="connection cut after 1,000 of"):
        fetch("gtsrb", tmp_path)
    assert (tmp_path / "data.zip.part").read_bytes() == CONTENT[:1000]
    publish("good")
    fetch("gtsrb", tmp_path)
    assert server.requests[-1][1] == "bytes=1000-"
    assert (tmp_path / "GTSRB/image.ppm").read_bytes() == PHOTOGRAPHS


@pytest.mark.parametrize("behaviour", ["without_range", "good"])
def test_wrong_bytes_of_an_earlier_call_do_not_stay(publish, server, tmp_path: Path, behaviour: str) -> None:
    """A server without ranges starts anew; one with ranges completes the wrong bytes, and is asked again from nothing."""
    (tmp_path / "data.zip.part").write_bytes(b"PK\x03\x04" + b"?" * 5000)
    publish(behaviour)
    fetch("gtsrb", tmp_path)
    assert (tmp_path / "GTSRB/image.ppm").read_bytes() == PHOTOGRAPHS
    assert [asked for _, asked in server.requests] == (["bytes=5004-"] if behaviour == "without_range" else ["bytes=5004-", None])


def test_a_web_page_does_not_replace_what_is_here(publish, tmp_path: Path) -> None:
    (tmp_path / "data.zip.part").write_bytes(CONTENT[:5000])
    publish("page")
    with pytest.raises(DownloadError, match="an HTML page instead of the archive"):
        fetch("gtsrb", tmp_path)
    assert (tmp_path / "data.zip.part").read_bytes() == CONTENT[:5000]


def test_when_no_mirror_works_each_says_why(publish, server, tmp_path: Path) -> None:
    archive = publish("missing", "wrong")
    other = Archive(archive.name, archive.size, archive.sha256, (*archive.urls, "http://127.0.0.1:9/data.zip"))
    gtsrb.ARCHIVES = (other,)
    with pytest.raises(DownloadError) as raised:
        fetch("gtsrb", tmp_path)
    message = str(raised.value)
    for words in (
        "wrong SHA-256",
        "127.0.0.1:9: Connection refused",
        str(tmp_path / "data.zip"),
        archive.sha256,
        f"{archive.size:,} bytes",
    ):
        assert words in message
    assert "\n" not in message
    assert [entry.name for entry in tmp_path.iterdir() if not entry.name.startswith(".")] == []


def test_an_archive_put_there_by_hand(publish, server, tmp_path: Path) -> None:
    publish("missing")
    (tmp_path / "data.zip").write_bytes(CONTENT)
    fetch("gtsrb", tmp_path)
    assert (tmp_path / "GTSRB/image.ppm").exists()
    assert server.requests == []


def test_another_file_under_its_name_is_not_touched(publish, tmp_path: Path) -> None:
    publish("good")
    (tmp_path / "data.zip").write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match=r"data\.zip: .* bytes, expected .*; delete it"):
        fetch("gtsrb", tmp_path)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT[:-1]


def test_a_redirect_is_followed(publish, server, tmp_path: Path) -> None:
    publish("moved")
    fetch("gtsrb", tmp_path)
    assert behaviours(server) == ["moved", "good"]


@pytest.mark.parametrize(
    ("target", "followed"),
    [
        ("https://192.0.32.8/data.zip", True),
        ("http://192.0.32.8/data.zip", False),
        ("https://127.0.0.1/data.zip", False),
        ("https://localhost/data.zip", False),
        ("https://[::1]/data.zip", False),
        ("https://[::ffff:127.0.0.1]/data.zip", False),
        ("https://169.254.169.254/latest/meta-data", False),
        ("https://10.0.0.1/data.zip", False),
        ("file:///etc/passwd", False),
    ],
)
def test_redirects_of_a_public_host(target: str, followed: bool) -> None:
    assert bool(redirect_problem("https://192.0.32.7/data.zip", target)) is not followed
    assert not redirect_problem("http://127.0.0.1:8000/data.zip", "http://127.0.0.1:8000/other.zip")


def test_a_folder_that_cannot_be_written(publish, tmp_path: Path) -> None:
    publish("good")
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch("gtsrb", tmp_path / "file/data")


def test_names_and_declarations(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="'gtsbr' has nothing to download; did you mean 'gtsrb'"):
        fetch("gtsbr", tmp_path)
    for archives in fetchable().values():
        for archive in archives:
            assert len(archive.sha256) == 64
            assert archive.size > 0
            assert all(url.startswith("https://") for url in archive.urls)


def test_a_refused_redirect_ends_the_request() -> None:
    request = Request("https://192.0.32.7/data.zip")
    with pytest.raises(HTTPError, match="not public, refused"):
        download._Redirects().redirect_request(request, io.BytesIO(), 302, "Found", HTTPMessage(), "https://127.0.0.1/data.zip")


def test_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gtsrb, "ARCHIVES", (Archive("data.zip", 5, "0" * 64, ("https://no-such-host.invalid/data.zip",)),))
    with pytest.raises(DownloadError, match=r"no mirror gave it \(no-such-host.invalid: .+\); try again, or put the file at"):
        fetch("gtsrb", tmp_path)


# Hostile archives -----------------------------------------------------------------------------------------------


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def flagged_as_encrypted(path: Path) -> None:
    content = bytearray(packed({"secret": b"x"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (entry("../outside"), "leads out"),
        (entry("inside/../../outside"), "leads out"),
        (entry("/tmp/outside"), "absolute"),
        (entry("C:/outside"), "absolute"),
        (entry("..\\outside"), "absolute"),
        (entry("link", stat.S_IFLNK | 0o777), "link or a device"),
        (entry("device", stat.S_IFCHR | 0o666), "link or a device"),
        (entry("honest"), "twice"),
        (entry("honest/inside"), "a file and a folder"),
        (entry("two\nlines"), r"'two\\nlines' has control characters"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_nothing_of_a_hostile_archive_is_written(tmp_path: Path, info: zipfile.ZipInfo, reason: str) -> None:
    path, folder = tmp_path / "hostile.zip", tmp_path / "data"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("honest", b"text")
        archive.writestr(info, b"/etc/passwd")
    with pytest.raises(DownloadError, match=reason):
        unzip(path, folder)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["hostile.zip"]


def test_encrypted_members(tmp_path: Path) -> None:
    flagged_as_encrypted(tmp_path / "a.zip")
    with pytest.raises(DownloadError, match="is encrypted"):
        unzip(tmp_path / "a.zip", tmp_path / "data")


def test_a_bomb(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open("zeros", "w") as file:
        for _ in range(257):
            file.write(bytes(1 << 20))
    with pytest.raises(DownloadError, match=r"would unpack to 269,484,032 bytes, \d+ times its size"):
        unzip(path, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_table_of_contents_that_lies_about_sizes(tmp_path: Path) -> None:
    content = bytearray(packed({"zeros": bytes(1_000_000)}))
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (10).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DownloadError, match="damaged archive"):
        unzip(tmp_path / "a.zip", tmp_path / "data")
    assert not any((tmp_path / "data").iterdir())


@pytest.mark.parametrize("spoil", [slice(60, 61), slice(-200, None)])
def test_damaged_archives(tmp_path: Path, spoil: slice) -> None:
    content = bytearray(CONTENT)
    content[spoil] = b"" if spoil.stop is None else b"\xff"
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DownloadError, match="damaged archive"):
        unzip(tmp_path / "a.zip", tmp_path / "data")
    assert not list(tmp_path.glob("data/*"))


def test_what_an_archive_replaces_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    """The second file is damaged: the first one does not come either, and what was there before is as it was."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.txt").write_text("before")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "after")
        archive.writestr("b/c.txt", "damaged below")
    good = (tmp_path / "a.zip").read_bytes()
    content = bytearray(good)
    content[content.index(b"damaged")] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DownloadError, match="damaged archive"):
        unzip(tmp_path / "a.zip", folder)
    assert [(each.name, each.read_text()) for each in folder.iterdir()] == [("a.txt", "before")]
    (tmp_path / "a.zip").write_bytes(good)
    unzip(tmp_path / "a.zip", folder)
    assert ((folder / "a.txt").read_text(), (folder / "b/c.txt").read_text()) == ("after", "damaged below")
    assert sorted(each.name for each in folder.iterdir()) == ["a.txt", "b"]
