"""Google Cloud Vision, label detection, by Google's own client (as attacked by Hosseini, Xiao and Poovendran, 2017, arXiv:1704.05051)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np

from advrun.errors import ConfigError, ModelError, printable
from advrun.system.oracle import LIMITS, Answer, Limits, Oracle, Unanswered, as_png
from advrun.system.wire import Key, checked_url, is_here, retry_after, within
from advrun.types import Count

LIST_PRICE = 1.5
"""Dollars for a thousand images, after the first thousand of a month (November 2026)."""
BATCH = 16
"""Images that the service takes in one request."""


def google_vision(
    *,
    url: str = "https://vision.googleapis.com",
    transport: Literal["rest", "grpc"] = "rest",
    labels: tuple[str, ...] = (),
    first: Count = 1,
    max_labels: Count = 10,
    key: str = "",
    limits: Limits = LIMITS,
) -> Oracle:
    """Google Cloud Vision's labels of an image. It costs money: nothing is sent without --yes.

    It answers with labels of its own: `labels` says which classes of the data they are, or an image counts as right while the label that
    the clean image got first is among the `first` first ones. Needs the extra `advrun[vision]`. The real service was not reached when this
    was written: it is tested with Google's client against a stand-in of the same protocol.

    Args:
        url: the service; an address of this machine is asked without credentials, and costs nothing.
        transport: how Google's client speaks to it.
        labels: "LABEL = CLASS", what labels mean as classes of the data, by name or number.
        first: an image is right while its class is among so many first labels.
        max_labels: labels that are asked for.
        key: environment variable that holds an API key; without one, Google's own search for credentials, which begins with
            GOOGLE_APPLICATION_CREDENTIALS.
        limits: budget, patience and price.
    """
    url = checked_url(url, bool(key))
    secret = Key(key) if key else None
    client = connected(url, transport, secret)
    return Oracle(
        (None, None, None),
        None,
        partial(ask, client, max_labels, limits, secret, transport),
        name="google_vision",
        labels=labels,
        first=first,
        batch=BATCH,
        limits=limits,
        place=f"{url}, {transport}",
        list_price=0.0 if is_here(url) else LIST_PRICE,
    )


def connected(url: str, transport: str, key: Key | None) -> Any:
    """Google's client for an address. Raises ConfigError where it is not installed, or finds no credentials."""
    try:
        import google.auth
        from google.auth import api_key, credentials, exceptions
        from google.cloud import vision
        from google.cloud.vision_v1.services.image_annotator import transports
    except ImportError as error:
        raise ConfigError(f"model 'google_vision' needs Google's client ({error.name} is missing): pip install 'advrun[vision]'") from None
    parts = urlsplit(url)
    try:
        if key is not None:
            identity: Any = api_key.Credentials(key.reveal())
        elif is_here(url):
            identity = credentials.AnonymousCredentials()
        else:
            identity, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-vision"])
    except exceptions.DefaultCredentialsError:
        raise ConfigError(
            "model 'google_vision' found no credentials: set GOOGLE_APPLICATION_CREDENTIALS, or name the variable of an API key as key"
        ) from None
    if transport == "rest":
        wire: Any = transports.ImageAnnotatorRestTransport(host=parts.netloc, credentials=identity, url_scheme=parts.scheme)
        wire._session.max_redirects = 0  # the first one raises, and nothing is sent after it
        wire._session.trust_env = not is_here(url)
    elif parts.scheme == "http":
        import grpc

        wire = transports.ImageAnnotatorGrpcTransport(channel=grpc.insecure_channel(parts.netloc))
    else:
        wire = transports.ImageAnnotatorGrpcTransport(host=parts.netloc, credentials=identity)
    return vision.ImageAnnotatorClient(transport=wire)


def ask(client: Any, max_labels: int, limits: Limits, key: Key | None, transport: str, images: np.ndarray) -> Sequence[Answer]:
    """One request for up to BATCH images. Raises Unanswered, ModelError."""
    from google.cloud import vision

    feature = vision.Feature(type_=vision.Feature.Type.LABEL_DETECTION, max_results=max_labels)
    requests = [vision.AnnotateImageRequest(image=vision.Image(content=as_png(image)), features=[feature]) for image in images]

    def call() -> Any:
        return client.batch_annotate_images(requests=requests, timeout=limits.timeout, retry=None)

    reply = explained(partial(within, limits.timeout + 1.0, call), key, transport)
    if len(reply.responses) != len(images):
        raise ModelError(f"google_vision: {len(reply.responses)} answers came for {len(images)} images")
    answers: dict[int, Answer] = {}
    failures = []
    for row, response in enumerate(reply.responses):
        if response.error.code or response.error.message:
            failures.append(f"image error {response.error.code}: {printable(response.error.message)[:200]}")
        else:
            answers[row] = tuple((label.description, label.score) for label in response.label_annotations)
    if failures:
        raise Unanswered(f"{len(failures)} of {len(images)} images failed, the first with {failures[0]}", answers=answers)
    return [answers[row] for row in range(len(images))]


def explained(call: Callable[[], Any], key: Key | None, transport: str) -> Any:
    """What the call returns, its errors as Unanswered or as a ModelError of one line."""
    import requests
    from google.api_core import exceptions
    from google.auth import exceptions as auth
    from google.protobuf import json_format

    def line(error: BaseException) -> str:
        text = printable(" ".join(str(getattr(error, "message", "") or error).split()))[:200]
        return key.struck(text) if key else text

    try:
        return call()
    except (exceptions.TooManyRequests, exceptions.ServiceUnavailable) as error:
        # By gRPC a connection that was cut is "unavailable" too: then the images may have arrived.
        refused = transport == "rest" or isinstance(error, exceptions.TooManyRequests)
        raise Unanswered(f"{error.code or 503}: {line(error)}", wait=wait_of(error), counted=not refused) from None
    except (exceptions.ServerError, exceptions.RetryError, exceptions.Cancelled) as error:
        raise Unanswered(line(error), wait=wait_of(error)) from None
    except (exceptions.Unauthorized, exceptions.Forbidden, auth.GoogleAuthError) as error:
        raise ModelError(f"google_vision: {line(error)}; are the credentials right?") from None
    except exceptions.GoogleAPICallError as error:
        raise ModelError(f"google_vision: {line(error)}") from None
    except requests.TooManyRedirects:
        raise ModelError("google_vision: the service redirects; redirects are refused, write the address itself as url") from None
    except (requests.Timeout, TimeoutError):
        raise Unanswered("no answer in time") from None
    except requests.RequestException as error:
        raise Unanswered(f"the connection was cut, or refused ({type(error).__name__})") from None
    except (json_format.ParseError, ValueError) as error:
        if "char 0" in str(error) or "JSON" not in str(error):
            raise ModelError("google_vision: answers with a web page or other text and not with JSON; is url right?") from None
        raise Unanswered("the answer is cut off in the middle") from None


def wait_of(error: Any) -> float | None:
    """Seconds that the service asks to wait: the header Retry-After, or a RetryInfo."""
    for detail in getattr(error, "details", None) or ():
        delay = getattr(detail, "retry_delay", None)
        if delay is not None:
            return float(delay.seconds + delay.nanos / 1e9)
    headers = getattr(getattr(error, "response", None), "headers", None)
    return None if headers is None else retry_after(headers)
