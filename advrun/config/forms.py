"""Strict pydantic models of the mappings in a YAML file, whose errors are sentences for the person who wrote the file."""

from __future__ import annotations

import dataclasses
import itertools
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Self

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from advrun.config.yamlfile import number, scalar, show
from advrun.errors import did_you_mean

UNKNOWN = "unknown"
"""Error type of a key that does not exist: its place is that of the key, not of the value."""
WRONG = "wrong"
"""Error type of everything else."""


def problem(text: str, *at: str | int, kind: str = WRONG) -> InitErrorDetails:
    """One sentence about the value `at` a path below the value being validated."""
    return InitErrorDetails(type=PydanticCustomError(kind, "{text}", {"text": text}), loc=at, input=None)


def refuse(*problems: InitErrorDetails) -> NoReturn:
    """Raise problems from inside a validator; pydantic puts the path of the validated value before theirs."""
    raise ValidationError.from_exception_data("configuration", list(problems)) from None


class Form(BaseModel):
    """A mapping of the YAML file: strict types (true is no number, "3" is text), no unknown keys, nothing changes later."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)
    noun: ClassVar[str]
    """What messages call it: `attack 'pgd'`."""
    refused: ClassVar[Mapping[str, str]] = {}
    """Keys of similar mappings that do not exist here, with the rest of a sentence that begins with `noun`."""

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, raw: Any, read: Callable[[Any], Self]) -> Self:
        try:
            return read(raw)
        except ValidationError as error:
            errors = error.errors(include_url=False)
        misspelt = cls._nearest(str(item["loc"][0]) for item in errors if item["type"] == "extra_forbidden")
        problems = [cls._in_words(item) for item in errors if item["type"] != "missing" or item["loc"][0] not in misspelt]
        by_path = {each["loc"]: each for each in problems}  # the members of a union say the same twice
        outer = {path[:end] for path in by_path for end in range(len(path))}  # lists shorter by their wrong items
        refuse(*[each for path, each in by_path.items() if path not in outer])

    @classmethod
    def _nearest(cls, unknown: Iterable[str]) -> set[str]:
        """The keys that were probably meant; that they are missing needs no message of its own."""
        return {near for key in unknown for near in get_close_matches(key, cls.model_fields, n=1, cutoff=0.5)}

    @classmethod
    def _in_words(cls, error: Any) -> InitErrorDetails:
        """pydantic's error as a sentence: the value received, and what was expected."""
        kind, path, value = error["type"], error["loc"], error["input"]
        if kind in (UNKNOWN, WRONG):
            return problem(error["msg"], *path, kind=kind)
        if not path:
            return problem(f"got {show(value)}; expected a mapping of settings")
        name = path[0]
        if kind == "extra_forbidden":
            if name in cls.refused:
                return problem(f"{cls.noun} {cls.refused[name]}", name, kind=UNKNOWN)
            return problem(f"unknown setting {show(name)} of {cls.noun}{did_you_mean(name, cls.model_fields)}", name, kind=UNKNOWN)
        expected = annotated_type(cls.model_fields[name])
        if kind == "missing":
            return problem(f"missing; expected {words(expected)}", name)
        inside = list(itertools.takewhile(lambda step: isinstance(step, int), path[1:]))
        for _ in inside:
            expected = typing.get_args(_bare(expected))[0]  # of a list's items
        return problem(_mismatch(value, expected), name, *inside)


def _mismatch(value: Any, expected: Any) -> str:
    text = f"got {show(value)}; expected {words(expected)}"
    if isinstance(value, (bool, int, float)) and _bare(expected) is str:
        return f"{text}, in quotes"
    if isinstance(value, str) and _bare(expected) is not str and not isinstance(scalar(value), str):
        return f"{text}, without quotes"
    return text


# Annotations in words ------------------------------------------------------------------------------------------------

ANNOTATIONS = "int, float, bool, str, Literal[...], tuple[T, ...], T | None, advrun.types, and a dataclass of these"
"""What a setting may be annotated with."""
_BASIC = {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "null"}


def words(annotation: Any) -> str:
    """What a setting expects, for a person: `a number >= 0 and <= 1`. Raises TypeError for types that YAML cannot give."""
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        said = [mark.documentation for mark in members[1:] if hasattr(mark, "documentation")]
        return said[0] if said else " ".join(filter(None, (words(members[0]), " and ".join(_bounds(members[1:])))))
    if origin is Literal:
        return ("one of " if len(members) > 1 else "") + ", ".join(map(str, members))
    if origin in (typing.Union, types.UnionType):
        return ", or ".join(map(words, members))
    if origin is tuple and members[1:] == (...,):
        return f"a list, each {words(members[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Form):
        return "a mapping of settings"
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return f"a mapping of {', '.join(field.name for field in dataclasses.fields(annotation))}"
    if annotation in _BASIC:
        return _BASIC[annotation]
    raise TypeError(f"the annotation {annotation} is not one of {ANNOTATIONS}")


def _bounds(metadata: tuple[Any, ...]) -> list[str]:
    marks = itertools.chain.from_iterable(mark if isinstance(mark, GroupedMetadata) else [mark] for mark in metadata)
    signs = ((Ge, ">=", "ge"), (Gt, ">", "gt"), (Le, "<=", "le"), (Lt, "<", "lt"))
    return [f"{sign} {number(getattr(mark, name))}" for mark in marks for of, sign, name in signs if isinstance(mark, of)]


def annotated_type(info: FieldInfo) -> Any:
    """What the field was annotated with, before pydantic took it apart."""
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation


def _bare(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation
