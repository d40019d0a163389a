"""A model that somebody else trained, and how it is to be read: what it expects of its images, and what its outputs mean."""

from __future__ import annotations

import json
import zipfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from advrun.errors import ConfigError, ModelError
from advrun.system.ends import ending, logits_model, plain_model
from advrun.system.inputs import AS_IT_IS, ModelInput, Order, adapted, class_order, expected_shape, is_channels_first, of_images, reordered


@dataclass(frozen=True, eq=False)
class Foreign:
    """A model as its file has it, with what was said about it.

    model: the Keras model, nothing cut off, and nothing before it but what makes its input images (n, height, width, channels); a
    dictionary or list of one around its input or output is taken off. expects: what it expects of its images. order: what its outputs
    mean, None for class numbers in order. class_names: of its outputs, in their order; may be empty. claim: the clean accuracy that its
    author reports. place: its file, for messages.

    Raises ModelError where it has several inputs or outputs, or takes a row of numbers that is no square image.
    """

    model: Any
    expects: ModelInput = AS_IT_IS
    order: Order | None = None
    class_names: tuple[str, ...] = ()
    claim: float | None = None
    place: str = ""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "model", of_images(plain_model(self.model)))
        except ModelError as error:
            raise ModelError(f"{self.place}: {error}" if self.place else str(error)) from error
        if self.class_names and len(self.class_names) != self.classes:
            raise ModelError(f"{self}: class_names has {len(self.class_names)} names, but the model has {self.classes} classes")

    def __str__(self) -> str:
        return f"model {self.model.name!r}" + (f" ({self.place})" if self.place else "")

    @property
    def classes(self) -> int:
        """How many classes it tells apart; a single output tells two."""
        shape = getattr(self.model, "output_shape", None)
        if not isinstance(shape, tuple) or not isinstance(shape[-1], int):
            logits_model(self.model)  # says what is the matter, if it is
            raise ModelError(f"{self} gives {shape}; expected one output (n, classes)")
        return max(shape[-1], 2)

    @property
    def by_name(self) -> bool:
        """Whether the order of its outputs is said by names, which the data set must have."""
        return isinstance(self.order, tuple) and not all(isinstance(item, int) or item.isdecimal() for item in self.order)

    def names(self) -> tuple[str, ...]:
        """Of the classes 0, 1, ...; empty where nobody named them."""
        if not self.class_names or self.order is None:
            return self.class_names
        if self.by_name:
            return ()  # the data set's own
        return tuple(name for _, name in sorted(zip(self.numbers(), self.class_names, strict=True)))

    def system(self, image_shape: tuple[int, int, int] | None, names: tuple[str, ...] = ()) -> Any:
        """A Keras model from images in [0, 1] of this shape to answers in the order of class numbers. Raises ModelError.

        names: of the classes, where `order` speaks of names.
        """
        model = adapted(self.model, self.expects, image_shape)
        if self.order is None:
            return model
        return reordered(logits_model(model), self.numbers(names))

    def numbers(self, names: tuple[str, ...] = ()) -> tuple[int, ...]:
        """The class number of each output; `names` are the data's, where `order` speaks of them. Raises ConfigError."""
        try:
            return tuple(range(self.classes)) if self.order is None else class_order(self.order, self.classes, names)
        except ConfigError as error:
            raise ConfigError(f"{self}: {error}") from None

    def takes(self, image_shape: tuple[int, int, int]) -> bool:
        """Whether it is shown images of this shape as they are, or through its `expects`."""
        return self._has_size(image_shape) and self._sees(image_shape) in (None, expected_shape(self.model)[2])

    def _has_size(self, image_shape: tuple[int, int, int]) -> bool:
        sides = zip(expected_shape(self.model), image_shape[:2], strict=False)
        return self.expects.size is not None or all(side in (None, got) for side, got in sides)

    def _sees(self, image_shape: tuple[int, int, int]) -> int | None:
        """How many channels it is shown, None for as many as it takes."""
        return None if self.expects.channels == "gray" or expected_shape(self.model)[2] is None else image_shape[2]

    def refuse(self, image_shape: tuple[int, int, int], data: str, *, resizable: bool = False) -> NoReturn:
        """Raise the ModelError, with the remedy, that images of this shape are not taken. resizable: the data may have other sizes."""
        height, width, channels = expected_shape(self.model)
        taken, given = (height, width), tuple(image_shape[:2])
        if not self._has_size(image_shape):
            size: Any = height if height == width else taken
            text = f"input: {replace(self.expects, size=size)}" if None not in taken else "input: {size: ...}"
            remedy = f"set data.image_size: {height}, or write {text}" if resizable and height == width else f"write {text}"
            raise ModelError(f"{self} takes images of {height} x {width}, data set {data} has {given[0]} x {given[1]}; {remedy}")
        shown = self._sees(image_shape)
        remedy = f"write input: {replace(self.expects, channels='gray')}" if {channels, shown} == {1, 3} else "no input makes them fit"
        if (channels, shown) == (3, 4):
            remedy = "drop the alpha channel of the images: x[..., :3]"
        raise ModelError(f"{self} takes {channels} channel{'s' * (channels != 1)}, data set {data} has {shown}; {remedy}")

    def facts(self) -> dict[str, Any]:
        """What a person may want to know before a run, by name. Raises ModelError where there are no logits to be had."""
        try:
            logits_model(self.model)
        except ModelError as error:
            raise ModelError(f"{self.place}: {error}" if self.place else str(error)) from error
        end = ending(self.model)
        height, width, channels = (side or "any" for side in expected_shape(self.model))
        layout = ", channels first" if is_channels_first(self.model.input_shape[1:]) else ""
        outputs = self.model.output_shape[-1]
        facts = {
            "input": f"{height} x {width}, {channels} {'channel' if channels == 1 else 'channels'}{layout}",
            "read as": f"pixels from 0 to 1{'' if self.expects == AS_IT_IS else f', input: {self.expects}'}",
            "classes": self.classes,
            "ending": f"{'one output, ' if outputs == 1 else ''}{end}{'' if end == 'logits' else ', which is cut off'}",
            "written by": written_by(self.place) or "unknown",
        }
        names = self.names()
        if names:
            facts["class names"] = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        if self.order is not None:
            facts["outputs"] = self.order if isinstance(self.order, str) else "in the order listed"
        return facts


def stored_names(path: Path) -> tuple[str, ...]:
    """Class names that the author put into the model's file: the attribute class_names of an HDF5 file, or an entry of metadata.json."""
    found: Any = ()
    with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):
        found = _metadata(path).get("class_names", ())
        found = json.loads(found) if isinstance(found, (str, bytes)) else found
    if not isinstance(found, (list, tuple)):
        found = getattr(found, "tolist", tuple)()
    return tuple(name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in found)


def written_by(path: str) -> str:
    """The version of Keras that wrote the file, in words, "" where it does not say."""
    with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):
        version = _metadata(Path(path)).get("keras_version", "")
        return f"Keras {version.decode() if isinstance(version, bytes) else version}" if len(version) else ""
    return ""


def _metadata(path: Path) -> dict[str, Any]:
    """What the file says of itself. Raises OSError, ValueError, KeyError or BadZipFile where it says nothing."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo("metadata.json")
            return dict(json.loads(archive.read(entry))) if entry.file_size < MOST_METADATA else {}
    import h5py

    with h5py.File(path) as file:
        return {name: file.attrs[name] for name in ("class_names", "keras_version") if name in file.attrs}


MOST_METADATA = 1 << 24
"""Bytes of metadata.json that are read."""
