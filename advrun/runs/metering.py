"""Which metrics are measured on which rows, and what their cells depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from advrun import registry
from advrun.errors import PluginError
from advrun.registry import Plugin
from advrun.runs.keys import source_key
from advrun.runs.meetings import ADAPTIVE

TRANSFERRED, PROBED, GUARDED = "Transferred", "Probed", "Guarded"
"""What a metric may ask for that not every row has."""


@dataclass(frozen=True)
class Metering:
    """source: the key of a metric's code. wanted: the name of what it asks for. A row is a `plan.Cell`."""

    source: str
    wanted: str

    @property
    def work(self) -> str:
        """The kind of its cells."""
        return "probe" if self.wanted == PROBED else "metric"

    def concerns(self, row: Any) -> bool:
        """Whether it is measured on a row."""
        if self.wanted == PROBED:
            return can_be_probed(row)
        if self.wanted == GUARDED:
            return may_detect(row)
        return row.own is not None or self.wanted != TRANSFERRED

    def content(self, row: Any) -> dict[str, Any]:
        """What the key of its cell holds."""
        return {"source": self.source} | ({"widest": row.is_widest} if self.wanted == PROBED else {})


def metric_source(name: str) -> Metering:
    """Of the metric of this name. A broken file fails later."""
    try:
        asked = registry.get("metrics", name).arguments.get("outcome")
    except PluginError:
        asked = None
    wanted = getattr(asked, "__name__", "")
    return Metering(source_key("metrics", name, "probe" if wanted == PROBED else "metric"), wanted)


def may_detect(row: Any) -> bool:
    """Whether a detector may stand beside the system: a defence sets one there that is given the chain, and images for the threshold."""
    plugins = (registry.get("defenses", part.name) for part in (row.defense.chain if row.defense else ()))
    return any(plugin.takes_system and plugin.takes_fit for plugin in plugins)


def can_be_probed(row: Any) -> bool:
    """Whether the attack of a row can be tried again as it was: it met this system itself, for no class of its own."""
    if row.attack is None or row.threat != ADAPTIVE or row.own is not None or row.attack.target is not None:
        return False
    return not registry.get("models", row.model.name).is_oracle and is_retriable(registry.get("attacks", row.attack.name))


def is_retriable(plugin: Plugin) -> bool:
    """Whether an attack can be tried again on a few images: it follows gradients inside a ball, at once, and learns nothing before."""
    return plugin.access == "gradients" and plugin.needs_eps and not plugin.is_cascade and not plugin.learns


def seen(row: Any) -> str:
    """What the attacker could see of the measured system: what its threat says, else what the attack asks of the one that it met itself.

    For the report; in the stored row stands what a threat says in so many words.
    """
    if row.access or row.attack is None:
        return str(row.access)
    own = row.images is not None and row.images.system.key == row.system.key
    return str(registry.get("attacks", row.attack.name).access) if own else "blind"
