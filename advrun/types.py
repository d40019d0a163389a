"""The vocabulary of plugin signatures: a signature written with these words is the schema of the plugin's settings.

`registry.py` reads them; YAML, the JSON Schema and `advrun list` follow from them. Everything here is cheap to import.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias

from annotated_types import Ge, Gt, Interval, doc

LARGEST = 10_000_000
"""Of the whole numbers: loops count in int32, and nobody waits for more."""
Count = Annotated[int, Interval(ge=1, le=LARGEST), doc(f"a whole number from 1 to {LARGEST:,}")]
"""A whole number, 1 or more."""
Natural = Annotated[int, Interval(ge=0, le=LARGEST), doc(f"a whole number from 0 to {LARGEST:,}")]
"""A whole number, 0 or more."""
Positive = Annotated[float, Gt(0)]
"""A number above 0."""
NonNegative = Annotated[float, Ge(0)]
"""A number, 0 or more."""
Fraction = Annotated[float, Interval(ge=0, le=1)]
"""A number from 0 to 1."""
Share = Annotated[float, Interval(gt=0, le=1)]
"""A number above 0, at most 1."""
Minority = Annotated[float, Interval(gt=0, le=0.5)]
"""A number above 0, at most 1/2."""

Tensor: TypeAlias = Any
"""A TensorFlow tensor (compiled or eager). Images are (n, height, width, channels) float32 in [0, 1]."""


class Labels:
    """Annotation of `y`, int32 (n,): true labels, which the attack moves away from."""


class Targets:
    """Annotation of `y`, int32 (n,): classes which the attack moves towards. `Labels | Targets`: both forms exist."""


AttackChoice = Annotated[Any, doc("an attack, such as {name: pgd, eps: 8/255}")]
"""A setting that is itself an attack: `{name: pgd, eps: 8/255, steps: 7}` in YAML, `attack.Attack` in the function. Several are a
`tuple[AttackChoice, ...]`, a list in YAML."""


@dataclass(frozen=True)
class SystemName:
    """A system by the labels of its model and of its defence, as threats see it; the defence of an undefended one is "none"."""

    model: str
    defense: str = "none"

    @property
    def defended(self) -> bool:
        return self.defense != "none"

    def __str__(self) -> str:
        return f"{self.model} / {self.defense}" if self.defended else self.model


@dataclass(frozen=True)
class Cost:
    """What an attack asks of the model for one image, at most."""

    gradients: int = 0
    queries: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.gradients + other.gradients, self.queries + other.queries)

    def __str__(self) -> str:
        counts = ((self.gradients, "gradients"), (self.queries, "queries"))
        return " + ".join(
            f"{count:,} {name if count > 1 else name.replace('ies', 'y').removesuffix('s')}" for count, name in counts if count
        )


@dataclass(frozen=True)
class Stage:
    """One attack of a cascade: its name and the settings that differ from its defaults."""

    attack: str
    settings: Mapping[str, Any] = field(default_factory=dict)


Cascade: TypeAlias = tuple[Stage, ...]
"""What an attack made of others returns: each stage attacks the images that survived the stages before."""


Radius: TypeAlias = Any
"""What a bound returns: (n,) float32, 0 or more; or that, and a mapping of further numbers (n,) by name."""


class PathMark:
    """Marks a setting that is a path. A leading `~` is the home folder, here for every setting of every plugin."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(_expanded, handler(source))


def _expanded(path: str) -> str:
    """Raises pydantic's error for a path that would break the line it is named in."""
    if not path.isprintable() and any(ord(each) < ord(" ") for each in path):
        from pydantic_core import PydanticCustomError

        raise PydanticCustomError("wrong", "{text}", {"text": f"got {path!r}; expected a path without control characters"})
    return os.path.expanduser(path)


class Aside:
    """Base of the dataclasses of settings that change no result, such as how long to wait for an answer: they identify no cell."""


class Content:
    """Marks a path setting whose file is part of the result: its bytes, not its name, identify the cell."""


PathName = Annotated[str, PathMark()]
"""Path of a file or a folder."""
FilePath = Annotated[str, Content(), PathMark()]
"""Path of a file that must exist."""


CrafterName = Annotated[str, doc("the name of a white-box attack inside a ball, such as mifgsm")]
"""The name of an attack that can craft on a surrogate model, with its default settings."""
