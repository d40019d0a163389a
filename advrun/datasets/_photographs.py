"""Photographs in files, decoded when they are looked at: the shorter side is scaled, and the middle cut out."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from advrun.datasets._images import MAX_SIDE, reason, refuse
from advrun.datasets._tree import FORMATS
from advrun.files import content_key
from advrun.images import Images, in_threads

FORM = 1
"""Changes with what is done to a photograph."""
REMEDY = "replace or remove them"


class Preparation(NamedTuple):
    """What is done to each photograph; see `Photographs`."""

    size: int
    shorter: int
    filter: str


class Photographs(Images):
    """(n, size, size, 3) uint8 RGB. Only what is looked at is read; a photograph that cannot be is a DataError then, or when hashed.

    The shorter side is scaled to `shorter` pixels, antialiased, and the middle `size` x `size` cut out, as most do who publish accuracies
    on ImageNet. EXIF rotation is not applied.

    Args:
        root: the folder that paths start at.
        paths: of the files, relative to root.
        size: height and width of the images.
        shorter: length of the shorter side before the middle is cut out, at least `size`.
        filter: Pillow's name of the resampling filter.
    """

    def __init__(self, root: Path, paths: Sequence[str], size: int, shorter: int, filter: str) -> None:
        super().__init__((len(paths), size, size, 3))
        self.root, self.paths = root, paths
        self.preparation = Preparation(size, shorter, filter)
        self._digests: dict[int, bytes] = {}

    def read(self, rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)

        def decode(place: int) -> tuple[Path, str] | None:
            path = self.root / self.paths[rows[place]]
            try:
                images[place] = prepared(path, self.preparation)
            except Exception as error:  # a damaged image raises whatever its bytes lead to
                return path, reason(path, error)
            return None

        refuse([problem for problem in in_threads(decode, range(len(rows))) if problem], len(rows), self.root, REMEDY)
        return images

    def digests(self, rows: np.ndarray) -> list[bytes]:
        """Of the bytes of each file and of what is done to it; headers are judged on the way, so that what is no image is named at once."""
        new = [row for row in dict.fromkeys(map(int, rows)) if row not in self._digests]
        problems = [problem for problem in in_threads(self._hash, new) if problem]
        refuse(problems, len(new), self.root, REMEDY)
        return [self._digests[int(row)] for row in rows]

    def _hash(self, row: int) -> tuple[Path, str] | None:
        path = self.root / self.paths[row]
        try:
            content = path.read_bytes()
            with _opened(io.BytesIO(content)):
                pass
        except Exception as error:
            return path, reason(path, error)
        done = content_key([FORM, *self.preparation]).encode()
        self._digests[row] = hashlib.blake2b(content, digest_size=16, key=done).digest()
        return None


def prepared(path: Path, preparation: Preparation) -> np.ndarray:
    """One photograph as (size, size, 3) uint8. Raises whatever a damaged one leads to."""
    from PIL import Image

    size, shorter, filter = preparation
    with _opened(path) as image:
        width, height = image.size
        scale = shorter / min(width, height)
        target = max(size, round(width * scale)), max(size, round(height * scale))
        picture = image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
    if target != picture.size:
        picture = picture.resize(target, Image.Resampling[filter.upper()])
    left, top = round((target[0] - size) / 2), round((target[1] - size) / 2)
    return np.asarray(picture.crop((left, top, left + size, top + size)))


def _opened(file: Any) -> Any:
    """The image, its header judged."""
    from PIL import Image

    image = Image.open(file, formats=FORMATS)
    if max(image.size) > 2 * MAX_SIDE:
        raise ValueError(f"{image.width} x {image.height} pixels, more than {2 * MAX_SIDE}")
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ValueError(f"pixels of more than 8 bit, mode {image.mode}: save it as 8-bit")
    return image


def listed(folder: Path, endings: tuple[str, ...]) -> list[str]:
    """Names of the image files right in a folder, sorted; hidden ones are passed over. A folder of 50,000 is read at once."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name.lower().endswith(endings) and not entry.name.startswith("."))
