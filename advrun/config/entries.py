"""What a YAML file chooses from the plugin folders: data set, models, attacks, defences, each with all its settings.

An entry `{name: pgd, eps: 8/255, steps: 20}` is read by a form made for its plugin, with the fields that all entries of the
kind have and the plugin's own settings: types, ranges, defaults and help come from the signature. Only plugins that the
file names are imported; none of them needs TensorFlow for that.
"""

from __future__ import annotations

import dataclasses
import logging
import operator
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial, reduce
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Interval, MinLen, doc
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    create_model,
    field_validator,
)
from pydantic_core import core_schema

from advrun import registry
from advrun.config.forms import ANNOTATIONS, Form, problem, refuse, words
from advrun.config.mappings import MappingField
from advrun.config.sweeps import can_be_swept, several, swept
from advrun.config.yamlfile import show
from advrun.errors import ConfigError, PluginError
from advrun.registry import Plugin, Setting
from advrun.types import AttackChoice, Count, CrafterName, Natural, Positive

Name = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"),
    doc("a name of at most 100 letters, digits, '_', '.' and '-', the first a letter or digit"),
]
"""Text that can name a file or a folder."""


def _within_images(eps: float, info: ValidationInfo) -> float:
    """Catch 8 where 8/255 was meant."""
    if info.data.get("norm") == "linf" and eps > 1:
        levels = eps if eps.is_integer() else 255 / eps  # 255/8 is 8/255 the wrong way round
        remedy = f"write {levels:g}/255" if eps <= 255 else "it is at most 1"
        refuse(problem(f"eps is {eps:g}; images are in [0, 1], so {remedy}"))
    if info.data.get("norm") == "l0" and eps < 1:
        refuse(problem(f"eps is {eps:g}; in L0 it is how many values may change, 1 or more"))
    return eps


def _lower(text: Any) -> Any:
    """Linf, as the field writes it, is linf."""
    return text.lower() if isinstance(text, str) else text


Eps = Annotated[Positive, AfterValidator(_within_images), doc("a number > 0, such as 8/255")]


def _crafter(name: str) -> str:
    try:
        return registry.crafter(name).name
    except ConfigError:
        refuse(problem(f"got {show(name)}; expected {words(CrafterName)}"))


Radii = several(Eps, "a number > 0, such as 8/255, or a list of them")
"""One eps or several, as a tuple."""
Target = Literal["random", "least_likely", "second", "all"] | Natural | None


# What the runner sees ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataEntry:
    """The data set. validation: share of the training tracks held out. Limits: at most that many images, None for all."""

    name: str
    settings: Mapping[str, Any]
    validation: float
    train_limit: int | None
    test_limit: int | None


@dataclass(frozen=True)
class ModelEntry:
    """A classifier. train: how it is trained; None for one that can only come trained."""

    name: str
    label: str
    settings: Mapping[str, Any]
    train: Training | None = None


@dataclass(frozen=True)
class InnerAttack:
    """An attack inside a defence. eps: None for attacks without a ball, norm: "" for those without a norm."""

    name: str
    settings: Mapping[str, Any]
    norm: str = ""
    eps: float | None = None


@dataclass(frozen=True)
class AttackEntry:
    """An attack. norm, eps: its balls, one after the other; empty for attacks without. examples: how many images, None for all.

    source_class: the class whose images it concerns, None for all. draws: of a random system, None for those of the experiment.
    """

    name: str
    label: str
    settings: Mapping[str, Any]
    norm: str = ""
    eps: tuple[float, ...] = ()
    target: str | int | None = None
    examples: int | None = None
    source_class: int | None = None
    draws: int | None = None


@dataclass(frozen=True)
class DefenseEntry:
    """A defence. train: how its networks are trained, None where it trains none. after: what it is applied upon, None for the first."""

    name: str
    label: str
    settings: Mapping[str, Any]
    train: Training | None = None
    after: DefenseEntry | None = None

    @property
    def chain(self) -> tuple[DefenseEntry, ...]:
        """All that is applied, the first first."""
        return (*(self.after.chain if self.after else ()), self)


@dataclass(frozen=True)
class ThreatEntry:
    """A threat."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class BoundEntry:
    """A bound. norm: in which it says how far. target: None, or the class whose distance it is about. examples: None for all images."""

    name: str
    label: str
    settings: Mapping[str, Any]
    norm: str
    target: str | int | None = None
    examples: int | None = None


# What a person may write beside the plugin's own settings ------------------------------------------------------------


class EntryForm(Form):
    """A mapping that names a plugin. Forms of one plugin are subclasses, made by `form`."""

    refused: ClassVar[Mapping[str, str]] = {"preset": "has no presets"}

    @classmethod
    def fields_for(cls, plugin: Plugin) -> dict[str, Any]:
        """Fields that depend on the plugin, beside its settings: name -> (type, pydantic Field)."""
        return {}

    @classmethod
    def setting_type(cls, annotation: Any) -> Any:
        """What may be written for a setting of this annotation."""
        return _typed(annotation)


class DataForm(EntryForm):
    """The data set."""

    validation: Annotated[float, Interval(ge=0, lt=1)] = Field(default=0.1, description="Share of the training tracks held out.")
    train_limit: Count | None = Field(default=None, description="At most this many training images, drawn at random.")
    test_limit: Count | None = Field(default=None, description="At most this many test images, drawn at random.")


class LabelledForm(EntryForm):
    """An entry of a list."""

    @classmethod
    def fields_for(cls, plugin: Plugin) -> dict[str, Any]:
        return {"label": (Name, Field(default=plugin.name, description="What tables call it."))}


class ModelForm(LabelledForm):
    """A classifier."""

    refused: ClassVar[Mapping[str, str]] = {**EntryForm.refused, "train": "comes trained: there is nothing to train"}

    @classmethod
    def fields_for(cls, plugin: Plugin) -> dict[str, Any]:
        train = Field(default=Training(), description="Training settings that differ from those of the experiment.")
        return super().fields_for(plugin) | ({"train": (Training, train)} if plugin.arguments else {})


class DefenseForm(LabelledForm):
    """A defence."""

    @classmethod
    def setting_type(cls, annotation: Any) -> Any:
        """A number, or a list of them: the defence at several strengths."""
        return swept(annotation, words(annotation)) if can_be_swept(annotation) else _typed(annotation)

    refused: ClassVar[Mapping[str, str]] = {**LabelledForm.refused, "train": "trains nothing"}

    @classmethod
    def fields_for(cls, plugin: Plugin) -> dict[str, Any]:
        train = Field(default=Training(), description="Training settings that differ from those of the experiment.")
        return super().fields_for(plugin) | ({"train": (Training, train)} if plugin.takes_fit else {})


def _norm(plugin: Plugin) -> tuple[Any, Any]:
    """The field `norm` of what measures in one of several."""
    both = WithJsonSchema({"enum": [*plugin.norms, *map(str.title, plugin.norms)], "type": "string"})
    field = Field(default=plugin.norms[0], description="How the size of the change is measured.")
    return Annotated[Literal[plugin.norms], BeforeValidator(_lower), both], field


class BoundForm(LabelledForm):
    """A bound: how far no attack can reach."""

    refused: ClassVar[Mapping[str, str]] = {
        **LabelledForm.refused,
        "eps": "takes no eps: it says for each image how far it holds",
        "target": "has no targeted form",
    }
    examples: Count | None = Field(default=None, description="Bound only the first images of the evaluation order.")

    @classmethod
    def fields_for(cls, plugin: Plugin) -> dict[str, Any]:
        target = Field(default=None, description="The class whose distance is wanted, instead of that of the nearest.")
        goals = Literal["random", "least_likely", "second"] | Natural | None
        fields = super().fields_for(plugin) | {"norm": _norm(plugin)}
        return fields | ({"target": (goals, target)} if plugin.can_target else {})


class ThreatForm(EntryForm):
    """A threat: which examples meet which system."""


class InnerAttackForm(EntryForm):
    """An attack inside a defence: one norm, one eps."""

    refused: ClassVar[Mapping[str, str]] = {
        **EntryForm.refused,
        "eps": "takes no eps: it is not bounded by a ball",
        "norm": "has no norm: its own settings bound the change",
        "target": "has no target inside a defence",
    }
    eps_type: ClassVar[Any] = Eps

    @classmethod
    def fields_for(cls, plugin: Plugin) -> dict[str, Any]:
        if not plugin.norms:
            return super().fields_for(plugin)
        eps = Field(description="Largest change in this norm; images are in [0, 1].")
        fields = {"norm": _norm(plugin), "eps": (cls.eps_type, eps)}
        return super().fields_for(plugin) | (fields if plugin.needs_eps else {"norm": fields["norm"]})


class AttackForm(InnerAttackForm, LabelledForm):
    """An attack that is measured."""

    refused: ClassVar[Mapping[str, str]] = {
        **InnerAttackForm.refused,
        "target": "has no targeted form",
        "draws": "sees no gradients: a random system answers each of its questions by one draw",
        "source_class": "attacks all classes: a worst case is over the same images for every attack in a norm",
    }
    eps_type: ClassVar[Any] = Radii
    examples: Count | None = Field(default=None, description="Attack only the first images of the evaluation order.")

    @classmethod
    def fields_for(cls, plugin: Plugin) -> dict[str, Any]:
        draws = Field(default=None, description="Draws of a random system that each gradient is a mean over; the experiment's by default.")
        target = Field(default=None, description="The class to reach, where the attack shall not just leave the true one.")
        fields = super().fields_for(plugin) | ({"target": (Target, target)} if plugin.can_target else {})
        fields |= {"draws": (Count | None, draws)} if plugin.access == "gradients" else {}
        source = Field(default=None, description="Attack images of this class alone, and learn from such alone.")
        return fields if plugin.norms else fields | {"source_class": (Natural | None, source)}


# From the signature to the form --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PluginField:
    """Annotation of a field that names a plugin of one folder: how it is read, and its JSON Schema. bare: a name alone will do."""

    kind: str
    form: type[EntryForm]
    documentation: str
    bare: bool = False

    def __get_pydantic_core_schema__(self, result: Any, _: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(partial(self.read, result))

    def __get_pydantic_json_schema__(self, _: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        forms = [form for name in registry.names(self.kind) if (form := self._whole(name)) is not None]
        choices: list[Any] = [{**form.__pydantic_core_schema__, "ref": form.__name__} for form in forms]
        names = [core_schema.literal_schema(registry.names(self.kind))] if self.bare else []
        return handler(core_schema.union_schema([*names, *choices]))

    def _whole(self, name: str) -> type[EntryForm] | None:
        """The form of one plugin; None, with a warning, where its file is broken, which takes no other out of the schema."""
        try:
            return form_of(self.kind, name, self.form)
        except PluginError as error:
            logging.getLogger("advrun").warning("%s", error)
            return None

    def read(self, result: Any, raw: Any) -> Any:
        """An instance of the dataclass `result`, with the settings of the plugin complete: default, then preset, then given."""
        alone = self.bare and isinstance(raw, str)
        raw = {"name": raw} if alone else raw
        if not isinstance(raw, dict):
            refuse(problem(f"got {show(raw)}; expected {self.documentation}"))
        name = raw.get("name")
        if not isinstance(name, str):
            got = f"got {show(name)}" if "name" in raw else "missing"
            words = {word for key in raw for word in re.split(r"\W", key)}  # of {pgd: {eps: 8/255}}, and of {name:pgd}
            meant = next((f"write {{name: {each}, ...}}" for each in registry.names(self.kind) if each in words), "")
            refuse(problem(f"{got}; {meant or f'expected {self.documentation}; `advrun list {self.kind}` has all names'}", "name"))
        try:
            plugin = registry.get(self.kind, name)
        except ConfigError as error:
            refuse(problem(str(error), *([] if alone else ["name"])))
        settings, common = complete(plugin, raw, self.form)
        return result(settings=settings, **common)


def complete(plugin: Plugin, raw: Mapping[str, Any], base: type[EntryForm]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plugin's settings (default, then preset, then given), and the other fields of its form. Raises ValidationError."""
    preset = raw.get("preset")
    chosen = plugin.presets.get(preset, {}) if isinstance(preset, str) else {}
    values = vars(form_of(plugin.kind, plugin.name, base).model_validate({**chosen, **raw}))
    settings = {key: values[key] for key in plugin.settings}
    if (nonsense := plugin.nonsense(settings)) is not None:
        refuse(problem(nonsense[1], nonsense[0]))
    return settings, {key: value for key, value in values.items() if key not in settings and key != "preset"}


def settings_of(plugin: Plugin, given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a plugin called from Python; `given` may name a preset. Raises ConfigError, one line per problem."""
    try:
        return complete(plugin, {"name": plugin.name, **given}, EntryForm)[0]
    except ValidationError as error:
        lines = [f"{plugin.name}: {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from None


DATA = PluginField("datasets", DataForm, "a data set, such as {name: signs}")
MODEL = PluginField("models", ModelForm, "a model, such as {name: lnet}")
ATTACK = PluginField("attacks", AttackForm, "an attack, such as {name: pgd, eps: 8/255}")
DEFENSE = PluginField("defenses", DefenseForm, "a defence, such as {name: autoencoder}")
THREAT = PluginField("threats", ThreatForm, "a threat, such as adaptive or {name: transfer}", bare=True)
BOUND = PluginField("bounds", BoundForm, "a bound, such as {name: smoothing, sigma: 0.25}")
INNER_ATTACK = PluginField("attacks", InnerAttackForm, "an attack, such as {name: pgd, eps: 8/255}")
MONITOR_ATTACK = {"name": "pgd", "eps": 8 / 255, "steps": 10, "step_size": 0.25}
"""What `monitor: robust_accuracy` looks at, where no other attack is named."""


class Training(Form):
    """How networks are trained, by Adam on mini-batches."""

    noun = "train"
    epochs: Count = Field(default=20, description="Passes through the training images, at most.")
    batch_size: Count = Field(default=128, description="Images in one optimiser step.")
    learning_rate: Positive = Field(default=1e-3, description="Step size of Adam.")
    patience: Count = Field(default=5, description="Stop after this many epochs without a better validation value.")
    half: Literal["a", "b", "all"] = Field(
        default="all", description="Train on one of two halves of the training tracks, which share none, or on all of them."
    )
    schedule: Literal["constant", "cosine", "cyclic", "piecewise"] | None = Field(
        default=None,
        description="How the learning rate moves over all epochs, to 0 at their end; null: as the defence says, else constant.",
    )
    ema: Annotated[float, Interval(ge=0, lt=1)] = Field(
        default=0.0, description="Decay of a moving average of the weights, such as 0.999, which is what is evaluated; 0 for none."
    )
    monitor: Literal["own", "robust_accuracy"] = Field(
        default="own",
        description="What chooses the best epoch on the validation images: a value of the defence's own, or accuracy under attack.",
    )
    monitor_attack: Annotated[InnerAttack, INNER_ATTACK] | None = Field(
        default=None, description="The attack of robust_accuracy; null: PGD at 8/255, 10 steps of a quarter."
    )

    @field_validator("monitor_attack")
    @classmethod
    def _monitor_attack_is_quick(cls, attack: InnerAttack | None, known: ValidationInfo) -> InnerAttack | None:
        if attack is None:
            return None
        plugin = registry.get("attacks", attack.name)
        if known.data.get("monitor") == "own":
            refuse(problem("it is of use with monitor: robust_accuracy alone; add that, or leave it out"))
        if not plugin.needs_eps:
            refuse(problem(f"{attack.name!r} has no eps: it goes as far as it needs, and leaves no image right; take pgd or fgsm"))
        if plugin.is_cascade or plugin.fit or plugin.in_python:
            refuse(problem(f"{attack.name!r} is more than one function of a batch; take pgd or fgsm"))
        return attack

    @property
    def robust_attack(self) -> InnerAttack | None:
        """What the validation images are attacked with; None where they are not."""
        if self.monitor == "own":
            return None
        attack: InnerAttack = self.monitor_attack or INNER_ATTACK.read(InnerAttack, MONITOR_ATTACK)
        return attack

    def identity(self) -> dict[str, Any]:
        """The settings as they identify a result; those that came later only where they say something. The attack is left to its reader."""
        given = self.model_dump(exclude={"monitor_attack"})
        later = {name: self.__class__.model_fields[name].default for name in ("half", "schedule", "ema", "monitor")}
        return {name: value for name, value in given.items() if name not in later or value != later[name]}


@cache
def form_of(kind: str, name: str, base: type[EntryForm]) -> type[EntryForm]:
    """The form of one plugin. Raises PluginError when its signature cannot be written in YAML."""
    plugin = registry.get(kind, name)
    fields = {"name": (Literal[name], Field(description=plugin.summary)), **base.fields_for(plugin)}
    if plugin.presets:
        preset = Field(default=None, description="Settings by name; those given beside it win.")
        fields["preset"] = (Literal[tuple(plugin.presets)] | None, preset)
    for key, setting in plugin.settings.items():
        if key in fields or hasattr(base, key) or key in base.model_fields:
            raise PluginError(f"{registry.place(kind, name)}: a setting cannot be called {key!r}")
        fields[key] = _field(plugin, setting, base)
    form = create_model(f"{base.__name__.removesuffix('Form')}_{name}", __base__=base, __doc__=plugin.summary, **fields)
    form.noun = f"{kind[:-1]} {name!r}"
    return form


def _field(plugin: Plugin, setting: Setting, base: type[EntryForm]) -> tuple[Any, Any]:
    place = f"{registry.place(plugin.kind, plugin.name)}: setting {setting.name!r}"
    if setting.annotation is Any:
        raise PluginError(f"{place} has no annotation that says what it takes; give it one of {ANNOTATIONS}")
    try:
        expected = words(setting.annotation)
    except TypeError as error:
        raise PluginError(f"{place}: {error}") from None
    if setting.required:
        return base.setting_type(setting.annotation), Field(description=setting.help)
    try:
        if not setting.is_attack:
            TypeAdapter(_typed(setting.annotation)).validate_python(setting.default)
    except ValidationError:
        raise PluginError(f"{place}: its default is {setting.default!r}; expected {expected}") from None
    return base.setting_type(setting.annotation), Field(default=setting.default, description=setting.help)


def _typed(annotation: Any) -> Any:
    """The annotation in what pydantic can read and check."""
    if annotation == CrafterName:
        return Annotated[annotation, AfterValidator(_crafter)]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return reduce(operator.or_, map(_typed, typing.get_args(annotation)))
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return Annotated[annotation, MappingField(annotation)]
    if annotation == tuple[AttackChoice, ...]:
        return Annotated[tuple[Annotated[InnerAttack, INNER_ATTACK], ...], MinLen(1)]
    return Annotated[InnerAttack, INNER_ATTACK] if annotation == AttackChoice else annotation
