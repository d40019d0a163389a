"""YAML text to plain data with places: what is read, what is refused and where, and that writing loses nothing."""

from __future__ import annotations

import math
import time

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advrun.config import yamlfile
from advrun.config.yamlfile import Place, dump, inline, number, parse, read, show
from advrun.errors import ConfigError

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def loader(request, monkeypatch):
    """Both parsers of PyYAML; the second is used where the first, in C, is not installed."""
    monkeypatch.setattr(yamlfile, "_LOADER", getattr(yaml, request.param))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None),
        ("true", True), ("False", False), ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"),
        ("0", 0), ("-7", -7), ("+7", 7), ("010", "010"), ("0x10", "0x10"), ("0o10", "0o10"), ("1_000", "1_000"), ("1:30", "1:30"),
        ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e-3", 1e-3), ("2.5E+3", 2500.0), ("-1e3", -1000.0), ("1" * 20, float("1" * 20)),
        ("8/255", 8 / 255), ("-1/3", -1 / 3), ("0.5/255", 0.5 / 255), ("8/0", "8/0"), ("1/2/3", "1/2/3"), ("8 / 255", "8 / 255"),
        (".inf", ".inf"), (".nan", ".nan"), ("1e999", "1e999"), ("2026-08-01", "2026-08-01"), ("=", "="), ("a b", "a b"),
        ("'3'", "3"), ('"8/255"', "8/255"), ("'true'", "true"), ("''", ""),
    ],
)  # fmt: skip
def test_scalars(text, value, loader):
    data = parse(f"key: {text}", "F").data["key"]
    assert data == value
    assert type(data) is type(value)


def test_sequences_are_tuples_and_keys_are_text(loader):
    assert parse("1: [a, [b], {}]\ntrue: {x: []}", "F").data == {"1": ("a", ("b",), {}), "true": {"x": ()}}


def test_places_of_keys_and_values(loader):
    document = parse("a: 1\nb:\n  - {c: 2,  d: [3, 44]}\n  -   e\n", "F")
    assert document.keys == {
        ("a",): Place("F", 1, 1), ("b",): Place("F", 2, 1), ("b", 0, "c"): Place("F", 3, 6), ("b", 0, "d"): Place("F", 3, 13),
    }  # fmt: skip
    assert document.values[("a",)] == Place("F", 1, 4)
    assert document.values[("b", 0)] == Place("F", 3, 5)
    assert document.values[("b", 0, "d", 1)] == Place("F", 3, 20)
    assert document.values[("b", 1)] == Place("F", 4, 7)
    assert document.place(("b", 0, "missing", "deeper")) == Place("F", 3, 5)
    assert str(document.place(("b", 0, "d"), of_key=True)) == "F:3:13"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\nb: 2\na: 3", "F:3:1", "'a' is given twice; first in line 1"),
        ("x: {a: 1, 'a': 3}", "F:1:11", "'a' is given twice"),
        ("a: &x 1", "F:1:4", "anchors"),
        ("a: &x {b: 1}\nc: *x", "F:1:4", "anchors"),
        ("a: *x", "F:1:4", "aliases"),
        ("&x a: 1", "F:1:1", "a key must be a plain name"),
        ("a: {<<: {b: 1}}", "F:1:5", "merge keys"),
        ("a: !!int 3", "F:1:4", "tags"),
        ("a: !!python/object/apply:os.system [ls]", "F:1:4", "tags"),
        ("? [a]\n: 1", "F:1:3", "a key must be a plain name"),
        ("a: 1\n---\nb: 2", "F:2:1", "a second document"),
        ("a:\n\tb: 1", "F:2:1", "a tab in the indentation"),
        ("a: [1\nb: 2", "F:2:2", "not valid YAML"),
        ("a: b: c", "F:1:5", "mapping values are not allowed"),
        ("é: @", "F:1:4", "not valid YAML"),
        ("a: 'open", "F:1:", "not valid YAML"),
        ("a: 1\nb: é\x07", "F:2:5", "'\\x07' is not allowed"),
        ("[" * 30, "F:1:22", "levels deep"),
    ],
)
def test_refused_with_line_and_column(text, place, words, loader):
    with pytest.raises(ConfigError) as error:
        parse(text, "F")
    message = str(error.value)
    assert message.startswith(place)
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n...\n"])
def test_empty_documents_are_null(text, loader):
    assert parse(text, "F").data is None


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    return "\n".join(lines + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)])


@pytest.mark.parametrize(
    "text", [bomb(), "[" * 500_000, "- " * 500_000, "? " * 500_000, "[{" * 250_000], ids=["aliases", "[", "-", "?", "[{"]
)
def test_bombs_are_refused_at_once(text):
    start = time.process_time()
    with pytest.raises(ConfigError):
        parse(text, "F")
    assert time.process_time() - start < 0.1


def test_size_is_limited(tmp_path):
    path = tmp_path / "large.yaml"
    path.write_text("#" * (1 << 20) + "\n")
    for attempt in (lambda: read(path), lambda: parse(path.read_text(), "F")):
        with pytest.raises(ConfigError, match="larger than 1 MiB"):
            attempt()


def test_unreadable_files(tmp_path):
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: 1\nb: caf\xe9\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=rf"^{latin}:2:7: byte 0xe9 is not UTF-8"):
        read(latin)
    for path in (tmp_path / "missing.yaml", tmp_path, tmp_path / "nul\0.yaml"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read(path)
    marked = tmp_path / "marked.yaml"
    marked.write_bytes(b"\xef\xbb\xbfa: 1")
    assert parse(read(marked), "F").data == {"a": 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8 / 255, "8/255"),
        (-2 / 255, "-2/255"),
        (0.2, "0.2"),
        (1e-3, "0.001"),
        (1.0, "1.0"),
        (300 / 255, "300/255"),
        (0.1 + 0.2, "0.30000000000000004"),
    ],
)
def test_numbers_are_readable(value, text):
    assert number(value) == text


@UNHURRIED
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_written_numbers_are_read_exactly(value):
    read_back = yamlfile.scalar(number(value))
    assert isinstance(read_back, float)
    assert read_back == value
    assert math.copysign(1, read_back) == math.copysign(1, value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"), (True, "true"), (1, "1"), (0, "0"), (8 / 255, "8/255"), ("a\nb", r"'a\nb'"), ("x" * 99, f"'{'x' * 57}...'"),
        ((), "an empty list"), ((1,), "a list"), ({}, "an empty mapping"), ({"a": 1}, "a mapping"),
    ],
)  # fmt: skip
def test_values_in_messages(value, text):
    assert show(value) == text


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18) + 1, 10**18 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
    | st.sampled_from(["8/255", "1e-3", "no", "null", "~", "true", "010", "- a", "a: b", "#", "<<", "*a", "&a", "!a", "1e999"]),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(TEXT.filter(lambda key: key != "<<"), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def exactly(data):
    """Data with types, so that 1, 1.0 and True differ, and 0.0 and -0.0."""
    if isinstance(data, dict):
        return {key: exactly(value) for key, value in data.items()}
    return tuple(map(exactly, data)) if isinstance(data, tuple) else (type(data), repr(data))


@UNHURRIED
@given(PLAIN)
def test_what_is_written_is_read_back(data):
    assert exactly(parse(dump(data), "F").data) == exactly(data)
    assert exactly(parse(inline(data), "F").data) == exactly(data)


def test_inline_is_one_line():
    assert inline({"name": "pgd", "eps": (2 / 255, 8 / 255), "note": "no\nyes"}) == '{name: pgd, eps: [2/255, 8/255], note: "no\\nyes"}'
    assert inline(None) == "null"
