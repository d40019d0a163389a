"""Pickles of arrays from strangers.

A pickle is a program. This reader runs none of it: whatever the file names becomes one of five stand-ins, which only
keep what they are given, and the arrays are then made from the kept bytes. Anything else that the file names is refused.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

from advrun.datasets._sniff import HEAD, describe
from advrun.errors import DataError

CODES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


def unpickled(file: IO[bytes], place: str) -> Any:
    """What a pickle holds, of dictionaries, lists, texts (latin1 where Python 2 wrote bytes), numbers, and arrays that `plain` makes.

    Raises:
        DataError: the file is damaged, is no pickle, or names anything else; the line begins with `place`.
    """
    try:
        return _Unpickler(file, encoding="latin1").load()
    except Exception as error:  # A damaged or hostile pickle raises whatever its bytes lead to.
        file.seek(0)
        reason = " ".join(str(error).split()) or type(error).__name__
        kind = describe(file.read(HEAD)) or f"damaged, or not a pickle of plain arrays ({reason})"
        raise DataError(f"{place}: {kind}; fetch the file again") from error


class _DType:
    """Stands in for numpy.dtype: keeps the type code and the byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        if code not in CODES:
            raise pickle.UnpicklingError(f"arrays of type {code!r} are not read")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.order = state[1]


class _Array:
    """Stands in for numpy.ndarray: keeps shape, type, memory order and bytes."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state

    def plain(self) -> np.ndarray:
        data = self.data.encode("latin1") if isinstance(self.data, str) else self.data
        if not isinstance(data, bytes | bytearray) or not isinstance(self.dtype, _DType):
            raise ValueError("an array of objects, not of numbers")
        dtype = np.dtype(self.dtype.order + self.dtype.code)
        if math.prod(self.shape) * dtype.itemsize != len(data):
            raise ValueError(f"an array of shape {self.shape} has {len(data)} bytes")
        return np.frombuffer(data, dtype).reshape(self.shape, order="F" if self.fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _encode(text: str, encoding: str) -> bytes:
    """Protocol 2 has no bytes: it writes them as text in latin1."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not read")
    return text.encode("latin1")


ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no array needs")
        return ALLOWED[module, name]


def plain(value: Any) -> np.ndarray:
    """The array that a part of a pickle stands for. Raises TypeError for anything else, ValueError for one that is not of numbers."""
    if not isinstance(value, _Array):
        raise TypeError(f"{type(value).__name__} where an array was expected")
    return value.plain()
