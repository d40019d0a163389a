"""Attacks for Python: `attacks.pgd(model, x, y, Linf(8/255), steps=40)`, NumPy in and NumPy out.

Each file holds one attack as a pure function of tensors; here every one of them becomes a callable for arrays.
"""

from advrun.api import public_attacks

globals().update(public_attacks())
