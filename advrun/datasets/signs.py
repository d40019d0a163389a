"""`signs`: the 43 traffic signs of GTSRB, drawn and photographed in code, for when no data has been downloaded."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Interval

from advrun.data import Dataset
from advrun.datasets._signs_artwork import SIGNS
from advrun.datasets._signs_camera import Camera, photograph
from advrun.datasets._signs_scene import scene
from advrun.datasets._signs_tracks import Tracks
from advrun.types import Count, Natural

FRAMES = 8
"""Photographs of one physical sign in the training set."""
BLOCK = FRAMES * len(SIGNS)
"""Photographs made at once, each class equally often."""

Side = Annotated[int, Interval(ge=16, le=64)]
"""Side of an image in pixels: signs are not legible below the range, and hardly ever photographed as large above it."""


def signs(training: bool = True, *, train: Count = 10_000, test: Count = 2_000, image_size: Side = 32, seed: Natural = 0) -> Dataset:
    """Drawn photographs of the 43 signs of GTSRB (Stallkamp et al., 2012): no download, the same bytes on any machine.

    Like GTSRB, the training set consists of tracks (`group`): 8 frames of one physical sign in one light, nearer and
    farther. Test images show one sign each. Unlike GTSRB's, the classes are equally frequent, and the tracks short.
    A smaller set consists of the first images of a larger one.

    Args:
        train: Number of training images; 43 or more show every class.
        test: Number of test images; 43 or more show every class.
        image_size: Height and width in pixels.
        seed: Another seed gives other photographs.
    """
    x_train, y_train, group = _photographs(train if training else 0, FRAMES, image_size, (seed, 0))
    x_test, y_test, _ = _photographs(test, 1, image_size, (seed, 1))
    return Dataset(
        name="signs",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        class_names=tuple(SIGNS),
        group=group if training else None,
        variant=f"drawn signs, seed {seed}: {train:,} training and {test:,} test images of {image_size} x {image_size}",
    )


def _photographs(count: int, frames: int, size: int, seed: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (count, size, size, 3) uint8, labels (count,) int32 and track numbers (count,) int32."""
    blocks = -(-count // BLOCK)
    images = np.empty((blocks, BLOCK, size, size, 3), np.uint8)
    labels, tracks = np.empty((2, blocks, BLOCK), np.int32)
    for block in range(blocks):
        rng = np.random.default_rng([*seed, block])
        images[block], labels[block], tracks[block] = _block(rng, frames, size)
        tracks[block] += block * (BLOCK // frames)
    return images.reshape(-1, size, size, 3)[:count], labels.ravel()[:count], tracks.ravel()[:count]


def _block(rng: np.random.Generator, frames: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """BLOCK images, labels and track numbers, in which rows 0 .. 42, 43 .. 85 and so on each show every class."""
    signs_in_block = BLOCK // frames
    rounds = np.tile(np.arange(len(SIGNS)), (signs_in_block // len(SIGNS), 1))
    labels = np.repeat(rng.permuted(rounds, axis=1).ravel(), frames)
    tracks = Tracks(rng, signs_in_block, frames)
    images = photograph(scene(labels, tracks, size), Camera.for_tracks(tracks, size), rng)
    listed = np.arange(BLOCK).reshape(signs_in_block, frames).T.ravel()
    return images[listed], labels[listed], listed // frames


def outline(*, image_size: int, **_: object) -> tuple[tuple[int, int, int], int]:
    """Shape of an image and number of classes, from the settings alone."""
    return (image_size, image_size, 3), len(SIGNS)
