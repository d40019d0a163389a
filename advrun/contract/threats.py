"""What every threat promises, tried on the systems of three models with three defences, and attacks of every access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from advrun import registry
from advrun.config.entries import AttackEntry, settings_of
from advrun.contract.promise import Inapplicable, Promise, documented, hold
from advrun.errors import PluginError
from advrun.registry import Plugin
from advrun.runs.meetings import SEEN, access_of, says
from advrun.types import SystemName

SYSTEMS = [SystemName(model, defense) for model in ("a", "b", "c") for defense in ("none", "d", "e", "f")]
ATTACKS = ("pgd", "cw", "square", "boundary", "corruptions")


@dataclass
class Decided:
    """A threat on trial."""

    plugin: Plugin
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether it is about clean images."""
        return "source" not in self.plugin.arguments

    def meetings(self, rename: Mapping[str, str] | None = None) -> dict[tuple[Any, ...], bool]:
        """What it says of every pair of systems and every attack; of clean images, of every system. rename: other names of the models."""
        settings, names = settings_of(self.plugin, self.given), rename or {}

        def called(system: SystemName) -> SystemName:
            return SystemName(names.get(system.model, system.model), system.defense)

        if self.clean:
            return {(target,): says(self.plugin, settings, called(target)) for target in SYSTEMS}
        attacks = {name: registry.get("attacks", name) for name in ATTACKS}
        return {
            (target, source, name): says(self.plugin, settings, called(target), called(source), attack)
            for target, source, (name, attack) in product(SYSTEMS, SYSTEMS, attacks.items())
        }


def cases(plugin: Plugin, given: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Promise, ...], Decided]]:
    """One case: (no label, promises, the threat on trial)."""
    yield "", PROMISES, Decided(plugin, given)


def it_is_documented(trial: Decided) -> None:
    """Its first sentence explains it below the tables; every setting is explained."""
    documented(trial.plugin)


def it_asks_for_the_target(trial: Decided) -> None:
    """And, where it looks at attacks, for the source as well."""
    asked = trial.plugin.arguments
    hold("target" in asked, f"it asks for {', '.join(asked) or 'nothing'}; the system that is attacked is `target`")
    hold("attack" not in asked or "source" in asked, "it asks for an attack, and for no source that its examples are crafted on")


def it_says_yes_or_no(trial: Decided) -> None:
    """Of every pair of systems; `says` refuses anything else."""
    try:
        trial.meetings()
    except PluginError as error:
        hold(False, str(error))


def something_meets_something(trial: Decided) -> None:
    """Among twelve systems there is a pair for it."""
    hold(any(trial.meetings().values()), "no examples meet any system: there is nothing to measure")


def it_says_the_same_twice(trial: Decided) -> None:
    """Nothing random: a killed run must go on with the same cells."""
    hold(trial.meetings() == trial.meetings(), "asked again, it says something else")


def names_mean_nothing_to_it(trial: Decided) -> None:
    """What models are called is chosen by whoever writes the configuration."""
    hold(
        trial.meetings() == trial.meetings({"a": "x", "b": "y", "c": "z"}),
        "it says something else of the same systems under other names; compare names with each other, and with no text",
    )


def what_the_attacker_sees_is_a_known_word(trial: Decided) -> None:
    """`access(attack)` gives one for every attack."""
    if not hasattr(trial.plugin.module, "access"):
        raise Inapplicable(f"the file has no function access(attack), which says one of {', '.join(SEEN)}")
    for name in ATTACKS:
        try:
            access_of(trial.plugin.name, AttackEntry(name, name, {}))
        except PluginError as error:
            hold(False, str(error))


PROMISES: tuple[Promise, ...] = (
    it_is_documented,
    it_asks_for_the_target,
    it_says_yes_or_no,
    something_meets_something,
    it_says_the_same_twice,
    names_mean_nothing_to_it,
    what_the_attacker_sees_is_a_known_word,
)
