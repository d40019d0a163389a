"""The page's server: what it answers, and what it refuses."""

from __future__ import annotations

import io
import json
import queue
import re
import signal
import struct
import subprocess
import sys
import threading
import zlib

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from advrun.errors import AdvrunError, ConfigError
from advrun.picture import pixels, server, study
from advrun.picture.thread import OneThread

ADDRESS = "http://127.0.0.1:8500"


@pytest.fixture(scope="module")
def client(bench):
    with TestClient(server.application(bench, OneThread()), base_url=ADDRESS) as client:
        yield client


def encoded(image: np.ndarray, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format)
    return buffer.getvalue()


def attack(client, **asked) -> dict:
    """The last line of the answer."""
    reply = client.post("/api/attack", content=json.dumps({"model": "victim", "attack": "pgd", "eps": 32 / 255, **asked}))
    assert reply.status_code == 200
    return json.loads(reply.text.splitlines()[-1])


def test_what_can_be_chosen(client, toy_data):
    offer = client.get("/api/choices").json()
    assert offer["models"] == [{"label": "victim", "defenses": ["gaussian_blur"]}]
    assert [each["label"] for each in offer["attacks"]] == ["pgd", "ddn", "boundary"]
    assert offer["missing"] == ["victim / adversarial_training"]
    assert sorted(offer["first"]) == list(range(80))
    assert offer["start"] in offer["first"][:12]
    told = client.get("/api/test/7").json()
    assert told["label"] == toy_data.y_test[7]
    assert np.array_equal(pixels.from_url(told["image"], (8, 8, 3)), toy_data.x_test[7])


def test_an_attack_on_a_test_image(client, bench, right_row, toy_data):
    """The images and numbers are those of the study, static and adaptive."""
    truth = int(toy_data.y_test[right_row])
    result = attack(client, test=right_row, defense="gaussian_blur")["result"]
    assert result["replies"]["original"]["right"]
    assert not result["replies"]["attacked"]["right"]
    assert result["far"] == "L∞ 32/255"
    assert result["spent"] == "10 gradients + 1 query"
    x_adv = pixels.from_url(result["images"]["attacked"], (8, 8, 3))
    change = x_adv.astype(int) - toy_data.x_test[right_row]
    assert 30 <= np.abs(change).max() <= 32
    blurred = bench.system("victim", "gaussian_blur")
    told = result["replies"]["defended"]
    assert told["confidence"] == pytest.approx(study.reply(bench, blurred, x_adv).confidence, abs=0.02)
    assert [bar["name"] for bar in told["bars"] if bar["true"]] == [bench.class_name(truth)]
    assert result["purified"]
    assert result["against"] == "none"
    adaptive = attack(client, test=right_row, defense="gaussian_blur", adaptive=True)["result"]
    assert adaptive["against"] == "gaussian_blur"
    assert "which knows gaussian_blur" in " ".join(adaptive["sentences"])


def test_a_photograph_is_made_fit_and_attacked(client, bench, toy_data):
    large = np.asarray(Image.fromarray(toy_data.x_test[30]).resize((400, 400), Image.Resampling.NEAREST))
    url = client.post("/api/photo", content=encoded(large, "JPEG")).json()["image"]
    assert np.abs(pixels.from_url(url, (8, 8, 3)).astype(int) - toy_data.x_test[30]).mean() < 12
    result = attack(client, image=url, label=None, attack="ddn")["result"]
    assert result["assumed"]
    assert not result["replies"]["attacked"]["right"]
    assert 0 < float(result["far"].removeprefix("L2 ")) < 3
    assert attack(client, image=url, label=1)["result"]["truth"] == "Top right"


def test_a_slow_attack_says_where_it_is(client, right_row):
    reply = client.post("/api/attack", json={"test": right_row, "model": "victim", "attack": "boundary"})
    told = [json.loads(line) for line in reply.text.splitlines()]
    assert "result" in told.pop()
    shares = [line["share"] for line in told if line.get("share")]
    assert len(shares) > 1
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"test": 99}, "test:99: arrays has the test images 0 to 79"),
        ({}, "no picture was chosen"),
        ({"image": "data:image/png;base64,AAAA"}, "the image is no PNG file"),
        ({"image": pixels.url(np.zeros((9, 8, 3), np.uint8))}, "the image has 8 x 9 pixels; the model takes 8 x 8"),
        ({"image": pixels.url(np.zeros((8, 8, 3), np.uint8)), "label": 4}, "there is no class 4"),
        ({"test": 0, "attack": "pdg"}, "there is no attack 'pdg'; did you mean 'pgd'?"),
        ({"test": 0, "attack": "universal", "eps": 0.1}, "attack 'universal' meets no single picture: it learns from many images"),
        ({"test": 0, "eps": 7}, "images are in [0, 1]"),
        ({"test": 0, "eps": "a"}, "expected a number above 0"),
        ({"test": 0, "model": "other"}, "there is no system 'other'"),
        ({"test": 0, "defense": "adversarial_training"}, "victim / adversarial_training is not built yet"),
    ],
)
def test_what_cannot_be_chosen_is_one_line(client, asked, text):
    told = attack(client, **asked)
    assert list(told) == ["error"]
    assert text in told["error"]
    assert "\n" not in told["error"]


def bomb(side: int) -> bytes:
    """A PNG file whose header promises side x side pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    whole = encoded(np.zeros((8, 8, 3), np.uint8))
    return whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]


@pytest.mark.parametrize(
    ("content", "status", "text"),
    [
        (b"", 400, "no photograph that can be read"),
        (b"GIF89a", 400, "no photograph that can be read"),
        (encoded(np.zeros((50, 50, 3), np.uint8), "JPEG")[:400], 400, "no photograph that can be read"),
        (encoded(np.zeros((50, 50, 3), np.uint8))[:-60], 400, "no photograph that can be read"),
        (bomb(10_000), 400, "10000 x 10000 pixels; expected 8 to a side, and at most 50,000,000"),
        (bomb(65_535), 400, "no photograph that can be read (Image size (4294836225 pixels) exceeds limit"),
        (b"\0" * (pixels.MOST_BYTES + 1), 413, "the file is larger than 10 MB"),
        ((b"\0" * (1 << 20) for _ in range(11)), 413, "the file is larger than 10 MB"),  # without a Content-Length
    ],
    ids=["empty", "not", "cut-jpeg", "cut-png", "bomb", "large-bomb", "large", "streamed"],
)
def test_what_is_no_photograph_is_refused(client, content, status, text):
    reply = client.post("/api/photo", content=content)
    assert reply.status_code == status
    assert text in reply.json()["error"]
    assert "0x" not in reply.text


@pytest.mark.parametrize("content", [b"{", b"[]", b"[" * 100_000])
def test_what_is_no_request_is_refused(client, content):
    assert client.post("/api/attack", content=content).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8500"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9000"},
    ],
)
def test_other_pages_are_refused(client, headers):
    """A page elsewhere could have its name point here, or have the browser send a form."""
    assert client.get("/", headers=headers).status_code == 403
    assert client.post("/api/photo", content=b"", headers=headers).status_code == 403
    assert client.get("/", headers={"Host": "localhost:8500", "Origin": "http://localhost:8500"}).status_code == 200


def test_the_page_loads_nothing_from_elsewhere(client):
    reply = client.get("/")
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert policy == server.policy(reply.text)
    assert not re.findall(r"(?:src|href)=\"(?!data:)", reply.text)
    assert "http" not in reply.text.replace("http-equiv", "")
    assert reply.headers["cache-control"] == "no-store"


def test_what_is_uploaded_is_kept_nowhere(client, bench, toy_config):
    def files() -> set:
        return {(path, path.stat().st_mtime_ns) for path in toy_config.parent.rglob("*")}

    before = files()
    url = client.post("/api/photo", content=encoded(np.full((40, 40, 3), 77, np.uint8))).json()["image"]
    attack(client, image=url)
    assert files() == before


def test_work_is_done_in_order_by_one_thread():
    thread, gate, order = OneThread(), threading.Event(), []
    first = thread.submit(lambda: gate.wait(10) and order.append(threading.current_thread().name))
    dropped = thread.submit(lambda: order.append("dropped"))
    failing = thread.submit(lambda: 1 // 0)
    last = thread.submit(lambda: order.append(threading.current_thread().name))
    dropped.cancel()
    gate.set()
    last.result(10)
    assert first.done()
    assert isinstance(failing.exception(), ZeroDivisionError)
    assert order == ["computing", "computing"]
    gate.clear()
    begun = threading.Event()
    thread.submit(lambda: begun.set() or gate.wait(10))
    begun.wait(10)
    late = thread.submit(lambda: order.append("late"))
    assert not thread.close(0.05)  # it is at work still
    gate.set()
    assert thread.close(10)
    assert late.cancelled()
    assert len(order) == 2


def test_it_listens_on_this_machine_alone_and_says_where(bench):
    said: queue.Queue[str] = queue.Queue()
    threading.Thread(target=server.serve, args=(bench, 0, said.put), daemon=True).start()
    address = said.get(timeout=20)
    port = int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)", address)[1])
    with pytest.raises(AdvrunError, match=f"port {port} of 127.0.0.1: Address already in use; choose another by --port"):
        server.serve(bench, port, said.put)
    assert httpx.get(f"{address}/api/choices").json()["name"] == "toy"


@pytest.mark.slow
@pytest.mark.parametrize("queries", [1000, 1_000_000])
def test_the_command_ends_with_ctrl_c(toy_config, queries):
    """Also in the middle of an attack that would take minutes."""
    command = [sys.executable, "-m", "advrun", "page", str(toy_config), "--port", "0", "--set", f"attacks.2.queries={queries}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().split()[0]
        assert "<title>One picture</title>" in httpx.get(address, timeout=60).text
        if queries > 1000:
            asked = {"test": 0, "model": "victim", "attack": "boundary"}
            with httpx.stream("POST", f"{address}/api/attack", json=asked, timeout=60) as reply:
                next(each for line in reply.iter_lines() if (each := json.loads(line)).get("share"))
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()


def test_without_the_extra_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)  # as Python marks what is not there
    with pytest.raises(ConfigError, match=r"advrun page needs Starlette and uvicorn \(uvicorn is missing\): pip install 'advrun\[web\]'"):
        server.check_installed()
