"""Every model's examples on every other (Szegedy et al., 2014, arXiv:1312.6199, section 4.2; Papernot et al., 2016, arXiv:1605.07277)."""

from __future__ import annotations

from typing import Literal

from advrun.registry import Plugin
from advrun.types import SystemName


def transfer(source: SystemName, target: SystemName, *, sources: Literal["undefended", "all"] = "undefended") -> bool:
    """Examples crafted on another model, whose attacker sees nothing of this one.

    Every system is a target, defended or not. What crosses a defence of one model without knowing it is `static`, not this.

    Args:
        sources: undefended: examples are crafted on the undefended models. all: on defended systems as well, and those of one model's
            defence meet its other systems too.
    """
    if source == target or (source.defended and sources == "undefended"):
        return False
    return source.model != target.model or source.defended


def access(attack: Plugin) -> str:
    """Of the target, nothing, whatever the attack asks of the source."""
    return "blind"
