"""Attacks for Python: `attacks.pgd(model, x, y, Linf(8/255), steps=40)`, NumPy in and NumPy out.

Each file holds one attack as a pure function of tensors; here every one of them becomes a callable for arrays.
"""

from typing import NoReturn

from advrun.api import public_attacks
from advrun.errors import did_you_mean

_PUBLIC = public_attacks()
globals().update(_PUBLIC)


def __getattr__(name: str) -> NoReturn:
    raise AttributeError(f"no attack named {name!r}{did_you_mean(name, _PUBLIC)}")
