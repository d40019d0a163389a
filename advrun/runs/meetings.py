"""Which examples meet which system: what the threats of an experiment say of its systems."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advrun import registry
from advrun.config import AttackEntry, ThreatEntry
from advrun.errors import PluginError
from advrun.registry import Plugin
from advrun.types import SystemName

UNDEFENDED, NONE, ADAPTIVE = "none", "none", "adaptive"
SEEN = ("gradients", "scores", "decisions", "blind")
"""What an attacker may see of a system."""


@dataclass(frozen=True, eq=False)
class Cast:
    """An attack at one of its eps; each is itself alone."""

    attack: AttackEntry
    eps: float | None


@dataclass(frozen=True, eq=False)
class Meeting:
    """Examples of one system shown to another, or clean images, where source and cast are None."""

    threat: str
    target: SystemName
    source: SystemName | None = None
    cast: Cast | None = None

    @property
    def foreign(self) -> bool:
        """Whether the examples come from elsewhere than this system or its undefended model."""
        return self.source not in (None, self.target, SystemName(self.target.model))


Able = Callable[[SystemName, Cast], bool]
"""Whether a system gives an attack what it needs, so that examples can be crafted on it."""


def meet(
    threats: Sequence[ThreatEntry], systems: Sequence[SystemName], casts: Sequence[Cast], able: Able = lambda source, cast: True
) -> list[Meeting]:
    """All meetings: target by target, of each threat by threat, source by source, attack by attack; sources are those that are able.

    Where examples cross over, the clean images of both systems belong to it, and what the source itself makes of the examples.

    Raises PluginError where a threat says anything but yes or no.
    """
    found = {target: list(_meetings(threats, target, systems, casts, able)) for target in systems}
    crossing = [meeting for meetings in found.values() for meeting in meetings if meeting.foreign]
    clean = {system for meeting in crossing for system in (meeting.target, meeting.source)}
    crafted = {(meeting.source, meeting.cast) for meeting in crossing}
    for target, meetings in found.items():
        has = {(meeting.threat, meeting.cast) for meeting in meetings}
        if target in clean and (NONE, None) not in has:
            meetings.insert(0, Meeting(NONE, target))
        lacking = [cast for cast in casts if (target, cast) in crafted and (ADAPTIVE, cast) not in has]
        meetings += [Meeting(ADAPTIVE, target, target, cast) for cast in lacking]
    return [meeting for target in systems for meeting in found[target]]


def _meetings(
    threats: Iterable[ThreatEntry], target: SystemName, systems: Sequence[SystemName], casts: Sequence[Cast], able: Able
) -> Iterator[Meeting]:
    for threat in threats:
        plugin = registry.get("threats", threat.name)
        if "source" not in plugin.arguments:
            if says(plugin, threat.settings, target):
                yield Meeting(threat.name, target)
            continue
        for source in systems:
            for cast in casts:
                if able(source, cast) and says(plugin, threat.settings, target, source, registry.get("attacks", cast.attack.name)):
                    yield Meeting(threat.name, target, source, cast)


def says(
    plugin: Plugin, settings: Mapping[str, Any], target: SystemName, source: SystemName | None = None, attack: Plugin | None = None
) -> bool:
    """What a threat says of a pair of systems. Raises PluginError for anything but True or False."""
    handed = {"target": target, "source": source, "attack": attack}
    answer = plugin.function(**{name: handed[name] for name in plugin.arguments}, **settings)
    if not isinstance(answer, bool):
        place = registry.place(plugin.kind, plugin.name)
        raise PluginError(f"{place}: says {answer!r:.60} of {source} and {target}; expected True or False")
    return answer


def access_of(threat: str, attack: AttackEntry) -> str:
    """What the attacker may see of the target: what the threat's file says in its function `access(attack)`, or "" without one.

    Raises PluginError for words that mean nothing.
    """
    function = getattr(registry.get("threats", threat).module, "access", None)
    if function is None:
        return ""
    said = function(registry.get("attacks", attack.name))
    if said not in SEEN:
        raise PluginError(f"{registry.place('threats', threat)}: access() says {said!r:.60}; expected one of {', '.join(SEEN)}")
    return str(said)
