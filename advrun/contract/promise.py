"""What a promise is, and the ones that units of every kind make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from advrun import folders
from advrun.config.describe import SECTIONS
from advrun.config.entries import form_of, settings_of
from advrun.errors import PluginError
from advrun.registry import Plugin

Promise = Callable[[Any], None]
"""A function of a unit and what it is tried with (each kind has its own); it raises Broken or Inapplicable."""

EXCEPTIONS = ("settings", "boundary", "ratio", "rounding", "surrogate", "epochs")
"""What a file may say of itself in its constant CONTRACT; `attacks/README.md` and `models/README.md` explain them."""


class Broken(PluginError):
    """A unit does not keep a promise of the contract."""


class Inapplicable(Exception):
    """A unit makes no such promise."""


def hold(condition: Any, sentence: str) -> None:
    """Raise Broken with the sentence, which says what is wrong, unless the condition holds."""
    if not condition:
        raise Broken(sentence)


def name_of(promise: Promise) -> str:
    """The promise in words."""
    return promise.__name__.replace("_", " ")


def exceptions(plugin: Plugin) -> Mapping[str, Any]:
    """What the file says in CONTRACT. Raises Broken for words that mean nothing."""
    said: Mapping[str, Any] = getattr(plugin.module, "CONTRACT", {})
    for key in said:
        hold(key in EXCEPTIONS, f"CONTRACT says {key!r}; known: {', '.join(EXCEPTIONS)}")
    return said


def documented(plugin: Plugin) -> None:
    """The function says what it does, every setting is explained, and the presets fit the signature."""
    hold(plugin.summary, f"the function {plugin.name} has no docstring; its first sentence is what `advrun list {plugin.kind}` prints")
    for setting in plugin.settings.values():
        hold(setting.help, f"setting {setting.name!r} has no line under Args: in the docstring")
    for section in SECTIONS.values():
        if section.kind == plugin.kind:
            form_of(plugin.kind, plugin.name, section.form)
    for preset in () if any(setting.required for setting in plugin.settings.values()) else plugin.presets:
        settings_of(plugin, {"preset": preset})


def names_its_source(plugin: Plugin) -> None:
    """The file names the paper that it follows, if it is advrun's; one's own may be of no paper yet."""
    if not plugin.path.is_relative_to(folders.PACKAGE):
        return
    source = plugin.path.read_text(encoding="utf-8")
    hold("arXiv:" in source or "doi:" in source, "the file names no paper: write arXiv:NUMBER or doi:NUMBER into its first line")
