"""A model that somebody else trained."""

from __future__ import annotations

from pathlib import Path

from advrun.system.foreign import Foreign, stored_names
from advrun.system.inputs import AS_IT_IS, ModelInput, Order
from advrun.system.modelfile import load_model
from advrun.types import FilePath, Fraction


def file(
    *,
    path: FilePath,
    input: ModelInput = AS_IT_IS,
    classes: Order | None = None,
    class_names: tuple[str, ...] = (),
    expect: Fraction | None = None,
) -> Foreign:
    """A Keras model from a `.keras` or `.h5` file; what squashes its scores at its end is cut off.

    Nothing is trained. Code inside the file is refused, not run. Where more of the clean images would be right if they were shown in
    another way, or if the classes were in alphabetical order, advrun says so.

    Args:
        path: the file.
        input: what the model expects of its images, where that is not RGB from 0 to 1 in the data's size.
        classes: what its outputs mean, where they are not in the order of class numbers; alphabetical is 0, 1, 10, 11, 2, ...
        class_names: names of its outputs, in their order; those in the file by default. Images of some classes are told apart by them.
        expect: the clean accuracy that its author reports, from 0 to 1. Where it is missed, nothing is attacked.
    """
    model = load_model(path)
    return Foreign(model, input, classes, class_names or stored_names(Path(path)), expect, path)
