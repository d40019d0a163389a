"""Tables, figures and the page: against the hashes on record, and against what the verified rows give when the report is made again."""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from advrun import report
from advrun.errors import AdvrunError
from advrun.files import content_key, inside
from advrun.report.accuracy import crafted_on
from advrun.report.album import PACKED
from advrun.results import Result, Row
from advrun.runs.runner import identity, reported
from advrun.runs.store import RECORD
from advrun.runs.untouched import NOTHING, Untouched
from advrun.verify.minutes import Minutes
from advrun.verify.rows import CLOSE
from advrun.verify.seals import bytes_of
from advrun.worst import worst_cases

PAGE = "report.html"
BYTES = re.compile(rb'"' + PACKED.encode() + rb'([A-Za-z0-9+/=]*)"')
"""Images and confusions for the page's script."""
INFLATED = 1 << 24
"""Bytes of one of them, at most."""
PICTURE = re.compile(rb"data:image/png;base64,([A-Za-z0-9+/=]*)")
MOST = 5
"""So many lines of one file are told; the others are counted."""
REACH = 60
"""Characters to either side of a difference."""
LARGEST = 1 << 30
"""Bytes of a page or a figure."""
APART = ',|<>&;"\t '


@dataclass(frozen=True)
class Remade:
    """findings: what the cells on disk say now. draws: whether figures and page are made again, not tables alone."""

    findings: Any
    draws: bool


def check_report(store: Untouched, remade: Remade | None, results: list[Result], minutes: Minutes) -> None:
    """Everything that a reader sees. remade: None where config.yaml cannot be planned. results: those that were verified."""
    record = reported(inside(store.root, RECORD))
    if not record:
        if store.holds(RECORD):
            minutes.find(RECORD, "what does not belong to its seal", "what was sealed")
        else:
            minutes.note("there is no report yet: advrun report CONFIG makes it")
            return
    known: Mapping[str, str] = record.get("files", {})
    content = bytes_of(store.root, RECORD) if record else b""
    if record and b'"seal"' not in content:
        minutes.note(f"{RECORD}: written by an earlier advrun, without a seal")
    elif record and content != json.dumps({**record, "seal": content_key(record)}, indent=1).encode():
        minutes.find(RECORD, "the same in other bytes", "what advrun writes")
    key, code = identity(remade.findings) if remade is not None else ("", "")
    if remade is None or (record and record.get("code") != code):
        if remade is not None:
            minutes.note("the report was made by another version of advrun: numbers are compared, words are not")
        _check_hashes(store, known, minutes)
        _check_numbers(store, results, minutes)
        return
    summary = report.summarise(remade.findings.results, remade.findings.sweeps, remade.findings.planned)
    expected = report.files(remade.findings, summary) if remade.draws else report.texts(remade.findings, summary)
    same_hand = _same_hand(store, expected)
    if not same_hand:
        minutes.note("figures come out in other bytes here (another Matplotlib, or other fonts): they are checked by their hashes alone")
    rest = {name: value for name, value in known.items() if name not in expected or (_is_figure(name) and not same_hand)}
    _check_hashes(store, rest, minutes)
    for name, made in expected.items():
        if name == PAGE:
            _check_page(store, made, same_hand, minutes)
        elif not _is_figure(name):
            minutes.tables += 1
            _check_text(store, name, made, minutes)
        elif same_hand and (found := _read(store, name, minutes)) is not None and found != made:
            minutes.find(name, "another picture", "what the rows give when it is drawn again")
    told = {entry.file.partition(":")[0] for entry in minutes.found}
    for name, value in known.items():
        if name not in rest and name not in told and store.hash_of(name) != value:
            minutes.find(RECORD, f"that {name} has the hash {value[:12]}", store.hash_of(name)[:12])
    if record and RECORD not in told and not told & known.keys() and record["key"] != key:
        minutes.find(RECORD, f"that the report was made from {record['key'][:12]}", f"{key[:12]}; advrun report CONFIG makes it anew")


def _is_figure(name: str) -> bool:
    return name.startswith("figures/")


def _same_hand(store: Untouched, expected: Mapping[str, bytes]) -> bool:
    """Whether figures are drawn here as they were there: one at least is the same to the last byte."""
    figures = {name: content for name, content in expected.items() if _is_figure(name)}
    return not figures or any(_content(store, name) == content for name, content in figures.items())


def _content(store: Untouched, name: str) -> bytes | None:
    try:
        return bytes_of(store.root, name, LARGEST)
    except (OSError, AdvrunError):
        return None


def _read(store: Untouched, name: str, minutes: Minutes) -> bytes | None:
    content = _content(store, name)
    if content is None:
        said = store.hash_of(name)
        minutes.find(name, said if said.startswith(NOTHING) else "nothing that can be read", "what the rows give")
    return content


def _check_hashes(store: Untouched, known: Mapping[str, str], minutes: Minutes) -> None:
    for name, value in known.items():
        found = store.hash_of(name)
        if found != value:
            says = found if found.startswith(NOTHING) else f"bytes with the hash {found[:12]}"
            minutes.find(name, says, f"{value[:12]}, which {RECORD} says")


def _check_text(store: Untouched, name: str, expected: bytes, minutes: Minutes) -> None:
    content = _read(store, name, minutes)
    if content is not None and content != expected:
        _tell(name, content, expected, minutes)


def _check_page(store: Untouched, expected: bytes, same_hand: bool, minutes: Minutes) -> None:
    """The page's text, and its figures: where they cannot be drawn alike, they must be those of `figures/`."""
    content = _read(store, PAGE, minutes)
    if content is None:
        return
    content, expected = (BYTES.sub(_inflated, page) for page in (content, expected))
    if same_hand and content == expected:
        return
    before = len(minutes.found)
    _tell(PAGE, PICTURE.sub(b"", content), PICTURE.sub(b"", expected), minutes)
    if same_hand:
        if len(minutes.found) == before:
            minutes.find(PAGE, "other pictures", "those that the rows give when they are drawn again")
        return
    for number, match in enumerate(PICTURE.finditer(content), 1):
        try:
            picture = base64.b64decode(match[1], validate=True)
        except binascii.Error:
            picture = b""
        if not any(_content(store, name) == picture for name in store.hashes if _is_figure(name) and name.endswith(".png")):
            minutes.find(f"{PAGE}: figure {number}", "a picture of its own", "one of figures/")


def _inflated(match: re.Match[bytes]) -> bytes:
    """A hash of what is packed, since another zlib packs the same in other bytes; anything that is not packed well stays as it is."""
    try:
        deflated = base64.b64decode(match[1], validate=True)
        content = zlib.decompressobj().decompress(deflated, INFLATED)
    except (binascii.Error, zlib.error):
        return match[0]
    return hashlib.sha256(content).hexdigest().encode() if base64.b64encode(deflated) == match[1] else match[0]


def _tell(name: str, content: bytes, expected: bytes, minutes: Minutes) -> None:
    """The lines in which a text differs from what it should be."""
    said, should = (text.decode(errors="backslashreplace").split("\n") for text in (content, expected))
    if len(said) == len(should):
        apart: list[tuple[int, str | None, str | None]] = [
            (number, *pair) for number, pair in enumerate(zip(said, should, strict=True), 1) if pair[0] != pair[1]
        ]
    else:
        apart = [next((number, *pair) for number, pair in enumerate(zip_longest(said, should), 1) if pair[0] != pair[1])]
    for number, one, other in apart[:MOST]:
        if one is None or other is None:
            minutes.find(f"{name}:{number}", "nothing: the file ends" if one is None else repr(one[:REACH]), repr((other or "")[:REACH]))
        else:
            minutes.find(f"{name}:{number}", *map(repr, difference(one, other)))
    if len(apart) > MOST:
        minutes.find(name, f"{len(apart) - MOST} lines more that differ", "what the rows give")


def difference(one: str, other: str) -> tuple[str, str]:
    """The places in which two lines differ, from one separator to the next."""
    start = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    most = min(len(one), len(other)) - start
    end = next((place for place in range(most) if one[-1 - place] != other[-1 - place]), most)
    while start and one[start - 1] not in APART:
        start -= 1
    shared = one[len(one) - end :]
    end -= next((place for place, letter in enumerate(shared) if letter in APART), len(shared))
    return one[start : len(one) - end][: 2 * REACH], other[start : len(other) - end][: 2 * REACH]


# Without a report of the same version: numbers alone --------------------------------------------------------------------


def _check_numbers(store: Untouched, results: Sequence[Result], minutes: Minutes) -> None:
    """The rows of accuracy.json and accuracy.csv, each beside the measured row, or worst case, that it is about."""
    known: dict[tuple[Any, ...], list[Row]] = {}
    for result in (*results, *worst_cases(results)):
        known.setdefault(_place_of(_record(result.row)), []).append(result.row)
    for name, read in (("tables/accuracy.json", _json), ("tables/accuracy.csv", _csv)):
        if not store.holds(name):
            continue
        minutes.tables += 1
        try:
            for number, entry in read(bytes_of(store.root, name, LARGEST).decode()):
                _compare(f"{name}:{number}", entry, known, minutes)
        except (OSError, ValueError, KeyError, TypeError, AdvrunError) as error:
            minutes.find(name, f"nothing that is a table of rows ({type(error).__name__}: {error})", "what advrun writes")


def _compare(place: str, entry: Mapping[str, Any], known: Mapping[tuple[Any, ...], list[Row]], minutes: Minutes) -> None:
    rows = known.get(_place_of(entry), [])
    said = entry["accuracy"], *entry["interval"], entry["n"]
    fitting = [(row.accuracy, *row.interval, row.n) for row in rows]
    if not rows:
        minutes.find(place, f"a row of {entry['model']}, {entry['defense']}, {entry['attack']}", "a row that was measured")
    elif not any(max(abs(one - other) for one, other in zip(said, each, strict=True)) <= CLOSE for each in fitting):
        minutes.find(place, f"accuracy {said[0]} ({said[1]} to {said[2]}, n {said[3]})", "{} ({} to {}, n {})".format(*fitting[0]))


def _record(row: Row) -> dict[str, Any]:
    return {**vars(row), "source": crafted_on(row)}


def _place_of(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    names = ("model", "defense", "attack", "threat", "seed", "norm", "target")
    eps = entry["eps"]
    return (*(entry[name] for name in names), None if eps is None else round(eps, 12), entry.get("source") or crafted_on_entry(entry))


def crafted_on_entry(entry: Mapping[str, Any]) -> str:
    """As `accuracy.crafted_on`, where a table has no column for it."""
    if entry["threat"] not in ("static", "adaptive"):
        return ""
    return f"{entry['model']} / {'none' if entry['threat'] == 'static' else entry['defense']}"


def _json(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    return enumerate(json.loads(text), 2)


def _csv(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    lines: Iterable[dict[str, str]] = csv.DictReader(io.StringIO(text))
    for number, line in enumerate(lines, 2):
        numbers = {"accuracy": float(line["accuracy"]), "interval": (float(line["low"]), float(line["high"]))}
        whole = {"seed": int(line["seed"]), "n": int(line["n"]), "eps": float(line["eps"]) if line["eps"] else None}
        yield number, {**line, **numbers, **whole}
