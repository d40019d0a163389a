"""A service on this machine that speaks the four protocols, backed by a real classifier, and that can be as bad as a real one."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

from advrun.serve import Served

GOOGLE = "/v1/images:annotate"
GRPC = "google.cloud.vision.v1.ImageAnnotator"


def decoded(png: str | bytes) -> np.ndarray:
    content = base64.b64decode(png) if isinstance(png, str) else png
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def named(image: np.ndarray) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


class StandIn:
    """The service. `faults`: what happens to the next requests, one after the other; then all is well.

    answered: how often each image was answered. headers: of the last request. lies: turns the scores round, as a service that has changed.
    pause: seconds before each answer. closed: so many questions about itself are turned away first.
    """

    def __init__(self, served: Served, names: tuple[str, ...]) -> None:
        self.served, self.names = served, names
        self.faults: list[str] = []
        self.answered: Counter[str] = Counter()
        self.requests = 0
        self.headers: dict[str, str] = {}
        self.lies = False
        self.pause = 0.0
        self.closed = 0
        self.url = self.grpc = ""

    def scores(self, images: list[np.ndarray]) -> np.ndarray:
        time.sleep(self.pause)
        scores = self.served.predict(np.stack(images))
        self.answered.update(map(named, images))
        return scores[:, ::-1] if self.lies else scores

    def labelled(self, images: list[np.ndarray]) -> list[list[tuple[str, float]]]:
        rows = [[(name, float(score)) for name, score in zip(self.names, row, strict=True)] for row in self.scores(images)]
        return [sorted(row, key=lambda pair: -pair[1]) for row in rows]

    def reply(self, path: str, body: bytes, spoilt: bool = False) -> object:
        """What the protocol of the path answers; spoilt: the first image fails though the whole goes well."""
        content = json.loads(body) if body else {}
        if path.partition("?")[0] == GOOGLE:
            images = [decoded(each["image"]["content"]) for each in content["requests"]]
            answers = [
                {"labelAnnotations": [{"description": name, "score": score} for name, score in row]}
                for row in self.labelled(images[spoilt:])
            ]
            return {"responses": [{"error": {"code": 3, "message": "Bad image data."}}] * spoilt + answers}
        if path.startswith("/v2/users/"):
            images = [decoded(each["data"]["image"]["base64"]) for each in content["inputs"]]
            well = {"code": 10000, "description": "Ok"}
            outputs = [
                {"status": well, "data": {"concepts": [{"name": name, "value": score} for name, score in row]}}
                for row in self.labelled(images[spoilt:])
            ]
            failed = [{"status": {"code": 30002, "description": "Download failed"}}] * spoilt
            return {"status": {"code": 10010, "description": "Mixed"} if spoilt else well, "outputs": failed + outputs}
        if path == "/classify":
            if spoilt:
                return {"error": "out of memory"}
            row = self.scores([decoded(content["input"]["image"])])[0]
            listed = [{"name": name, "p": float(score)} for name, score in zip(self.names, row, strict=True)]
            return {"result": {"scores": row.tolist(), "best": int(row.argmax()), "list": listed}}
        method = "POST" if body else "GET"
        if method == "POST":
            images = list(self.served.images(body))
            return {"predictions": self.scores(images).tolist()}
        return self.served.answer(method, path, body)


class Talk(BaseHTTPRequestHandler):
    """Speaks HTTP, and misbehaves as told."""

    service: StandIn
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.service.closed:
            self.service.closed -= 1
            self._send(503, {"error": "warming up"}, {"Retry-After": "0"})
        else:
            self._send(200, self.service.reply(self.path, b""))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        service = self.service
        service.requests += 1
        service.headers = dict(self.headers)
        fault = service.faults.pop(0) if service.faults else ""
        if fault == "slow":
            time.sleep(1.5)
        if fault in ("429", "503"):
            self._send(int(fault), {"error": {"code": int(fault), "message": "slowly, please"}}, {"Retry-After": "0"})
        elif fault == "hour":
            self._send(429, {"error": {"message": "quota"}}, {"Retry-After": "3600"})
        elif fault == "500":
            self._send(500, {"error": {"code": 500, "message": "an accident"}})
        elif fault == "denied":
            self._send(403, {"error": {"code": 403, "message": f"no entry with {self.headers.get('Authorization', 'nothing')}"}})
        elif fault == "redirect":
            self._send(307, {}, {"Location": f"{service.url}/elsewhere"})
        elif fault == "html":
            self._send(200, "<!doctype html><html><title>Log in to the network</title></html>", {"Content-Type": "text/html"})
        elif fault == "cut":
            self._send(200, {"predictions": [[0.25] * 4]}, cut=10)
        elif fault == "half":
            self._send(200, '{"predictions": [[0.1, 0.')
        elif fault == "drip":
            self._drip()
        else:
            self._send(200, service.reply(self.path, body, spoilt=fault == "image"))

    def _drip(self) -> None:
        """A byte now and then: no read ever waits for long, and nothing ever ends."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "1000")
        self.end_headers()
        try:
            for _ in range(30):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.1)
        except OSError:
            self.close_connection = True

    def _send(self, status: int, content: object, headers: dict[str, str] | None = None, cut: int = 0) -> None:
        body = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) - cut])
        if cut:
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def running(service: StandIn) -> Iterator[StandIn]:
    """The service, listening on free ports of this machine: HTTP, and gRPC."""
    server = Quiet(("127.0.0.1", 0), type("Talking", (Talk,), {"service": service}))
    service.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    remote = by_grpc(service)
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        remote.stop(None)


def by_grpc(service: StandIn):
    """The method of Google's service that its client calls, by gRPC."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc
    from google.cloud import vision

    def annotate(request, context):
        service.requests += 1
        fault = service.faults.pop(0) if service.faults else ""
        if fault == "429":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slowly, please")
        if fault == "503":
            context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
        if fault == "denied":
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no entry")
        rows = service.labelled([decoded(each.image.content) for each in request.requests])
        answers = [{"label_annotations": [{"description": name, "score": score} for name, score in row]} for row in rows]
        if fault == "image":
            answers[0] = {"error": {"code": 3, "message": "Bad image data."}}
        return vision.BatchAnnotateImagesResponse(responses=answers)

    method = grpc.unary_unary_rpc_method_handler(
        annotate,
        request_deserializer=vision.BatchAnnotateImagesRequest.deserialize,
        response_serializer=vision.BatchAnnotateImagesResponse.serialize,
    )
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(GRPC, {"BatchAnnotateImages": method}),))
    service.grpc = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    return server
