"""A ledger: a folder that keeps, for each system, norm and image, the closest adversarial example known, from any run or any tool.

    LEDGER/SYSTEM/NORM/IMAGE-DISTANCE-CONTENT.npz      arrays x, x_adv and y
    LEDGER/SYSTEM/names/CONTENT.txt                    what the system was called where an example came from

SYSTEM is the hash of what it computes (`identity.py`), IMAGE that of the clean pixels, CONTENT the SHA-256 of the file. Of two examples of
one image the nearer is kept, of equally near ones that with the smaller hash. So a ledger is the join of what was put into it: in any
order, any number of times, by several processes at once, and by `cp -r` or git, it becomes the same bytes. Nobody needs a lock, for a file
is whole or absent, only a better one's arrival removes one, and whoever has written looks again.

The distance in a name is for reading many of them at once; whoever takes an example in computes it anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from advrun.errors import AdvrunError, DataError, printable
from advrun.files import content_of, inside, write_bytes
from advrun.geometry import GEOMETRIES
from advrun.npz import pack, unpack_bytes

HEX = 32
"""Digits of the names of systems and images: 128 bits."""
MOST = 1 << 30
"""Bytes of one example."""
NAMES = "names"
LONGEST_NAME = 200
ON_GRID = 1e-3
"""Of a grey level: images all of whose pixels are as near to a multiple of 1/255 are 8-bit images."""
_PLACE = re.compile(rf"([0-9a-f]{{{HEX}}})-([0-9.]+(?:e-?[0-9]+)?)-([0-9a-f]{{64}})\.npz")
_SYSTEM = re.compile(rf"[0-9a-f]{{{HEX}}}")


class Filed(NamedTuple):
    """Where an example lies, in the order of preference: the nearest first. system, norm, image, content: as in the module's text."""

    distance: float
    content: str
    system: str
    norm: str
    image: str

    @property
    def name(self) -> str:
        """Its file, within the ledger."""
        return f"{self.system}/{self.norm}/{self.image}-{self.distance!r}-{self.content}.npz"


@dataclass(frozen=True, eq=False)
class Example:
    """An image and an adversarial one, both (height, width, channels), which a system gives another class than y, that of x.

    x: uint8 where its pixels are grey levels, else float32 in [0, 1]. x_adv: float32 in [0, 1].
    """

    system: str
    norm: str
    x: np.ndarray
    x_adv: np.ndarray
    y: int

    @cached_property
    def content(self) -> bytes:
        """Its file. Without compression: the same example is the same bytes, whatever the library that packs them."""
        return pack({"x": self.x, "x_adv": self.x_adv, "y": np.array(self.y, np.int64)})

    @cached_property
    def place(self) -> Filed:
        """Where it belongs."""
        name = hashlib.sha256(self.content).hexdigest()
        return Filed(distance(self.x_adv, self.x, self.norm), name, self.system, self.norm, image_key(self.x))

    @classmethod
    def read(cls, system: str, norm: str, content: bytes) -> Example:
        """What `content` gave. Raises ValueError for anything else."""
        arrays = unpack_bytes(content, MOST)
        if arrays.keys() != {"x", "x_adv", "y"} or arrays["y"].shape or arrays["y"].dtype.kind != "i":
            raise ValueError("no example: expected the arrays x, x_adv and y, a number")
        x, x_adv = arrays["x"], arrays["x_adv"]
        if x.shape != x_adv.shape or x.ndim != 3 or x.dtype not in (np.uint8, np.float32) or x_adv.dtype != np.float32:
            raise ValueError(f"x is {x.dtype} {x.shape} and x_adv {x_adv.dtype} {x_adv.shape}; expected two images of one shape")
        if not (np.isfinite(x_adv).all() and x_adv.min(initial=0) >= 0 and x_adv.max(initial=0) <= 1):
            raise ValueError(f"pixels of x_adv run from {x_adv.min():.6g} to {x_adv.max():.6g}; expected 0 to 1")
        return cls(system, norm, x, x_adv, int(arrays["y"]))


class Closest:
    """A ledger on the disk. What is in it is read anew at each question, for others may write it too; no link in it is followed.

    root: the folder; made when something is added.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def at(cls, root: Path) -> Closest:
        """The ledger there, or one that begins there. Raises DataError where something else is."""
        found = cls(root)
        strange = next(found.odd(), "") if root.is_dir() and not found.systems else ""
        if strange or (root.exists() and not root.is_dir()):
            what = f"it holds {printable(repr(strange))}" if strange else "it is a file"
            raise DataError(f"{root}: no ledger: {what}; give the folder of `advrun ledger add`, or of one that is to begin")
        return found

    @property
    def systems(self) -> list[str]:
        """The systems of which it knows anything, sorted."""
        return [name for name in self._listed("") if _SYSTEM.fullmatch(name)]

    def norms(self, system: str) -> list[str]:
        """The norms in which it knows anything of a system, in the order of `geometry.GEOMETRIES`."""
        found = set(self._listed(system))
        return [norm for norm in GEOMETRIES if norm in found]

    def names(self, system: str) -> list[str]:
        """What a system was called, sorted."""
        said = (self._name(system, file) for file in self._listed(f"{system}/{NAMES}"))
        return sorted({name for name in said if name})

    def places(self, system: str, norm: str) -> dict[str, Filed]:
        """The closest example of each image, by its key; by file names alone."""
        return _closest(self.files(system, norm))

    def files(self, system: str, norm: str) -> Iterator[Filed]:
        """All files of examples: more than one of an image where a writer was killed, or where two folders were copied together."""
        for name in self._listed(f"{system}/{norm}"):
            if place := _PLACE.fullmatch(name):
                yield Filed(float(place[2]), place[3], system, norm, place[1])

    def odd(self) -> Iterator[str]:
        """Names of what no ledger has."""
        for system in self._listed(""):
            if not _SYSTEM.fullmatch(system):
                yield system
                continue
            for folder in self._listed(system):
                known = {*GEOMETRIES, NAMES}
                if folder not in known:
                    yield f"{system}/{folder}"
                    continue
                places = {Path(place.name).name for place in self.files(system, folder)} if folder != NAMES else None
                for file in self._listed(f"{system}/{folder}"):
                    if (places is not None and file not in places) or (places is None and not self._name(system, file)):
                        yield f"{system}/{folder}/{file}"

    def read(self, place: Filed) -> Example:
        """The example of a place. Raises ValueError where the file is not what its name says."""
        try:
            content = content_of(inside(self.root, place.name), MOST)
        except (OSError, AdvrunError) as error:
            raise ValueError(f"nothing that can be read ({error})") from error
        if (found := hashlib.sha256(content).hexdigest()) != place.content:
            raise ValueError(f"bytes with the hash {found[:12]}: torn, or changed")
        example = Example.read(place.system, place.norm, content)
        if example.place != place:
            raise ValueError(f"an example of image {example.place.image[:12]} at distance {example.place.distance:.8g}")
        return example

    def add(self, examples: Iterable[Example]) -> int:
        """Take in those that are closer than what is known; returns how many. They must have been checked. Raises WriteError."""
        known: dict[tuple[str, str], dict[str, Filed]] = {}
        kept = 0
        for example in examples:
            place, group = example.place, (example.system, example.norm)
            if group not in known:
                known[group] = self.places(*group)
            before = known[group].get(place.image)
            if before is None or place < before:
                write_bytes(inside(self.root, place.name), example.content)
                known[group][place.image] = place
                kept += 1
        for group in known:
            self._prune(*group)
        return kept

    def call(self, system: str, name: str) -> None:
        """Remember what a system was called."""
        content = printable(name)[:LONGEST_NAME].encode(errors="replace")
        file = f"{system}/{NAMES}/{hashlib.sha256(content).hexdigest()}.txt"
        if not os.path.lexists(self.root / file):
            write_bytes(inside(self.root, file), content)

    def _prune(self, system: str, norm: str) -> None:
        """Remove what a closer example has replaced. The closest that is there stays, so whoever looks last leaves one of each image."""
        seen = list(self.files(system, norm))  # at one glance: what arrives behind it is nobody's to remove but its writer's
        best = _closest(seen)
        for place in seen:
            if place != best[place.image]:
                with contextlib.suppress(OSError):  # somebody else was faster
                    inside(self.root, place.name).unlink()

    def _name(self, system: str, file: str) -> str:
        try:
            content = content_of(inside(self.root, f"{system}/{NAMES}/{file}"), 4 * LONGEST_NAME)
        except (OSError, AdvrunError):
            return ""
        return printable(content.decode(errors="replace")) if file == f"{hashlib.sha256(content).hexdigest()}.txt" else ""

    def _listed(self, folder: str) -> list[str]:
        """Names of what lies in a folder, sorted; hidden files and links aside, nothing where it is a link or no folder."""
        try:
            place = inside(self.root, f"{folder}/x").parent if folder else self.root
            with os.scandir(place) as entries:
                return sorted(entry.name for entry in entries if not entry.name.startswith(".") and not entry.is_symlink())
        except (OSError, AdvrunError):
            return []


def _closest(places: Iterable[Filed]) -> dict[str, Filed]:
    found: dict[str, Filed] = {}
    for place in places:
        found[place.image] = min(place, found.get(place.image, place))
    return found


def canonical(x: np.ndarray) -> np.ndarray:
    """An image (h, w, c) as the ledger knows it: uint8 where all pixels are grey levels, in whatever precision they were divided."""
    if x.dtype == np.uint8:
        return x
    scaled = x.astype(np.float64) * 255
    levels = np.rint(scaled)
    is_grey = np.abs(scaled - levels).max(initial=0.0) <= ON_GRID and levels.min(initial=0.0) >= 0 and levels.max(initial=0.0) <= 255
    return levels.astype(np.uint8) if is_grey else x.astype(np.float32, copy=False)


def unit(x: np.ndarray) -> np.ndarray:
    """Images as float32 in [0, 1], with the bits of `engine.to_unit`."""
    return x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x


def image_key(x: np.ndarray) -> str:
    """Who an image (h, w, c) is: a hash of its shape and pixels."""
    head = f"{x.dtype.str} {tuple(map(int, x.shape))}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(x).tobytes()).hexdigest()[:HEX]


def distance(x_adv: np.ndarray, x: np.ndarray, norm: str) -> float:
    """How far an image was moved, in float64."""
    moved = (x_adv.astype(np.float64) - unit(x).astype(np.float64)).ravel()
    return float(np.linalg.norm(moved, GEOMETRIES[norm].order))
