"""A YAML file as a typed, frozen `Experiment`; every problem in it is reported at once, before TensorFlow is imported."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Interval, MinLen, doc
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, ValidationInfo, field_validator
from pydantic.json_schema import GenerateJsonSchema

from advrun import pools
from advrun.config import yamlfile
from advrun.config.chains import ChainField, Sweep, Written, expanded, sweeps
from advrun.config.entries import (
    ATTACK,
    BOUND,
    DATA,
    MODEL,
    THREAT,
    AttackEntry,
    BoundEntry,
    DataEntry,
    DefenseEntry,
    ModelEntry,
    Name,
    ThreatEntry,
    Training,
)
from advrun.config.forms import UNKNOWN, Form, problem, refuse
from advrun.config.mappings import plain
from advrun.config.overrides import override
from advrun.config.yamlfile import Document, KeyPath, show
from advrun.errors import AdvrunError, ConfigError
from advrun.types import Count, PathName

RESERVED = {"attacks": "clean", "defenses": "none"}
"""Labels that the tables use themselves."""
_DATA: Any = {"name": "signs"}  # as in a file; validation makes entries of them
_MODELS: Any = ({"name": "lnet"},)
_THREATS: Any = ({"name": "none"}, {"name": "static"}, {"name": "adaptive"})


class Compute(Form):
    """How the work is done."""

    noun = "compute"
    batch_size: Count = Field(default=256, description="Images attacked and evaluated at once.")
    deterministic: bool = Field(default=True, description="Only use operations whose results repeat to the last bit.")
    mixed_precision: bool = Field(default=False, description="Train in float16 with float32 weights.")
    jit: Literal["auto", "on", "off"] = Field(default="auto", description="Compile with XLA; auto means on a GPU only.")
    pool: str = Field(
        default="serial", description="Who does the cells: serial, processes (as many as fit), processes:N, ray, or ray:ADDRESS."
    )

    @field_validator("pool")
    @classmethod
    def _pool_is_known(cls, pool: str) -> str:
        try:
            pools.chosen(pool)
        except ConfigError as error:
            refuse(problem(str(error)))
        return pool


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where an experiment was written, which makes no difference to what it says: two of the same settings are equal."""

    document: Document | None = dataclasses.field(default=None, compare=False)


class Experiment(Form):
    """One experiment: a data set, classifiers, the attacks against them and the defences built for them."""

    noun = "the experiment"
    refused: ClassVar[Mapping[str, str]] = {
        "plugins": "names no plugins: a configuration runs no code; give the folder as --plugins FOLDER, or in ADVRUN_PLUGINS"
    }
    name: Name = Field(default="experiment", description="Folder of the results below `results`; the name of the file unless given.")
    description: str = Field(default="", description="A sentence or two for the report.")
    data: Annotated[DataEntry, DATA] = Field(default=_DATA, description="The data set, with its settings.")
    train: Training = Field(default=Training(), description="How models are trained, and defences, unless they say otherwise.")
    models: Annotated[tuple[Annotated[ModelEntry, MODEL], ...], MinLen(1)] = Field(
        default=_MODELS, description="The classifiers, each with its settings."
    )
    attacks: tuple[Annotated[AttackEntry, ATTACK], ...] = Field(default=(), description="The attacks, each with its settings.")
    defenses: tuple[Annotated[Written, ChainField()], ...] = Field(
        default=(), description="The defences, each with its settings; a list of them is applied one after the other."
    )
    threats: Annotated[tuple[Annotated[ThreatEntry, THREAT], ...], MinLen(1)] = Field(
        default=_THREATS, description="Which examples meet which system, each by its name alone or with its settings."
    )
    draws: Count = Field(
        default=10, description="Of a random system: draws that its answers are means over, and gradients, where an attack names no number."
    )
    bounds: tuple[Annotated[BoundEntry, BOUND], ...] = Field(
        default=(), description="How far no attack can reach: the bounds, each with its settings."
    )
    seeds: Annotated[tuple[Annotated[int, Interval(ge=0, lt=2**32)], ...], MinLen(1)] = Field(
        default=(0,), description="Everything is repeated for each seed; tables show mean and spread."
    )
    results: Annotated[PathName, MinLen(1), doc("the path of a folder")] = Field(
        default="results", description="Folder that holds the results of all experiments."
    )
    ledger: PathName = Field(
        default="",
        description="Folder of the closest examples known (`advrun ledger`), against which attacks are measured; none by default.",
    )
    compute: Compute = Field(default=Compute(), description="How the work is done.")
    _origin: Origin = PrivateAttr(default=Origin())

    @field_validator("models", "attacks", "defenses", "bounds")
    @classmethod
    def _labels_are_unique(cls, entries: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        kind = str(info.field_name)
        first = {RESERVED.get(kind): "the tables themselves"}
        problems = []
        for index, entry in enumerate(entries):
            for label in _labels(entry):
                if label in first:
                    at = (index, len(entry) - 1, "label") if isinstance(entry, tuple) else (index, "label")
                    problems.append(problem(f"{label!r} is taken by {first[label]}; give this entry another label", *at))
                first.setdefault(label, f"{kind}[{index}]")
        if problems:
            refuse(*problems)
        return entries

    @field_validator("threats")
    @classmethod
    def _threats_are_unique(cls, threats: tuple[ThreatEntry, ...]) -> tuple[ThreatEntry, ...]:
        names = [threat.name for threat in threats]
        repeated = [index for index, name in enumerate(names) if name in names[:index]]
        if repeated:
            refuse(*[problem(f"{names[index]!r} is listed twice", index) for index in repeated])
        return threats

    @field_validator("models", "defenses")
    @classmethod
    def _training_is_complete(cls, entries: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        """What an entry does not say about its training, the experiment says."""
        if "train" not in info.data:
            return entries
        common = info.data["train"]

        def complete(written: Any) -> Any:
            if isinstance(written, tuple):
                return tuple(map(complete, written))
            if written.train is None:
                return written
            return dataclasses.replace(written, train=common.model_copy(update=_given(written.train)))

        return tuple(map(complete, entries))

    @field_validator("seeds")
    @classmethod
    def _seeds_are_unique(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        repeated = [index for index, seed in enumerate(seeds) if seed in seeds[:index]]
        if repeated:
            refuse(*[problem(f"{seeds[index]} is listed twice", index) for index in repeated])
        return seeds

    @property
    def defended(self) -> tuple[DefenseEntry, ...]:
        """The defended systems, one by one: chains by their last entry, sweeps value by value."""
        return expanded(self.defenses)

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """Defences at several strengths."""
        return sweeps(self.defenses)

    def at(self, section: str, label: str = "", *more: str | int) -> str:
        """Where something is written, as every refusal of a configuration begins: `FILE:LINE:COLUMN: attacks[0].target`.

        Args:
            section: such as "attacks".
            label: of an entry in it; of a system, for defences.
            more: the way from there; for defences first the place in their chain, from 0.
        """
        path: KeyPath = (section,)
        for number, entry in enumerate(getattr(self, section) if label else ()):
            if label in _labels(entry):
                path = (section, number, *(more[1:] if isinstance(entry, DefenseEntry) else more))
        document = self._origin.document
        return _dotted(path) if document is None else f"{document.place(path)}: {_dotted(path)}"

    @contextmanager
    def naming(self, section: str, label: str = "", *more: str | int) -> Iterator[None]:
        """What is refused inside says where that is written; see `at`."""
        try:
            yield
        except AdvrunError as error:
            raise type(error)(f"{self.at(section, label, *more)}: {error}") from error

    def to_yaml(self) -> str:
        """The experiment with every setting written out; loading it gives an equal one."""
        return yamlfile.dump(self.to_plain())

    def to_plain(self) -> dict[str, Any]:
        """The same as plain data."""
        return {name: as_written(getattr(self, name)) for name in type(self).model_fields}


def _labels(entry: Any) -> list[str]:
    """Of an entry; of defences, those of all systems that it makes."""
    return [each.label for each in (expanded([entry]) if isinstance(entry, (DefenseEntry, tuple)) else [entry])]


def _given(form: BaseModel) -> dict[str, Any]:
    return {name: getattr(form, name) for name in form.model_fields_set}


def as_written(value: Any) -> Any:
    """Plain data, as YAML gives it: forms and entries as mappings; an entry's optional fields are left out where they say nothing."""
    if isinstance(value, BaseModel):
        return {name: as_written(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, tuple):
        return tuple(map(as_written, value))
    if isinstance(value, Mapping):
        return {key: as_written(each) for key, each in value.items()}
    if not hasattr(value, "settings"):
        return plain(value)
    fields = vars(value).copy()
    settings = {key: as_written(setting) for key, setting in fields.pop("settings").items()}
    return {key: as_written(field) for key, field in fields.items() if field not in (None, "", ())} | settings


def load(path: Path | str, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment in a YAML file. `name` is the file's stem unless the file says otherwise.

    Args:
        path: the file.
        overrides: `PATH=VALUE`, as after `--set`.

    Raises:
        ConfigError: one line for each problem: file, line, column, setting, value received, what was expected.
    """
    return loads(yamlfile.read(Path(os.path.expanduser(path))), overrides, source=str(path), name=Path(path).stem)


def loads(text: str, overrides: Sequence[str] = (), *, source: str = "<text>", name: str = "experiment") -> Experiment:
    """The experiment in YAML text; `source` names the text in messages, `name` is used where the text gives none."""
    document = yamlfile.parse(text, source)
    if not isinstance(document.data, dict):
        got = "nothing" if document.data is None else show(document.data)
        raise ConfigError(f"{document.place(())}: got {got}; expected a mapping, such as {{attacks: [{{name: fgsm, eps: 8/255}}]}}")
    document = dataclasses.replace(document, data={**_defaults(), "name": name, **document.data})
    problems: list[str] = []
    for assignment in overrides:
        try:
            document = override(document, assignment)
        except ConfigError as error:
            problems.append(str(error))
    try:
        experiment = Experiment.model_validate(document.data)
    except ValidationError as error:
        problems += _lines(error, document)
    if problems:
        raise ConfigError("\n".join(problems))
    experiment._origin = Origin(document)
    return experiment


def _defaults() -> dict[str, Any]:
    """Data set and lists that an override can refer to although the file does not mention them."""
    fields = Experiment.model_fields.items()
    return {name: field.default for name, field in fields if isinstance(field.default, (dict, tuple))}


def _lines(error: ValidationError, document: Document) -> list[str]:
    """`FILE:LINE:COLUMN: attacks[0].eps: ...` for each problem, in the order of the file."""
    found = []
    for item in error.errors(include_url=False):
        path: KeyPath = item["loc"]
        while isinstance(path[-1], int) and path not in document.values:  # eps: 8 is read as [8]
            path = path[:-1]
        found.append((document.place(path, of_key=item["type"] == UNKNOWN), _dotted(path), item["msg"]))
    return [f"{place}: {path}: {message}" for place, path, message in sorted(found)]


def _dotted(path: KeyPath) -> str:
    """attacks[0].eps"""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{_key(step)}" for step in path).removeprefix(".")


def _key(key: str) -> str:
    return key if key.isidentifier() else yamlfile.shorten(key)


class _Schema(GenerateJsonSchema):
    """JSON Schema in which a number may also be a fraction, which is text to an editor."""

    def float_schema(self, schema: Any) -> dict[str, Any]:
        return {"anyOf": [super().float_schema(schema), {"type": "string", "pattern": f"^{yamlfile.NUMBER}$"}]}

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Titles would only repeat the names."""
        return False


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the YAML file, with every plugin's settings, for editors."""
    return {"$schema": _Schema.schema_dialect, **Experiment.model_json_schema(schema_generator=_Schema), "title": "advrun experiment"}
