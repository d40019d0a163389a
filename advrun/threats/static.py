"""Examples that know nothing of the defence: what most studies of defences report."""

from __future__ import annotations

from advrun.types import SystemName


def static(source: SystemName, target: SystemName) -> bool:
    """Examples crafted on the undefended model and replayed against the defence, which they know nothing of."""
    return source.model == target.model and target.defended and not source.defended
