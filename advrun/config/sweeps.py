"""One value or a list of them: an attack at several eps, a defence at several strengths."""

from __future__ import annotations

import typing
from typing import Annotated, Any

from annotated_types import MinLen, doc
from pydantic import AfterValidator, BeforeValidator

from advrun.config.forms import problem, refuse


def several(of: Any, said: str) -> Any:
    """The type of one value or a list of them, all different; read as a tuple. said: what it expects, in words."""
    many = Annotated[tuple[of, ...], MinLen(1), AfterValidator(_no_repeats)]
    return Annotated[many, BeforeValidator(_as_tuple, json_schema_input_type=of | many), doc(said)]


def can_be_swept(annotation: Any) -> bool:
    """Whether a setting is a number, so that a list of values means one after the other."""
    bare = typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation
    return bare in (int, float)


def swept(annotation: Any, said: str) -> Any:
    """The type of a number, or of a list of them; a list of one is that number."""
    return Annotated[several(annotation, f"{said}, or a list of them"), AfterValidator(_alone)]


def _as_tuple(value: Any) -> Any:
    return value if isinstance(value, tuple) else (value,)


def _alone(values: tuple[Any, ...]) -> Any:
    return values[0] if len(values) == 1 else values


def _no_repeats(values: tuple[float, ...]) -> tuple[float, ...]:
    repeated = [problem(f"{value:g} is listed twice", i) for i, value in enumerate(values) if value in values[:i]]
    if repeated:
        refuse(*repeated)
    return values
