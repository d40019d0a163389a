"""The folder is the registry: `attacks/pgd.py` holds the function `pgd`, which YAML calls `pgd`. Nothing else lists it.

The function's signature is its schema. Keyword-only parameters are the settings a person may write in YAML: the
annotation is the type and the range, the default is the default, the line under `Args:` is the help text. The other
parameters are handed over by the runner, and their annotations say what the plugin can do:

    model: Gradients            what the attack may ask of the model: Gradients, Scores or Decisions
    y: Labels | Targets         untargeted and targeted forms exist
    ball: Linf | L2             attacks inside a ball of radius eps, and which balls
    norm: L2                    minimal-norm attacks, which take no eps, and the norm they make small
    rng: Rng                    random numbers, each image's own
    starts: Tensor              for each image others (k, n, ...), of other classes (targeted: of the target class), to start from
    fitted: ...                 what the file's second function, `fit`, made of training images before the first batch

A third function, `survey`, may look at `fitted` from further sides when all images are attacked (`advrun/survey.py`).

Those of a defence, in this order:

    system | model              what it defends, as a chain of stages (`system/stages.py`) or as one Keras model
    fit                         trains; a defence without it needs no training images

Those of a data set are handed over too:

    training: bool              False where nothing is trained and nothing learns from images: training images need not be read

Those of a threat, which says yes or no to each pair of systems, and may leave out what it does not look at:

    target: SystemName          the system that is attacked
    source: SystemName          the system that the examples are crafted on; without it the threat is clean images
    attack: Plugin              the attack that crafts them

Those of a bound, whose file says `SOUND = True` where no attack can come nearer, False where it estimates how near one can come:

    model: Gradients            what it may ask of the model, as for attacks; or
    system: Chain               the chain of stages itself, to look into its layers
    y: Labels | Targets         a targeted form exists, which is about the distance to one class
    norm: L2 | Linf             the norms in which it says how far, its default first
    rng: Rng                    random numbers

Where a bound is about another system than the one it is given, such as a smoothed one, its file says which:
`ABOUT = "the smoothed classifier"`; and its function `is_itself(system, *, settings)` says whether the system that it is given is that one.

The file of a plugin may hold `nonsense(*, settings) -> (setting, why) | None`: what of legal settings makes no sense together, which is
refused with its place in the YAML file. Of a defence that is swept it sees tuples.
A metric whose outcome is a `Transferred` is measured where examples come from another system; others are measured of every row.
A setting annotated with a frozen dataclass is a mapping in YAML, whose settings are the fields of the dataclass (`config/mappings.py`).
A model without other parameters than settings comes trained: it returns a Keras model, a `Foreign` that says how to read it, or an
`Oracle`, which is only asked. A setting whose dataclass is an `Aside` changes no result.
Beside it a model's file may hold `objective(model, *, settings)`: what is learnt, where that is no plain cross-entropy, and the network
around the model that learns it; and `comes_trained(*, settings)`, whether with these settings it comes trained after all, when it is called
with settings alone. The settings of both are some of the model's.
A data set's file may hold a second function, `outline(settings)`: image shape and number of classes (or None) before any image is read.
An attack with neither `ball` nor `norm` changes images in another way, which its own settings bound. One that returns a
`Cascade` is made of others: it takes a ball and settings, and names its stages.
Files that start with an underscore are helpers, not plugins. Folders of one's own are found beside ours (`folders.py`).
"""

from __future__ import annotations

import importlib
import inspect
import logging
import re
import traceback
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from advrun import folders
from advrun.errors import ConfigError, ModelError, PluginError, did_you_mean
from advrun.files import digest
from advrun.folders import KINDS, LAYERS, PACKAGE
from advrun.types import Aside, AttackChoice, Cascade, Content, Cost, CrafterName, Targets

__all__ = ["KINDS", "PACKAGE", "Plugin", "Setting", "crafter", "get", "load", "load_layers", "names", "on_attacks", "parameters", "place"]


ACCESS = ("none", "blind", "decisions", "scores", "gradients")
"""What an attack may ask of the model, the least first; what it asks while it learns counts too."""


@dataclass(frozen=True)
class Setting:
    """One keyword-only parameter: what a person may write in YAML."""

    name: str
    annotation: Any
    default: Any
    help: str

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def is_attack(self) -> bool:
        """True when the value is itself an attack, as in adversarial training, or a list of attacks (`on_attacks`)."""
        return any(AttackChoice in (part, *typing.get_args(part)) for part in _members(self.annotation))

    @property
    def names_attack(self) -> bool:
        """True when the value is the name of an attack, which runs with its default settings."""
        return CrafterName in _members(self.annotation)

    @property
    def words(self) -> tuple[Any, ...]:
        """What may be written literally, where the annotation lists it: `Literal["imagenet"] | FilePath`."""
        return tuple(word for part in _members(self.annotation) if typing.get_origin(part) is Literal for word in typing.get_args(part))

    @property
    def is_file(self) -> bool:
        """True when the value is the path of a file, or several, whose bytes are part of the result."""
        return Content in _marks(self.annotation)

    @property
    def is_aside(self) -> bool:
        """True when no result depends on the value."""
        return isinstance(self.annotation, type) and issubclass(self.annotation, Aside)


@dataclass(frozen=True)
class Plugin:
    """A function of one of the plugin folders, with everything that its signature and docstring say."""

    kind: str
    name: str
    function: Callable[..., Any]
    settings: Mapping[str, Setting]
    arguments: Mapping[str, Any]
    presets: Mapping[str, Mapping[str, Any]]
    returns: Any = None
    module: types.ModuleType | None = None

    @property
    def path(self) -> Path:
        return folders.find(self.kind, self.name)

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.function) or ""

    @property
    def summary(self) -> str:
        """First sentence of the docstring."""
        return self.doc.split("\n\n")[0].replace("\n", " ")

    @property
    def geometries(self) -> tuple[type, ...]:
        """Geometry classes that an attack supports, its default first."""
        return _members(self.arguments.get("ball", self.arguments.get("norm")))

    @property
    def norms(self) -> tuple[str, ...]:
        """YAML names of `geometries`: linf, l2, ..."""
        return tuple(geometry.__name__.lower() for geometry in self.geometries)

    @property
    def is_cascade(self) -> bool:
        """True for attacks made of others."""
        return bool(self.returns == Cascade)

    @property
    def in_python(self) -> bool:
        """True for attacks that call Python between the steps of their graph: their file says `IN_PYTHON = True`."""
        return bool(getattr(self.module, "IN_PYTHON", False))

    @property
    def takes_system(self) -> bool:
        """True for defences that are given the system as a chain of stages: their first parameter is called `system`."""
        return next(iter(self.arguments), "") == "system"

    @property
    def takes_fit(self) -> bool:
        """True for defences that fit something to training images: they have a second parameter, `fit`."""
        return len(self.arguments) > 1

    @property
    def is_oracle(self) -> bool:
        """True for models that can only be asked: the function is annotated to return an `Oracle`."""
        return getattr(self.returns, "__name__", "") == "Oracle"

    @property
    def sound(self) -> bool:
        """True for bounds that no attack can come nearer than; False for estimates."""
        return bool(getattr(self.module, "SOUND", False))

    @property
    def about(self) -> str:
        """What a bound is about, in words, where that is another system than the one it is given; else ""."""
        return str(getattr(self.module, "ABOUT", ""))

    def about_of(self, system: Any, settings: Mapping[str, Any]) -> str:
        """The same of this system: "" where, as the file's function `is_itself` says, it is the one that the bound is about."""
        function = getattr(self.module, "is_itself", None)
        itself = function and function(system, **{name: settings[name] for name in parameters(function)[1:]})
        return "" if itself else self.about

    @property
    def learns(self) -> bool:
        """True for attacks that see training images: they learn from them, or start from some."""
        return "fitted" in self.arguments or "starts" in self.arguments

    @property
    def fit(self) -> Callable[..., Any] | None:
        """What an attack with a `fitted` parameter does with training images first."""
        return getattr(self.module, "fit", None) if "fitted" in self.arguments else None

    @property
    def learns_alone(self) -> bool:
        """True where `fit` sees neither model nor ball: what it learns from images is shared by all attacks that ask for the same."""
        return self.fit is not None and not {"model", "ball", "norm", "targets"} & set(parameters(self.fit))

    def trains(self, settings: Mapping[str, Any]) -> bool:
        """True for an architecture, which advrun trains; False for a model that comes with its weights, as its settings may say."""
        function = getattr(self.module, "comes_trained", None)
        return bool(self.arguments) and not (function and function(**{name: settings[name] for name in parameters(function)}))

    def objective(self, model: Any, settings: Mapping[str, Any]) -> Any:
        """What the file's function `objective` makes of an untrained model: (the network to train, its objective); None without one."""
        function = getattr(self.module, "objective", None)
        return function and function(model, **{name: settings[name] for name in parameters(function)[1:]})

    @property
    def survey(self) -> Callable[..., Any] | None:
        """What an attack with a `fitted` parameter looks at beyond its images, after the last one."""
        return getattr(self.module, "survey", None) if "fitted" in self.arguments else None

    def nonsense(self, settings: Mapping[str, Any]) -> tuple[str, str] | None:
        """A setting, and why it makes no sense beside the others, though each is legal; None where all do, or nobody looks."""
        function = getattr(self.module, "nonsense", None)
        found: tuple[str, str] | None = function and function(**{name: settings[name] for name in parameters(function)})
        return found

    def cost(self, settings: Mapping[str, Any]) -> Cost:
        """What an attack asks of the model for one image, at most: `queries`, or what the file's function `cost` says."""
        function = getattr(self.module, "cost", None)
        if function is None:
            return Cost(queries=settings.get("queries", 0))
        wanted = parameters(function)
        cost: Cost = function(**{name: value for name, value in settings.items() if name in wanted})
        return cost

    def efforts(self, settings: Mapping[str, Any]) -> dict[str, int]:
        """The whole numbers among the settings that say how hard an attack tries: one more would cost more; of attacks that learn, all."""
        counts = {name: value for name, value in settings.items() if type(value) is int}
        if self.fit or self.is_cascade:
            return counts
        cost = self.cost(settings)
        return {name: value for name, value in counts.items() if self.cost({**settings, name: value + 1}) != cost}

    def identity(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings as they identify a result: files by their bytes. Raises ModelError where one is missing."""

        def content(name: str, path: str) -> str:
            if Path(path).is_dir():
                what = "a SavedModel folder, which Keras 3 does not read" if Path(path, "saved_model.pb").is_file() else "a folder"
                raise ModelError(f"{self.name}.{name}: {path} is {what}; name a file (a model as model.save('model.keras') writes it)")
            if not Path(path).is_file():
                raise ModelError(f"{self.name}.{name}: no such file: {path}")
            return digest(Path(path))

        plain = {name: value for name, value in settings.items() if not self.settings[name].is_aside}
        for name, value in plain.items():
            if self.settings[name].is_file and value is not None and value not in self.settings[name].words:
                plain[name] = content(name, value) if isinstance(value, str) else [content(name, path) for path in value]
        return plain

    @property
    def needs_eps(self) -> bool:
        """True for attacks inside a ball, False for minimal-norm attacks."""
        return "ball" in self.arguments

    @property
    def can_target(self) -> bool:
        return Targets in _members(self.arguments.get("y"))

    @property
    def access(self) -> str:
        """What the attack may ask of the model: `gradients`, `scores`, `decisions`, or nothing: `blind`."""
        if self.is_cascade:
            return "gradients"
        fitting = typing.get_type_hints(self.fit) if self.fit else {}
        views = [self.arguments.get("model"), *([fitting["model"]] if "model" in fitting else [])]
        asked = [getattr(view, "__name__", str(view)).lower() for view in views]
        return max(asked, key=lambda view: ACCESS.index(view) if view in ACCESS else len(ACCESS))


def on_attacks(function: Callable[[Any], Any], value: Any) -> Any:
    """`function` of the attack that is the value of a setting, or of each of them where it is a list."""
    return tuple(map(function, value)) if isinstance(value, tuple) else function(value)


def parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of a function's parameters."""
    return tuple(inspect.signature(function).parameters)


def names(kind: str) -> list[str]:
    """Names of the plugins of one kind, sorted, those of one's own among them; imports nothing."""
    return folders.names(kind)


def place(kind: str, name: str) -> str:
    """How messages name a plugin's file."""
    return folders.shown(folders.find(kind, name))


@cache
def get(kind: str, name: str) -> Plugin:
    """The plugin `name` of folder `kind`. Raises ConfigError with the nearest name, PluginError when the file is broken."""
    if name not in names(kind):
        raise ConfigError(f"no {kind[:-1]} named {name!r}{did_you_mean(name, names(kind))}")
    function = load(kind, name)
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise PluginError(f"{place(kind, name)}: an annotation cannot be read: {error}") from error
    signature = inspect.signature(function).parameters
    notes = argument_notes(inspect.getdoc(function) or "")
    settings = {
        key: Setting(key, hints.get(key, Any), parameter.default, notes.get(key, ""))
        for key, parameter in signature.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    arguments = {key: hints.get(key) for key in signature if key not in settings}
    for key in notes:
        if key not in signature:
            raise PluginError(f"{place(kind, name)}: Args: explains {key!r}, which is no parameter{did_you_mean(key, settings)}")
    module = importlib.import_module(function.__module__)
    presets = getattr(module, "PRESETS", {})
    for preset in presets.values():
        for key in preset:
            if key not in settings:
                raise PluginError(f"{place(kind, name)}: a preset names {key!r}{did_you_mean(key, settings)}")
    plugin = Plugin(kind, name, function, settings, arguments, presets, hints.get("return"), module)
    _check_handed(plugin)
    if kind == "attacks":
        _check_attack(plugin)
    if kind == "bounds":
        _check_bound(plugin)
    if kind == "models":
        _check_asked(plugin, "objective", parameters(getattr(module, "objective", lambda model: None))[1:])
        _check_asked(plugin, "comes_trained", parameters(getattr(module, "comes_trained", lambda: None)))
    return plugin


def crafter(name: str) -> Plugin:
    """An attack that can craft on a surrogate model. Raises ConfigError."""
    plugin = get("attacks", name)
    if not plugin.needs_eps or plugin.access != "gradients" or plugin.is_cascade or plugin.fit:
        raise ConfigError(f"attack {name!r} cannot craft on a surrogate; take a white-box attack inside a ball, such as mifgsm or pgd")
    return plugin


HANDED = {
    "attacks": ("model", "x", "y", "ball", "norm", "rng", "starts", "fitted"),
    "datasets": ("training",),
    "threats": ("source", "target", "attack"),
    "bounds": ("model", "system", "x", "y", "norm", "rng"),
}
"""The parameters that the runner fills, by name; settings are keyword-only."""


def _check_handed(plugin: Plugin) -> None:
    """Raise PluginError where a parameter is none that the runner hands over."""
    known = HANDED.get(plugin.kind, plugin.arguments)
    for name in plugin.arguments:
        if name not in known:
            where = place(plugin.kind, plugin.name)
            raise PluginError(f"{where}: the runner hands over no {name!r}{did_you_mean(name, known)} (settings come after a *)")


def _check_attack(plugin: Plugin) -> None:
    """Raise PluginError where the signature cannot be what its author meant."""
    where = place("attacks", plugin.name)
    for name in plugin.arguments:
        if plugin.arguments[name] is None and name in ("model", "y", "ball", "norm"):
            raise PluginError(f"{where}: {name!r} has no annotation; it says what the attack can do")
    if {"ball", "norm"} <= plugin.arguments.keys():
        raise PluginError(f"{where}: takes a ball or, for the nearest image, a norm, not both")
    _check_asked(plugin, "cost", parameters(getattr(plugin.module, "cost", lambda: None)))


def _check_bound(plugin: Plugin) -> None:
    """Raise PluginError where a bound does not say what it is."""
    where = place("bounds", plugin.name)
    if not isinstance(getattr(plugin.module, "SOUND", None), bool):
        raise PluginError(f"{where}: say SOUND = True where no attack can come nearer than it says, SOUND = False for an estimate")
    if not plugin.geometries:
        raise PluginError(f"{where}: a parameter `norm: L2` says in which norm it measures; there is none, or it has no annotation")
    _check_asked(plugin, "cost", parameters(getattr(plugin.module, "cost", lambda: None)))


def _check_asked(plugin: Plugin, function: str, names: tuple[str, ...]) -> None:
    """Raise PluginError where a second function of the file asks for what is no setting of the first."""
    for name in names:
        if name not in plugin.settings:
            where = place(plugin.kind, plugin.name)
            raise PluginError(f"{where}: {function}() asks for {name!r}, which is no setting{did_you_mean(name, plugin.settings)}")


def load(kind: str, name: str) -> Callable[..., Any]:
    """Import the file of a plugin and return its function NAME. Raises PluginError."""
    function = getattr(_module(kind, name), name, None)
    if not inspect.isfunction(function):
        raise PluginError(f"{place(kind, name)} must define a function named {name!r}")
    return function


def load_layers() -> None:
    """Import the layers of one's own, so that Keras knows them when it reads a model. A file that cannot be imported stops no other."""
    for name in names(LAYERS):
        _load_layer(name)


@cache
def _load_layer(name: str) -> None:
    try:
        _module(LAYERS, name)
    except PluginError as error:
        logging.getLogger("advrun").warning("%s", error)


def _module(kind: str, name: str) -> types.ModuleType:
    try:
        return importlib.import_module(f"advrun.{kind}.{name}")
    except (Exception, SystemExit) as error:  # a plugin is anybody's code: whatever it raises, its file is the place to look
        frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError):
            frames.append((error.filename or "", error.lineno))
        line = next((f":{number}" for file, number in reversed(frames) if file.endswith(f"/{name}.py")), "")
        said = error.msg if isinstance(error, SyntaxError) else error
        raise PluginError(f"{place(kind, name)}{line} cannot be imported: {type(error).__name__}: {said}") from error


def argument_notes(doc: str) -> dict[str, str]:
    """The lines under `Args:` of a Google-style docstring, by argument name."""
    block = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", doc, re.MULTILINE)
    if not block:
        return {}
    entries = re.findall(r"^ {4}(\w+): ((?:.*\n?)(?: {5,}.*\n?)*)", block.group(1), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _members(annotation: Any) -> tuple[Any, ...]:
    if annotation is None:
        return ()
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _marks(annotation: Any) -> Iterator[type]:
    """Types of everything that an annotation is annotated with, at any depth."""
    yield from (type(mark) for mark in getattr(annotation, "__metadata__", ()))
    for part in typing.get_args(annotation):
        yield from _marks(part)
