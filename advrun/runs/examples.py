"""Adversarial images as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np


def write_examples(arrays: Mapping[str, np.ndarray], label: str, path: Path) -> None:
    """x_adv (n, h, w, c) float32, lossless; attacked (n,) bool; row (n,): row of the test set; target (n,) when targeted."""
    import h5py

    with h5py.File(path, "w", track_order=True) as file:
        file.attrs["label"] = label
        for name, array in arrays.items():
            packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if name == "x_adv" else {}
            file.create_dataset(name, data=array, track_times=False, **packed)


def read_examples(path: Path) -> dict[str, np.ndarray]:
    """What `write_examples` wrote."""
    import h5py

    with h5py.File(path, "r") as file:
        return {name: file[name][:] for name in file}
