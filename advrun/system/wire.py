"""Requests to a service: JSON over HTTP, which either brings an answer or one clear line.

A key comes from an environment variable and travels in a header, over https (to this machine also without); it is in no address, message,
file or log, and is struck out of what a service sends back. Redirects are refused, for the key would go with them.
"""

from __future__ import annotations

import email.utils
import ipaddress
import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

from advrun.errors import ConfigError, ModelError, printable
from advrun.system.oracle import Limits, Unanswered

MOST = 16 << 20
"""Bytes of an answer."""
PATIENCE = 20.0
"""Seconds between two questions about the service itself."""
NOBODY = "nothing listens there"
REFUSES = (429, 503)
"""The service did not look at the request."""
PASSING = (408, 500, 502, 504)
"""It may have."""


class Key:
    """A secret from an environment variable. It shows itself to nobody but `reveal`.

    Raises ConfigError where the variable is missing, or holds what no key holds.
    """

    def __init__(self, variable: str) -> None:
        self.variable = variable
        value = os.environ.get(variable, "")
        if not value:
            raise ConfigError(f"the environment variable {variable} is not set; it holds the key of the service: export {variable}=...")
        if not value.isascii() or not value.isprintable() or " " in value.strip() or value != value.strip():
            raise ConfigError(f"the environment variable {variable} holds spaces, or letters that no key has")
        self._value = value

    def __repr__(self) -> str:
        return f"the key in {self.variable}"

    def reveal(self) -> str:
        """The key itself, for a header."""
        return self._value

    def struck(self, text: str) -> str:
        """The text without the key."""
        return text.replace(self._value, f"[{self}]")


class Wire:
    """Sends requests to one service.

    Args:
        url: its address, http or https; without a user, and without a key.
        limits: how long to wait.
        key: sent as the header `header`, with `prefix` before it.
    """

    def __init__(self, url: str, limits: Limits, key: Key | None = None, header: str = "Authorization", prefix: str = "") -> None:
        import requests

        self.url, self.limits, self.key = checked_url(url, key is not None), limits, key
        self._header, self._prefix = header, prefix
        self._session = requests.Session()
        if is_here(url):
            self._session.trust_env = False  # no proxy stands between this machine and itself

    def get(self, path: str) -> Any:
        """The answer to a question that nothing is paid for. Raises ModelError."""
        for attempt in range(self.limits.tries):
            try:
                return self._send("GET", path, None)
            except Unanswered as error:
                wait = error.wait if error.wait is not None else 2.0**attempt
                if attempt + 1 == self.limits.tries or wait > PATIENCE or NOBODY in error.reason:
                    raise ModelError(f"{self.url}{path}: {error.reason}; is the service running there?") from None
                time.sleep(wait)
        raise ModelError(f"{self.url}{path}: no answer")

    def post(self, path: str, content: Any) -> Any:
        """The answer to some content. Raises Unanswered, or ModelError where it is no use to try again."""
        return self._send("POST", path, content)

    def _send(self, method: str, path: str, content: Any) -> Any:
        import requests

        headers = {"Accept": "application/json"}
        if self.key is not None:
            headers[self._header] = f"{self._prefix}{self.key.reveal()}"
        settings: dict[str, Any] = {"json": content, "headers": headers, "timeout": self.limits.timeout}

        def exchange() -> tuple[Any, str]:
            with self._session.request(method, f"{self.url}{path}", allow_redirects=False, stream=True, **settings) as reply:
                return reply, self._body(reply)

        try:
            return self._read(*within(self.limits.timeout, exchange))
        except (requests.Timeout, TimeoutError):
            raise Unanswered(f"no answer within {self.limits.timeout:g} seconds") from None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
            raise Unanswered(_cause(error)) from None
        except requests.RequestException as error:
            raise ModelError(f"{self.url}: {self._quoted(str(error))}") from None

    def _body(self, reply: Any) -> str:
        parts, size = [], 0
        for part in reply.iter_content(1 << 16):
            parts.append(part)
            size += len(part)
            if size > MOST:
                raise ModelError(f"{self.url}: the answer is larger than {MOST >> 20} MiB; that is no classifier")
        text = b"".join(parts).decode("utf-8", errors="replace")
        return self.key.struck(text) if self.key else text

    def _read(self, reply: Any, body: str) -> Any:
        """What the reply says. Raises Unanswered or ModelError."""
        status = reply.status_code
        if 300 <= status < 400:
            where = self._quoted(reply.headers.get("Location", "nowhere"))
            self._refuse(f"is redirected to {where} (HTTP {status}); redirects are refused, write the address itself")
        if status in REFUSES:
            raise Unanswered(f"HTTP {status}, too many requests or too busy", wait=retry_after(reply.headers), counted=False)
        if status in PASSING:
            raise Unanswered(f"HTTP {status}: {self._quoted(said(body))}", wait=retry_after(reply.headers))
        if status in (401, 403):
            hint = f"is {self.key} right?" if self.key else "does the service want a key?"
            self._refuse(f"HTTP {status}: {self._quoted(said(body))}; {hint}")
        if not 200 <= status < 300:
            self._refuse(f"HTTP {status}: {self._quoted(said(body))}")
        if body.lstrip()[:1] == "<":
            title = re.search(r"<title[^>]*>([^<]*)", body, re.IGNORECASE)
            named = f" ({self._quoted(title.group(1).strip())})" if title else ""
            self._refuse(f"answers with a web page{named} and not with JSON; is this the address of the service?")
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            if body.lstrip()[:1] in ("{", "["):
                raise Unanswered("the answer is cut off in the middle") from None
            self._refuse(f"answers {self._quoted(body) or 'nothing'}, which is no JSON")

    def _refuse(self, text: str) -> NoReturn:
        raise ModelError(f"{self.url}: {text}")

    def _quoted(self, text: str) -> str:
        short = printable(" ".join(text.split()))
        short = short if len(short) <= 200 else f"{short[:199]}…"
        return self.key.struck(short) if self.key else short


def checked_url(url: str, with_key: bool) -> str:
    """The address without a slash at its end. Raises ConfigError for one that is none, or that holds or would betray a key."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"url is {url!r:.200}; expected an address such as https://HOST or http://127.0.0.1:8501")
    if parts.username or parts.password or parts.query or parts.fragment:
        shown = f"{parts.scheme}://{parts.hostname}{parts.path}"
        raise ConfigError(f"url holds more than an address ({shown}); keys are taken from the environment alone: name the variable as key")
    if with_key and parts.scheme != "https" and not is_here(url):
        raise ConfigError(f"url is {url}; a key is sent over https only")
    return url.rstrip("/")


def is_here(url: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the header Retry-After asks to wait, given as such or as a date (RFC 9110, section 10.2.3); None without one."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    date = email.utils.parsedate_to_datetime(text) if re.match(r"[A-Z][a-z]{2}, ", text) else None
    return None if date is None else max(date.timestamp() - time.time(), 0.0)


def said(body: str) -> str:
    """The sentence of an error that came as JSON, as services word it; else the text."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return re.sub(r"<[^>]*>", " ", body)
    for path in (("error", "message"), ("error",), ("status", "details"), ("status", "description"), ("message",)):
        found: Any = content
        for step in path:
            found = found.get(step) if isinstance(found, dict) else None
        if isinstance(found, str):
            return found
    return body


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """What the call returns; TimeoutError after so long: a service that sends a byte now and then is never silent."""
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not outcome:
        raise TimeoutError
    return outcome[0]


def _cause(error: BaseException) -> str:
    """Why a connection failed, in a few words."""
    text = str(error)
    if "refused" in text:
        return f"the connection was refused: {NOBODY}"
    if "resolve" in text:
        return "the name of the host is not known"
    if "IncompleteRead" in text or "aborted" in text or "reset" in text or "prematurely" in text:
        return "the connection was cut before the answer was whole"
    return f"the connection failed ({type(error).__name__})"
