"""`advrun page`: the page over HTTP, on this machine only.

    GET  /                      the page, one file, with nothing from elsewhere
    GET  /api/choices           systems, attacks, classes
    GET  /api/test/NUMBER       a test image
    POST /api/photo             the bytes of a photograph -> as the model takes it; kept nowhere
    POST /api/attack            a picture, an attack, a defence -> lines of JSON: where it is, and last the result

Errors are {"error": "..."}. Requests from other pages, and under other names than this machine's, are refused: a page elsewhere could
else have a browser speak to this one (DNS rebinding, forged requests).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advrun.console.speak import strict
from advrun.engine import reason
from advrun.errors import AdvrunError, ConfigError, DataError
from advrun.picture import answers, pixels, study
from advrun.picture.bench import Bench
from advrun.picture.thread import OneThread

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

PAGE = Path(__file__).with_name("page.html")
HOSTS = ("127.0.0.1", "localhost")
MOST_JSON = 16 << 20
"""Bytes of a request that is no photograph: an image of the model's size, and a few words."""
EVERY = 0.2
"""Seconds between two lines of progress."""
GRACE = 3.0
"""Seconds that what is at work may take to its end after Ctrl-C."""
QUICK = 500
"""An attack that asks for so much at most is compiled before anybody wants it."""


class TooLarge(DataError):
    """More bytes than are read."""


class Guard:
    """Lets requests in that this machine's own page makes, and tells the browser to load nothing from elsewhere."""

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self.app = app
        self.headers = {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "cache-control": "no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.datastructures import Headers, MutableHeaders
        from starlette.responses import JSONResponse

        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        headers = Headers(scope=scope)
        host = headers.get("host", "")
        origin = headers.get("origin", f"http://{host}")
        if host.partition(":")[0] not in HOSTS or origin != f"http://{host}":
            await JSONResponse({"error": "this page answers this machine's own browser only"}, 403)(scope, receive, sending)
            return
        await self.app(scope, receive, sending)


def application(bench: Bench, thread: OneThread) -> Starlette:
    """The page as an ASGI application."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
    from starlette.routing import Route

    text = PAGE.read_text()
    offered = answers.choices(bench)

    def refused(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, 413 if isinstance(error, TooLarge) else 400)

    async def page(request: Request) -> Response:
        return HTMLResponse(text)

    async def choices(request: Request) -> Response:
        return JSONResponse(offered)

    async def test(request: Request) -> Response:
        shown = study.of_test(bench, request.path_params["number"])
        return JSONResponse({"label": shown.label, "name": bench.class_name(shown.label), "image": pixels.url(shown.x)})

    async def photo(request: Request) -> Response:
        content = await body(request, pixels.MOST_BYTES)
        fitted = await asyncio.to_thread(pixels.fitted, content, bench.data.image_shape)
        return JSONResponse({"image": pixels.url(fitted)})

    async def attack(request: Request) -> Response:
        try:
            asked = json.loads(await body(request, MOST_JSON))
        except (ValueError, RecursionError):
            raise DataError("the request is no JSON") from None
        if not isinstance(asked, dict):
            raise DataError("the request is no JSON object")
        return StreamingResponse(progress(bench, thread, asked), media_type="application/x-ndjson")

    routes = [
        Route("/", page),
        Route("/api/choices", choices),
        Route("/api/test/{number:int}", test),
        Route("/api/photo", photo, methods=["POST"]),
        Route("/api/attack", attack, methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, policy=policy(text))], exception_handlers={AdvrunError: refused})


def policy(page: str) -> str:
    """A Content-Security-Policy under which only the page's own style and script count, known by their hashes."""

    def hashed(tag: str) -> str:
        inner = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = hashlib.sha256((inner[1] if inner else "").encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"

    own = f"script-src {hashed('script')}; style-src {hashed('style')}; img-src data: blob:; connect-src 'self'"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


async def body(request: Request, most: int) -> bytes:
    """What was sent. Raises TooLarge once it is too much; what the browser says beforehand about its size is looked at first."""
    said = f"the file is larger than {most >> 20} MB; send a smaller one"
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise TooLarge(said)
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most:
            raise TooLarge(said)
    return bytes(content)


async def progress(bench: Bench, thread: OneThread, asked: Mapping[str, Any]) -> AsyncIterator[str]:
    """Lines of JSON: {"share": 0 to 1, or null} while it works, then {"result": ...} or {"error": ...}.

    A request whose page is gone before its turn is not begun.
    """

    def line(content: Any) -> str:
        return json.dumps(strict(content)) + "\n"

    future = thread.submit(lambda: answers.attacked(bench, dict(asked)))
    try:
        waiting = asyncio.wrap_future(future)
        while not (await asyncio.wait([waiting], timeout=EVERY))[0]:
            yield line({"share": share(bench, asked) if future.running() else None, "waits": not future.running()})
        yield line({"result": waiting.result()})
    except AdvrunError as error:
        yield line({"error": str(error)})
    except Exception as error:  # an attack of one's own may raise anything; the page says what, and goes on
        yield line({"error": reason(error)})
    finally:
        future.cancel()


def share(bench: Bench, asked: Mapping[str, Any]) -> float | None:
    """How much of what the attack may ask for at most it has asked; None where that is not known."""
    try:
        attack, adaptive = bench.attack(str(asked.get("attack"))), asked.get("adaptive") is True
        name = bench.system(str(asked.get("model")), str(asked.get("defense") or "none") if adaptive else "none")
        most = study.most(attack)
        return min(study.asked(bench, name) / most, 1.0) if most else None
    except AdvrunError:
        return None


def warm(bench: Bench, thread: OneThread) -> None:
    """Have compiled what is likely to be asked for first: each model under each quick attack, then what its defences say.

    One piece at a time, so that somebody who asks meanwhile waits for one of them at most.
    """
    number = int(bench.data.evaluation_order()[0])
    x = bench.data.x_test[number]
    works: list[Callable[[], Any]] = []
    for model in bench.models:
        for attack in [each for each in bench.attacks if 0 < study.most(each) <= QUICK] or bench.attacks[:1]:
            eps = attack.radii[-1] if attack.is_bounded else None
            asked = {"test": number, "model": model, "attack": attack.label, "eps": eps}
            works.append(partial(answers.attacked, bench, asked))
        for name in bench.defenses(model):
            works += [partial(study.reply, bench, name, x), partial(study.purified, bench, name, x)]

    def submit() -> None:
        with contextlib.suppress(CancelledError):  # the page has ended before all is warm
            for work in works:
                thread.submit(work).exception()

    threading.Thread(target=submit, daemon=True, name="warming up").start()


def check_installed() -> None:
    """Raise ConfigError where what serves the page is not installed."""
    try:
        import starlette
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"advrun page needs Starlette and uvicorn ({error.name} is missing): pip install 'advrun[web]'") from None
    del starlette


def serve(bench: Bench, port: int, say: Callable[[str], None]) -> bool:
    """Serve the page until Ctrl-C. `say` hears its address.

    Returns whether all computing has ended; if not, Python cannot end its thread, nor itself in the usual way.

    Raises AdvrunError where the port is taken.
    """
    import uvicorn

    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen()  # at once: until then another one may bind the port too
    except OSError as error:
        raise AdvrunError(f"port {port} of 127.0.0.1: {error.strerror or error}; choose another by --port") from None
    thread = OneThread()
    warm(bench, thread)
    say(f"http://127.0.0.1:{listening.getsockname()[1]}")
    config = uvicorn.Config(
        application(bench, thread), log_level="error", access_log=False, server_header=False, timeout_graceful_shutdown=1
    )
    with contextlib.suppress(KeyboardInterrupt), listening:
        uvicorn.Server(config).run(sockets=[listening])
    return thread.close(GRACE)
