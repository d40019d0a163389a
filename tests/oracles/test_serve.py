"""`advrun serve`: TensorFlow Serving's REST protocol on this machine, with errors as it words them."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from http.client import HTTPConnection

import numpy as np
import pytest

from advrun import serve
from advrun.errors import AdvrunError, ModelError
from advrun.system.oracle import as_png

PREDICT = "/v1/models/model:predict"


@pytest.fixture(scope="module")
def port(served):
    with serve.serving(served) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def ask(port: int, method: str, path: str, content: object = None) -> tuple[int, dict]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    body = content if isinstance(content, (bytes, type(None))) else json.dumps(content).encode()
    connection.request(method, path, body)
    reply = connection.getresponse()
    return reply.status, json.loads(reply.read())


def test_status_and_metadata(port):
    for path in ("/v1/models/model", "/v1/models/model/versions/1"):
        status, content = ask(port, "GET", path)
        assert status == 200
        assert content["model_version_status"][0]["state"] == "AVAILABLE"
    status, content = ask(port, "GET", "/v1/models/model/metadata")
    signature = content["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert [dim["size"] for dim in signature["inputs"]["images"]["tensor_shape"]["dim"]] == ["-1", "8", "8", "3"]
    assert [dim["size"] for dim in signature["outputs"]["probabilities"]["tensor_shape"]["dim"]] == ["-1", "4"]


def test_numbers_and_png_files_are_answered_alike(port, served, toy_data):
    x = toy_data.x_test[:3]
    _, numbers = ask(port, "POST", PREDICT, {"instances": (x / np.float32(255)).tolist()})
    _, files = ask(port, "POST", PREDICT, {"instances": [{"b64": base64.b64encode(as_png(image)).decode()} for image in x]})
    assert numbers == files
    assert np.allclose(np.sum(numbers["predictions"], axis=-1), 1)
    assert np.array_equal(np.float32(numbers["predictions"]), served.predict(x))


def test_an_answer_does_not_depend_on_the_others(served, toy_data):
    """Else the same image would not be the same question."""
    together = served.predict(toy_data.x_test[:40])
    assert np.array_equal(served.predict(toy_data.x_test[39:40]), together[39:])


IMAGE = np.zeros((8, 8, 3)).tolist()


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "text"),
    [
        ("GET", "/", None, 404, "Malformed request: GET /"),
        ("GET", "/v1/models/other", None, 404, "Servable not found for request: other"),
        ("GET", "/v1/models/model/versions/7", None, 404, "Servable not found"),
        ("POST", "/v1/models/model:classify", {}, 400, "Malformed request"),
        ("POST", PREDICT, b"{", 400, "JSON Parse error"),
        ("POST", PREDICT, b"[" * 100_000, 400, "JSON Parse error"),
        ("POST", PREDICT, {"inputs": 1}, 400, "Missing 'inputs' or 'instances' key"),
        ("POST", PREDICT, {"instances": [1, "a"]}, 400, "no images of one size"),
        ("POST", PREDICT, {"instances": [IMAGE, IMAGE[:7]]}, 400, "no images of one size"),
        ("POST", PREDICT, {"instances": [IMAGE[:7]]}, 400, "images have shape (7, 8, 3); the model takes (8, 8, 3)"),
        ("POST", PREDICT, {"instances": [np.full((8, 8, 3), 255).tolist()]}, 400, "numbers from 0 to 1"),
        ("POST", PREDICT, {"instances": [{"b64": "????"}]}, 400, "an instance is no image"),
        ("POST", PREDICT, {"instances": [{"b64": base64.b64encode(b"GIF89a").decode()}]}, 400, "an instance is no image"),
        ("POST", PREDICT, {"instances": [0] * 2000}, 400, "2000 instances; at most 1024"),
    ],
)
def test_what_is_wrong_is_one_json_error(method, path, content, status, text, port):
    got, answer = ask(port, method, path, content)
    assert got == status
    assert list(answer) == ["error"]
    assert text in answer["error"]


def test_a_request_that_is_too_large_is_not_read(port):
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("POST", PREDICT)
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    assert connection.getresponse().status == 413


def test_it_listens_on_this_machine_alone(served):
    with serve.serving(served) as server:
        assert server.server_address[0] == "127.0.0.1"
        with pytest.raises(AdvrunError, match=f"port {server.server_port} of 127.0.0.1: Address already in use; choose another by --port"):
            serve.serving(served, server.server_port)


def test_what_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="neither a model file, nor a results folder"):
        serve.find_model(tmp_path)


@pytest.mark.slow
def test_the_command_serves_a_file(victim, toy_data, tmp_path):
    victim.model.save(tmp_path / "toy.keras")
    command = [sys.executable, "-m", "advrun", "serve", str(tmp_path / "toy.keras"), "--port", "0", "--scores", "logits"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert line.startswith("toy at http://127.0.0.1:")
        port = int(line.split(":")[2].split("/")[0])
        _, answer = ask(port, "POST", PREDICT, {"instances": (toy_data.x_test[:2] / np.float32(255)).tolist()})
        assert np.allclose(answer["predictions"], victim.predict(toy_data.x_test[:2]), rtol=1e-4)
        process.terminate()
        assert process.wait(20) == 0
