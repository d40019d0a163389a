"""The four protocols: the same answers as in this process, whatever goes wrong is tried again or told in one line, and keys stay secret."""

from __future__ import annotations

import logging
import traceback

import numpy as np
import pytest

from advrun import Classifier
from advrun.errors import ConfigError, ModelError
from advrun.models.clarifai import clarifai
from advrun.models.google_vision import google_vision
from advrun.models.http import at, http, put
from advrun.models.tf_serving import tf_serving
from advrun.system import Oracle
from advrun.system.ledger import Ledger
from advrun.system.oracle import Limits
from advrun.system.wire import checked_url, retry_after

from .conftest import NAMES
from .standin import StandIn

QUICK = Limits(timeout=0.5, tries=3)
SECRET = "sesame-1234"


def by_tf_serving(service: StandIn, **given) -> Oracle:
    return tf_serving(url=service.url, limits=QUICK, **given)


def by_http(service: StandIn, **given) -> Oracle:
    paths = {"image_at": "input.image", "error_at": "error"} | ({"scores_at": "result.scores", "classes": 4} if not given else {})
    return http(url=f"{service.url}/classify", limits=QUICK, **paths, **given)


def by_labels(service: StandIn, **given) -> Oracle:
    return by_http(service, labels_at="result.list.*.name", scores_at="result.list.*.p", **given)


def by_rest(service: StandIn, **given) -> Oracle:
    return google_vision(url=service.url, limits=QUICK, **given)


def by_grpc(service: StandIn, **given) -> Oracle:
    return google_vision(url=service.grpc, transport="grpc", limits=QUICK, **given)


def by_clarifai(service: StandIn, **given) -> Oracle:
    return clarifai(url=service.url, limits=QUICK, **({"key": ""} | given))


SERVICES = [by_tf_serving, by_http, by_labels, by_rest, by_grpc, by_clarifai]
OVER_HTTP = [by_tf_serving, by_http, by_rest, by_clarifai]


@pytest.fixture
def images(toy_data) -> np.ndarray:
    return toy_data.x_test[:5]


def in_words(answers: list) -> np.ndarray:
    """Scores in the order of NAMES."""
    if isinstance(answers[0][0], list):
        return np.array([[dict(map(tuple, answer))[name] for name in NAMES] for answer in answers])
    return np.array(answers)


def asked(oracle: Oracle, images: np.ndarray) -> np.ndarray:
    return in_words(Ledger(oracle, sleep=lambda seconds: None).answers(images))


@pytest.mark.parametrize("send", ["pixels", "png"])
def test_a_served_model_answers_as_it_does_here(send, service, served, images):
    """To the last bit: numbers, PNG files and JSON lose nothing."""
    assert np.array_equal(asked(by_tf_serving(service, send=send), images), served.predict(images))


@pytest.mark.parametrize("reach", SERVICES)
def test_every_protocol_gives_the_scores_of_the_classifier(reach, service, served, images):
    assert np.allclose(asked(reach(service), images), served.predict(images), rtol=1e-6)
    assert len(service.answered) == 5


def test_a_class_number_is_a_decision(service, served, images):
    oracle = by_http(service, class_at="result.best", classes=4)
    assert oracle.gives == "decisions"
    assert Ledger(oracle).answers(images) == served.predict(images).argmax(-1).tolist()


@pytest.mark.parametrize("fault", ["429", "503", "image", "500", "slow", "cut", "half", "drip"])
@pytest.mark.parametrize("reach", OVER_HTTP)
def test_what_passes_is_tried_again(reach, fault, service, served, images):
    if reach is by_tf_serving and fault == "image":
        pytest.skip("TensorFlow Serving fails on a request as a whole")
    oracle = reach(service)
    ledger = Ledger(oracle, sleep=lambda seconds: None)
    service.faults = [fault]
    assert np.allclose(in_words(ledger.answers(images[:2])), served.predict(images[:2]), rtol=1e-6)
    refused = 0 if fault in ("429", "503") else 1 if fault == "image" or oracle.batch == 1 else 2
    assert ledger.spent == 2 + refused  # what was refused was not paid for


@pytest.mark.parametrize("fault", ["429", "503", "image"])
def test_so_it_is_by_grpc(fault, service, served, images):
    service.faults = [fault]
    assert np.allclose(asked(by_grpc(service), images), served.predict(images), rtol=1e-6)
    service.faults = ["denied"]
    with pytest.raises(ModelError, match="no entry; are the credentials right"):
        asked(by_grpc(service), images)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("redirect", r"redirects are refused, write the address itself"),
        ("html", r"answers with a web page.* and not with JSON"),
        ("hour", r"asks to wait 3,600 seconds"),
        ("denied", r"no entry with nothing; (does the service want a key|are the credentials right)"),
    ],
)
@pytest.mark.parametrize("reach", OVER_HTTP)
def test_what_stays_is_one_line(reach, fault, text, service, images):
    oracle = reach(service)
    service.faults = [fault]
    with pytest.raises(ModelError, match=text) as refusal:
        asked(oracle, images[:1])
    assert "\n" not in str(refusal.value)
    assert service.requests == 1
    assert not service.answered


@pytest.mark.parametrize("reach", [by_tf_serving, by_rest, by_clarifai])
def test_nothing_listens(reach, service, images):
    service.url = "http://127.0.0.1:9"
    with pytest.raises(ModelError, match=r"refused|nothing listens"):
        asked(reach(service), images)


@pytest.mark.parametrize("reach", [by_tf_serving, by_clarifai])
def test_a_key_is_sent_and_shown_to_nobody(reach, service, images, monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("MY_KEY", SECRET)
    caplog.set_level(logging.DEBUG)
    oracle = reach(service, key="MY_KEY")
    Ledger(oracle, tmp_path / "a.sqlite").answers(images[:1])
    assert SECRET in service.headers["Authorization"]
    service.faults = ["denied"]  # whose answer repeats the key
    with pytest.raises(ModelError, match=r"is the key in MY_KEY right\?") as refusal:
        asked(oracle, images[1:])
    said = "".join(traceback.format_exception(refusal.value)) + caplog.text + repr(oracle.ask) + str(oracle.facts())
    assert SECRET not in said
    assert all(SECRET.encode() not in file.read_bytes() for file in tmp_path.iterdir())


def test_google_gets_its_key_too(service, images, monkeypatch):
    monkeypatch.setenv("MY_KEY", SECRET)
    asked(by_rest(service, key="MY_KEY"), images[:1])
    assert service.headers["x-goog-api-key"] == SECRET


@pytest.mark.parametrize(("value", "text"), [(None, "is not set"), ("two words", "no key has"), ("line\nbreak", "no key has")])
def test_a_key_that_is_none(value, text, service, monkeypatch):
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(ConfigError, match=text) as refusal:
        by_tf_serving(service, key="MY_KEY")
    assert value is None or value not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("127.0.0.1:8501", "expected an address"),
        ("https://me:sesame@example.org", "keys are taken from the environment alone"),
        ("https://example.org/?key=sesame", "keys are taken from the environment alone"),
        ("http://example.org", "over https only"),
    ],
)
def test_addresses_that_would_betray_a_key(url, text):
    with pytest.raises(ConfigError, match=text) as refusal:
        checked_url(url, with_key=True)
    assert "sesame" not in str(refusal.value)


def test_what_costs_money():
    assert google_vision(url="http://127.0.0.1:1").price == 0
    assert google_vision(url="http://127.0.0.1:1", limits=Limits(price=2.0)).price == 2
    assert clarifai(url="https://example.org", key="").price == 1.2
    with pytest.raises(ConfigError, match="found no credentials"):
        google_vision()


def test_a_service_that_warms_up_is_waited_for(service):
    service.closed = 2
    assert by_tf_serving(service).classes == 4
    service.closed = 3
    with pytest.raises(ModelError, match="HTTP 503, too many requests or too busy; is the service running there"):
        by_tf_serving(service)


def test_retry_after_is_seconds_or_a_date():
    assert retry_after({"Retry-After": "7"}) == 7
    assert retry_after({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}) == 0
    assert retry_after({"Retry-After": "soon"}) is None
    assert retry_after({}) is None


def test_paths():
    content = {"a": [{"b": 1}, {"b": 2}], "c": {"d": "e"}}
    assert at(content, "a.*.b") == [1, 2]
    assert at(content, "a.1.b") == 2
    assert at(content, "c.x", None) is None
    with pytest.raises(ModelError, match=r"nothing at 'x': there it has d"):
        at(content, "c.x")
    assert put({"model": "m"}, "inputs.0.data", "image") == {"model": "m", "inputs": [{"data": "image"}]}


def test_the_model_is_that_of_the_stand_in(served, victim, toy_data):
    assert isinstance(victim, Classifier)
    assert np.array_equal(served.predict(toy_data.x_test).argmax(-1), victim.predict(toy_data.x_test).argmax(-1))
