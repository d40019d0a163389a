"""`advrun serve`: a classifier over TensorFlow Serving's REST protocol, on this machine only, to practise black-box attacks on.

    GET  /v1/models/NAME                     its status
    GET  /v1/models/NAME/metadata            its signature
    POST /v1/models/NAME:predict             {"instances": [...]} -> {"predictions": [...]}

also as /v1/models/NAME/versions/1. An instance is an image (height, width, channels) of
numbers from 0 to 1 or, as {"b64": ...}, a PNG file.
Errors are {"error": "..."}, as TensorFlow Serving words them.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from advrun.engine import to_unit
from advrun.errors import AdvrunError, ModelError, did_you_mean
from advrun.system import Classifier
from advrun.system.blackbox import log_softmax
from advrun.system.modelfile import load_model

MOST_BYTES, MOST_IMAGES = 32 << 20, 1024
"""Of one request."""
SECONDS = 60.0
"""A client that says nothing for so long is hung up on."""
BATCH = 32
"""Images computed at once, always: an answer shall not depend on which others came with it."""
PATH = re.compile(r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[^/:]+))?(?P<verb>/metadata|:[a-z]+)?")


class BadRequest(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Served:
    """A classifier and how it answers.

    scores: "probabilities" or "logits".
    """

    def __init__(self, classifier: Classifier, name: str = "model", scores: Literal["probabilities", "logits"] = "probabilities") -> None:
        self.classifier, self.name, self.scores = classifier, name, scores
        self._one_at_a_time = threading.Lock()

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, classes) float32 of images (n, height, width, channels) uint8, or float32 in [0, 1]."""
        found, x = [], to_unit(x)  # one graph for both, which round alike
        with self._one_at_a_time:
            for start in range(0, len(x), BATCH):
                part = x[start : start + BATCH]
                padded = np.concatenate([part, np.repeat(part[:1], BATCH - len(part), axis=0)])
                found.append(self.classifier.predict(padded, BATCH)[: len(part)])
        logits = np.concatenate(found)
        return logits if self.scores == "logits" else np.exp(log_softmax(logits))

    def answer(self, method: str, path: str, body: bytes) -> Any:
        """What is sent back. Raises BadRequest."""
        asked = PATH.fullmatch(path.partition("?")[0])
        if asked is None:
            raise BadRequest(HTTPStatus.NOT_FOUND, f"Malformed request: {method} {path[:200]}")
        if asked["name"] != self.name or asked["version"] not in (None, "1"):
            wanted = f"{asked['name'][:100]} version {asked['version'] or 'any'}"
            raise BadRequest(HTTPStatus.NOT_FOUND, f"Servable not found for request: {wanted}; here is {self.name}, version 1")
        verb = asked["verb"] or ""
        if method == "GET" and verb == "":
            status = {"error_code": "OK", "error_message": ""}
            return {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": status}]}
        if method == "GET" and verb == "/metadata":
            return self.metadata()
        if method == "POST" and verb == ":predict":
            return {"predictions": self.predict(self.images(body)).tolist()}
        raise BadRequest(HTTPStatus.BAD_REQUEST, f"Malformed request: {method} {path[:200]}")

    def metadata(self) -> Any:
        """The signature, as TensorFlow Serving tells it."""

        def tensor(name: str, *sides: int) -> Any:
            shape = {"dim": [{"size": str(side), "name": ""} for side in (-1, *sides)], "unknown_rank": False}
            return {"dtype": "DT_FLOAT", "tensor_shape": shape, "name": name}

        inputs = {"images": tensor("serving_default_images:0", *(side or -1 for side in self.classifier.image_shape))}
        outputs = {self.scores: tensor("StatefulPartitionedCall:0", self.classifier.classes)}
        signature = {"inputs": inputs, "outputs": outputs, "method_name": "tensorflow/serving/predict"}
        return {
            "model_spec": {"name": self.name, "signature_name": "", "version": "1"},
            "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
        }

    def images(self, body: bytes) -> np.ndarray:
        """The images of a request, uint8 or float32 in [0, 1]. Raises BadRequest."""

        def refuse(text: str) -> BadRequest:
            return BadRequest(HTTPStatus.BAD_REQUEST, text)

        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            raise refuse("JSON Parse error: Invalid value") from None
        instances = content.get("instances") if isinstance(content, dict) else None
        if not isinstance(instances, list) or not instances:
            raise refuse("Missing 'inputs' or 'instances' key: expected {\"instances\": [image, ...]}")
        if len(instances) > MOST_IMAGES:
            raise refuse(f"{len(instances)} instances; at most {MOST_IMAGES} in one request")
        if all(isinstance(each, dict) for each in instances):
            images = [_decoded(each) for each in instances]
            if len({image.shape for image in images}) > 1:
                raise refuse("the images of one request must have one size")
            x = np.stack(images)
        else:
            try:
                x = np.array(instances, np.float32)
            except (ValueError, TypeError, OverflowError):
                raise refuse("instances are no images of one size") from None
        expected = self.classifier.image_shape
        if x.ndim != 4 or any(side not in (None, got) for side, got in zip(expected, x.shape[1:], strict=True)):
            raise refuse(f"images have shape {x.shape[1:]}; the model takes {expected}")
        if x.dtype != np.uint8 and not ((x >= 0) & (x <= 1)).all():
            raise refuse("pixels must be numbers from 0 to 1")
        return x


def _decoded(instance: dict[str, Any]) -> np.ndarray:
    """A PNG in base64 as an array. Raises BadRequest."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(base64.b64decode(instance["b64"], validate=True)), formats=["PNG"]) as image:
            if image.width * image.height > 1 << 24:
                raise ValueError("too large")
            pixels = np.asarray(image.convert("L" if image.mode in ("L", "1") else "RGB"))
    except (KeyError, TypeError, ValueError, OSError, SyntaxError, binascii.Error):
        raise BadRequest(HTTPStatus.BAD_REQUEST, 'an instance is no image: expected numbers, or {"b64": a PNG file in base64}') from None
    return pixels if pixels.ndim == 3 else pixels[..., None]


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for a `Served`; `serving` makes a subclass for one."""

    served: ClassVar[Served]
    protocol_version = "HTTP/1.1"
    timeout = SECONDS
    server_version = "advrun"

    def do_GET(self) -> None:
        """Status and metadata."""
        self._reply(lambda: self.served.answer("GET", self.path, b""))

    def do_POST(self) -> None:
        """Predictions."""
        self._reply(lambda: self.served.answer("POST", self.path, self._body()))

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True
            raise BadRequest(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing")
        if int(length) > MOST_BYTES:
            self.close_connection = True
            raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request is larger than {MOST_BYTES >> 20} MiB")
        return self.rfile.read(int(length))

    def _reply(self, make: Callable[[], Any]) -> None:
        try:
            status, content = HTTPStatus.OK, make()
        except BadRequest as error:
            status, content = error.status, {"error": str(error)}
        except (AdvrunError, MemoryError) as error:
            status, content = HTTPStatus.INTERNAL_SERVER_ERROR, {"error": str(error)}
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not told one by one."""


class Server(ThreadingHTTPServer):
    """Threads that end with the program; a client that hangs up is no news."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whatever one connection meets, the others go on."""


def serving(served: Served, port: int = 0) -> Server:
    """A server on 127.0.0.1, not yet running; port 0 takes a free one. Raises AdvrunError where the port is taken."""
    handler = type("ServedHandler", (Handler,), {"served": served})
    try:
        return Server(("127.0.0.1", port), handler)
    except OSError as error:
        raise AdvrunError(f"port {port} of 127.0.0.1: {error.strerror or error}; choose another by --port") from None


def find_model(place: Path, system: str = "") -> tuple[str, Path]:
    """Label and file of a model: of the file itself, or of a system of a results folder. Raises ModelError."""
    if place.is_file():
        return place.stem, place
    from advrun.runs.manifest import Manifest

    systems = {}
    for record in sorted(place.glob("manifests/*.json")):
        try:
            manifest = Manifest.read(record)
        except (ValueError, OSError):
            continue
        for name in manifest.files if manifest else ():
            if name.startswith("models/") and name.endswith(".keras") and manifest is not None:
                systems[manifest.label] = place / name
    if not systems:
        raise ModelError(f"{place}: neither a model file, nor a results folder with trained systems")
    if not system:
        system = min(systems, key=len)  # undefended ones have the shortest labels
        others = sorted(set(systems) - {system})
        return (system + (f" (others, by --system: {', '.join(others)})" if others else "")), systems[system]
    if system not in systems:
        raise ModelError(f"{place}: there is no system {system!r}{did_you_mean(system, systems)}")
    return system, systems[system]


def load(place: Path, system: str = "", scores: Any = "probabilities", name: str = "model") -> tuple[str, Served]:
    """What is served, in words, and the thing itself. Raises ModelError."""
    label, file = find_model(place, system)
    return label, Served(Classifier(load_model(file), name=label), name, scores)
