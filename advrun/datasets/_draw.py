"""A test set drawn from images that come without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from advrun.errors import ConfigError

Item = TypeVar("Item")
Members = dict[str, list[Item]]


def drawn(classes: Mapping[str, Sequence[Item]], fraction: float, seed: int) -> tuple[Members[Item], Members[Item]]:
    """Training and test images of each class; a class of two or more images has one in either at least, unless `fraction` is 1.

    Raises:
        ConfigError: `fraction` is 0.
    """
    if fraction == 0:
        raise ConfigError("test_fraction 0 leaves no test images; choose more, at most 1")
    rng = np.random.default_rng([seed, 0xF01DE])
    train, test = {}, {}
    for name, members in classes.items():
        count = min(max(1, round(fraction * len(members))), len(members) - (fraction < 1))
        chosen = set(rng.permutation(len(members))[:count].tolist())
        train[name] = [item for row, item in enumerate(members) if row not in chosen]
        test[name] = [item for row, item in enumerate(members) if row in chosen]
    return train, test
