"""From signatures to what a file may say: types in words, forms of every plugin, and signatures that are refused."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Interval

from advrun import registry
from advrun.config.entries import ATTACK, DATA, DEFENSE, INNER_ATTACK, MODEL, ModelForm, form_of
from advrun.config.forms import words
from advrun.errors import PluginError
from advrun.registry import Plugin, Setting
from advrun.types import AttackChoice, Count, FilePath, Fraction, NonNegative, Positive


@pytest.mark.parametrize("entry", [DATA, MODEL, ATTACK, DEFENSE], ids=lambda entry: entry.kind)
def test_defaults_and_presets_of_every_plugin_are_valid(entry):
    for name in registry.names(entry.kind):
        plugin = registry.get(entry.kind, name)
        for preset in [{}, *plugin.presets.values()]:
            required = {key: "x" for key, setting in plugin.settings.items() if setting.required}
            eps = {"eps": 1} if entry.kind == "attacks" and plugin.needs_eps else {}
            form_of(entry.kind, name, entry.form).model_validate({"name": name, **required, **eps, **preset})


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Count, "a whole number from 1 to 10,000,000"),
        (Positive, "a number > 0"), (NonNegative, "a number >= 0"), (Fraction, "a number >= 0 and <= 1"),
        (Annotated[float, Interval(gt=0, lt=1)], "a number > 0 and < 1"), (bool, "true or false"), (str, "text"), (FilePath, "text"),
        (Literal["a", "b"], "one of a, b"), (Literal["a"], "a"), (Count | None, "a whole number from 1 to 10,000,000, or null"),
        (tuple[Positive, ...], "a list, each a number > 0"), (AttackChoice, INNER_ATTACK.documentation),
    ],
)  # fmt: skip
def test_annotations_in_words(annotation, text):
    assert words(annotation) == text


@pytest.mark.parametrize("annotation", [dict, list[int], complex, Any, tuple[int, int], "Count"])
def test_annotations_that_yaml_cannot_give_are_refused(annotation):
    with pytest.raises(TypeError, match="is not one of int, float"):
        words(annotation)


@pytest.mark.parametrize(("name", "annotation"), [("label", str), ("schema", str), ("width", dict)])
def test_plugins_that_yaml_cannot_configure_are_refused(monkeypatch, name, annotation):
    with pytest.raises(PluginError, match=rf"advrun/models/broken.py: (a setting cannot be called|setting) '{name}'"):
        form_with(monkeypatch, Setting(name, annotation, None, ""))


def test_a_setting_without_annotation_is_told_so(monkeypatch):
    with pytest.raises(PluginError, match=r"setting 'width' has no annotation that says what it takes; give it one of int, float"):
        form_with(monkeypatch, Setting("width", Any, 3, ""))


@pytest.mark.parametrize(("annotation", "default"), [(Count, 0), (Fraction, 2.0), (Literal["a", "b"], "c"), (Count, None)])
def test_defaults_that_a_person_could_not_write_are_refused(monkeypatch, annotation, default):
    message = f"advrun/models/broken.py: setting 'width': its default is {default!r}; expected {words(annotation)}"
    with pytest.raises(PluginError, match=re.escape(message)):
        form_with(monkeypatch, Setting("width", annotation, default, ""))


def form_with(monkeypatch, setting: Setting):
    """The form of a model with this one setting."""
    monkeypatch.setattr(registry, "get", lambda kind, name: Plugin("models", "broken", len, {setting.name: setting}, {}, {}))
    return form_of.__wrapped__("models", "broken", ModelForm)
