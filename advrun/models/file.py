"""A model that somebody else trained."""

from __future__ import annotations

from typing import Any

from advrun.system.modelfile import load_model
from advrun.types import FilePath


def file(*, path: FilePath) -> Any:
    """A Keras model from a `.keras` or `.h5` file, with images in [0, 1] as its input; what squashes its scores at its end is cut off.

    Nothing is trained. Code inside the file is refused, not run.

    Args:
        path: the file.
    """
    return load_model(path)
