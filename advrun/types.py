"""The vocabulary of plugin signatures: a signature written with these words is the schema of the plugin's settings.

`registry.py` reads them; YAML, the JSON Schema and `advrun list` follow from them. Everything here is cheap to import.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from annotated_types import Ge, Gt, Interval, doc

Count = Annotated[int, Ge(1)]
"""A whole number, 1 or more."""
Natural = Annotated[int, Ge(0)]
"""A whole number, 0 or more."""
Positive = Annotated[float, Gt(0)]
"""A number above 0."""
NonNegative = Annotated[float, Ge(0)]
"""A number, 0 or more."""
Fraction = Annotated[float, Interval(ge=0, le=1)]
"""A number from 0 to 1."""

Tensor: TypeAlias = Any
"""A TensorFlow tensor (compiled or eager). Images are (n, height, width, channels) float32 in [0, 1]."""


class Labels:
    """Annotation of `y`, int32 (n,): true labels, which the attack moves away from."""


class Targets:
    """Annotation of `y`, int32 (n,): classes which the attack moves towards. `Labels | Targets`: both forms exist."""


AttackChoice = Annotated[Any, doc("an attack, such as {name: pgd, eps: 8/255}")]
"""A setting that is itself an attack: `{name: pgd, eps: 8/255, steps: 7}` in YAML, `evaluate.Attack` in the function."""


class Content:
    """Marks a path setting whose file is part of the result: its bytes, not its name, identify the cell."""


FilePath = Annotated[str, Content()]
"""Path of a file that must exist."""
