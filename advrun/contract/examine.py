"""One unit held to the contract of its kind, promise by promise."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from advrun import engine, registry
from advrun.contract.promise import Inapplicable, Promise, name_of
from advrun.errors import AdvrunError
from advrun.runs.hand import place


@dataclass(frozen=True)
class Finding:
    """What became of a promise. fate: "ok", "broken" or "skipped". case: what it was tried with, a norm for example."""

    promise: str
    fate: str
    case: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.fate:<7} {' '.join(filter(None, (self.case, self.promise)))}" + (f": {self.reason}" if self.reason else "")


def examine(kind: str, name: str, given: Mapping[str, Any]) -> Iterator[Finding]:
    """Hold a unit to its contract; `given` are settings in place of its defaults.

    Raises PluginError when its file cannot be imported, ConfigError when it needs settings that are not given.
    """
    contract = importlib.import_module(f"advrun.contract.{kind}")
    for label, promises, case in contract.cases(registry.get(kind, name), given):
        for promise in promises:
            yield _finding(promise, label, case)


def _finding(promise: Promise, label: str, case: Any) -> Finding:
    engine.start(0)
    try:
        promise(case)
    except Inapplicable as reason:
        return Finding(name_of(promise), "skipped", label, str(reason))
    except AdvrunError as error:
        return Finding(name_of(promise), "broken", label, str(error))
    except Exception as error:  # what anybody's code raises breaks the promise that was tried
        return Finding(name_of(promise), "broken", label, f"{place(error)}{engine.reason(error)}")
    return Finding(name_of(promise), "ok", label)
