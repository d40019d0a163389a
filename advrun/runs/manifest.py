"""What a finished cell left behind, and the seal over it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from advrun.files import content_key, read_json


@dataclass(frozen=True)
class Manifest:
    """What a finished cell left behind.

    files: path relative to the results folder -> digest. inputs: key -> output of the cells it was made from. info: anything
    worth keeping. On disk there is a seal too, a hash of all this: a manifest that was changed by hand is damaged.
    """

    key: str
    label: str
    files: Mapping[str, str]
    inputs: Mapping[str, str]
    info: Mapping[str, Any]

    @cached_property
    def output(self) -> str:
        """One hash for all files of the cell."""
        return content_key(dict(self.files))

    def has(self, ending: str) -> bool:
        """Whether a file of this ending is among its files."""
        return any(name.endswith(ending) for name in self.files)

    def to_json(self) -> str:
        content = json.loads(json.dumps(asdict(self)))
        return json.dumps({**content, "seal": content_key(content)}, indent=1)

    @classmethod
    def read(cls, path: Path) -> Manifest | None:
        """The manifest in a file, or None where an earlier version wrote it. Raises ValueError for anything else, and FileNotFoundError."""
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError("no manifest")
        if "seal" not in content:
            return None
        if content.pop("seal") != content_key(content):
            raise ValueError("changed by hand")
        return cls.of(content)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Manifest:
        """The manifest of its fields. Raises ValueError where they are others, or of other types."""
        if content.keys() != TYPES.keys() or not all(map(isinstance, map(content.get, TYPES), TYPES.values())):
            raise ValueError("no manifest")
        if not {*map(type, content["files"].values()), *map(type, content["inputs"].values())} <= {str}:
            raise ValueError("no manifest")
        return cls(**content)


TYPES = {"key": str, "label": str, "files": dict, "inputs": dict, "info": dict}
"""Of the fields of a manifest."""
