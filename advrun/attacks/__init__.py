"""Attacks for Python: `attacks.pgd(model, x, y, Linf(8/255), steps=40)`, NumPy in and NumPy out.

Each file holds one attack as a pure function of tensors; here every one of them becomes a callable for arrays.
"""

import sys
from types import ModuleType
from typing import Any

from advrun import registry
from advrun.api import PublicAttack
from advrun.errors import did_you_mean


class _Attacks(ModuleType):
    """This module, in which the name of an attack is the callable, whether or not its file has been imported."""

    def __getattr__(self, name: str) -> PublicAttack:
        known = [] if name.startswith("_") else registry.names("attacks")
        if name in known:
            return PublicAttack(name)
        raise AttributeError(f"no attack named {name!r}{did_you_mean(name, known)}", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        """What is imported binds its module to its name here; the names of attacks are taken."""
        if not isinstance(value, ModuleType) or name.startswith("_"):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *registry.names("attacks")})


sys.modules[__name__].__class__ = _Attacks
