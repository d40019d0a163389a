"""Which sticker of a results folder is meant, and the system that it was made against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from advrun import defend, registry
from advrun.config import Experiment
from advrun.errors import ConfigError
from advrun.results import REJECTED
from advrun.runs.plan import Cell, make_plan
from advrun.runs.runner import folder, load_data
from advrun.runs.store import Store
from advrun.survey import SURVEY, Survey
from advrun.system import Classifier


@dataclass(frozen=True, eq=False)
class Chosen:
    """A finished attack cell with a survey. number: of the sticker in the survey. class_names: of the data set."""

    cell: Cell
    store: Store
    survey: Survey
    number: int
    class_names: tuple[str, ...]

    @property
    def source_class(self) -> int | None:
        return None if self.cell.attack is None else self.cell.attack.source_class

    @property
    def target(self) -> int | None:
        """The class that the sticker makes of a sign; None where any other will do."""
        return int(self.survey.numbers[self.number]) if self.survey.targeted else None

    @property
    def names(self) -> str:
        """`Stop -> Speed limit (30km/h)`."""
        source = "sign" if self.source_class is None else self.named(self.source_class)
        return f"{source} -> {'another class' if self.target is None else self.named(self.target)}"

    def named(self, label: int) -> str:
        """The class, or what a detector says, whose number is one more than the last class's."""
        return (*self.class_names, REJECTED)[label] if label <= len(self.class_names) else f"class {label}"

    def classifier(self) -> Classifier:
        """The system that the sticker was made against."""
        ending = defend.FILE if self.store.finished(self.cell.system).has(defend.FILE) else ".keras"
        return Classifier(self.store.read(self.cell.system, ending, defend.load), name=self.cell.system.label)


def choose(experiment: Experiment, attack: str | None, model: str | None, target: int | None) -> Chosen:
    """The first sticker of the experiment that is on disk and that the names fit; models come before defences, first seeds first.

    Raises:
        ConfigError: where the experiment has none, or the names fit none. AdvrunError: where it is not finished yet.
    """
    plan, store = make_plan(experiment, load_data(experiment)), folder(experiment)
    cells = [cell for cell in plan.cells if cell.kind == "attack" and _has_survey(cell)]
    labels = list(dict.fromkeys(cell.attack_label for cell in cells))
    systems = list(dict.fromkeys(cell.model.label for cell in cells))
    if not cells:
        raise ConfigError(f"{experiment.name}: no attack of it makes stickers; add {{name: sticker, source_class: ..., target: ...}}")
    for what, given, known in (("attack", attack, labels), ("model", model, systems)):
        if given is not None and given not in known:
            raise ConfigError(f"--{what} {given}: no such {what} with stickers in {experiment.name}; known: {', '.join(known)}")
    wanted = [each for each in cells if attack in (None, each.attack_label) and model in (None, each.model.label)]
    finished: list[Any] = [(each, manifest) for each in wanted if (manifest := store.manifest(each))]
    if not finished:
        store.finished(wanted[0])
    found = next((each for each, manifest in finished if manifest.has(SURVEY)), None)
    if found is None:
        raise ConfigError(f"{experiment.name}: {wanted[0].label} attacked no image, so there is no sticker; has its class test images?")
    survey = store.read(found, SURVEY, Survey.read)
    numbers = survey.numbers.tolist()
    if target is not None and target not in numbers:
        raise ConfigError(f"--target {target}: {found.label} has stickers for {', '.join(map(str, numbers))}")
    return Chosen(found, store, survey, 0 if target is None else numbers.index(target), tuple(plan.data.class_names))


def _has_survey(cell: Cell) -> bool:
    return cell.attack is not None and registry.get("attacks", cell.attack.name).survey is not None
