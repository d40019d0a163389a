"""Settings that are mappings themselves: a frozen dataclass in a signature is `{size: 30, channels: bgr}` in YAML.

The dataclass is read as a plugin's signature is: annotations are types and ranges, defaults are defaults, the lines under `Args:` are
the help, and a ConfigError raised by `__post_init__` is a problem of the whole mapping.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from pydantic import Field, GetJsonSchemaHandler, ValidationError, create_model
from pydantic_core import core_schema

from advrun.config.forms import Form, problem, refuse
from advrun.errors import ConfigError
from advrun.registry import argument_notes

T = TypeVar("T")


@dataclass(frozen=True)
class MappingField:
    """Annotation of a field that is an instance of the dataclass `of`: how it is read, and its JSON Schema."""

    of: type

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(form_of_mapping(self.of).__pydantic_core_schema__)

    def read(self, raw: Any) -> Any:
        """The instance that a mapping describes."""
        if isinstance(raw, self.of):
            return raw
        values = vars(form_of_mapping(self.of).model_validate(raw))
        try:
            return self.of(**values)
        except ConfigError as error:
            refuse(problem(str(error)))


def from_mapping(of: type[T], given: T | Mapping[str, Any] | None, name: str) -> T:
    """An instance of the dataclass from a mapping given in Python, None for all defaults. Raises ConfigError, one line per problem."""
    try:
        read: T = MappingField(of).read({} if given is None else _plain_lists(given))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, (name, *item['loc'])))}: {item['msg']}" for item in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from None
    return read


def _plain_lists(given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}


@cache
def form_of_mapping(of: type) -> type[Form]:
    """The form of a dataclass whose fields all have defaults."""
    hints, notes = typing.get_type_hints(of, include_extras=True), argument_notes(_doc(of))
    fields: dict[str, Any] = {
        each.name: (hints[each.name], Field(default=each.default, description=notes.get(each.name, ""))) for each in dataclasses.fields(of)
    }
    form = create_model(of.__name__, __base__=Form, __doc__=_doc(of).split("\n\n")[0], **fields)
    form.noun = "this mapping"
    return form


def _doc(of: type) -> str:
    return inspect.getdoc(of) or ""


def is_mapping(value: Any) -> bool:
    """Whether a setting's value is an instance of a dataclass."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def plain(value: Any) -> Any:
    """The same value with dataclasses as mappings, with all their fields."""
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if is_mapping(value):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    return value
