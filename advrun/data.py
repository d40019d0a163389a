"""What a data set function returns, and the two splits made from it: validation by track, evaluation by a fixed order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from advrun.errors import DataError, printable
from advrun.files import content_key
from advrun.images import AnyImages, Images

SKILL = 0.1
"""A model that is no guess closes at least this share of the gap between always naming the commonest class and being always right."""

NAMED = 6
"""So many class names are listed in an error; the others are counted."""


def is_guess(accuracy: float, labels: np.ndarray) -> bool:
    """Whether an accuracy on images with these labels is hardly more than by always naming the commonest class."""
    guess = float(np.bincount(labels).max() / len(labels))
    return guess < 1 and accuracy - guess < SKILL * (1 - guess)


HALVES = 0xA1FB
"""Seed of what is drawn into each half: one for all experiments, so that models of two halves are strangers whatever their own seeds."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels of a training and a test set.

    x_train, x_test: (n, height, width, channels) uint8: arrays, or `Images` where they need not fit into memory. y_train, y_test: (n,)
    int32 in 0 .. classes - 1. There may be no training images, for models that are trained already; `class_names` and the test set are the
    same with and without them.
    group: (n_train,) int32; images of one group (one physical sign, one person) never straddle the validation split.
    class_names: one per class, on one line. variant: which published form of the data this is, in words, with its counts.
    by_name: the labels only number the names, as where each class is a folder; a model with more classes finds its own by the names.
    """

    name: str
    x_train: AnyImages
    y_train: np.ndarray
    x_test: AnyImages
    y_test: np.ndarray
    class_names: tuple[str, ...]
    group: np.ndarray | None = None
    variant: str = ""
    by_name: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(map(printable, self.class_names)))
        object.__setattr__(self, "variant", printable(self.variant))
        for split, x, y in (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            if x.ndim != 4 or x.dtype != np.uint8:
                raise DataError(f"{self.name}: {split} images are {x.dtype} {x.shape}; expected uint8 (n, height, width, channels)")
            if len(x) != len(y) or (len(x) == 0 and split == "test"):
                raise DataError(f"{self.name}: {split} set has {len(x)} images and {len(y)} labels")
            if len(y) and (y.min() < 0 or y.max() >= self.classes):
                raise DataError(f"{self.name}: {split} labels run from {y.min()} to {y.max()}, but there are {self.classes} classes")
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise DataError(f"{self.name}: training images are {self.x_train.shape[1:]}, test images {self.x_test.shape[1:]}")

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        height, width, channels = self.x_train.shape[1:]
        return height, width, channels

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every pixel and label of both splits: what learns from the data is made anew when any of it changes."""
        train = _hashed((self.x_train, self.y_train, self.group), self.class_names)
        return content_key([train, self.test_fingerprint])

    @cached_property
    def test_fingerprint(self) -> str:
        """Hash of every pixel and label of the test set, and of the classes: what is attacked and measured depends on no more.

        It is the same whether training images were read or not, so a finished row stays when a defence is added.
        """
        return _hashed((self.x_test, self.y_test), self.class_names)

    def with_classes(self, count: int, names: Sequence[str] = ()) -> Dataset:
        """The same images as examples of `count` classes, of which they may show some only; what identifies the data stays.

        Where both sides name their classes, names are matched, whatever their capitals; folders named by numbers are the classes of
        these numbers.

        Args:
            count: how many classes there are, at least as many as there are now.
            names: of the classes; numbers where it is empty.

        Raises:
            DataError: when `count` is less than the classes of the data, when there is no telling which of them the data have, or
                when both sides name as many classes otherwise.
        """
        if count < self.classes:
            raise DataError(f"data set {self.name} has {self.classes} classes, more than {count}")
        numbers = self._numbers_among(count, names)
        if numbers is None and self.by_name and count > self.classes:
            raise DataError(
                f"data set {self.name} shows {self.classes} of the model's {count} classes, and nothing says which "
                f"{self._unknown(count, names)!r} is; name the folders, or labels, by class numbers, or list the model's class_names"
            )
        if numbers is None and self.by_name and _real(names) and _real(self.class_names):
            raise DataError(
                f"data set {self.name} has the classes {_listed(self.class_names)}, but the model's class_names are {_listed(names)}; "
                "name them alike"
            )
        numbers = numbers or tuple(range(self.classes))
        all_names = list(names) or [str(number) for number in range(count)]
        for number, name in zip(numbers, self.class_names, strict=True):
            if not names and not (count > self.classes and _key(name) == str(number)):  # 1 rather than 00001 beside 0 and 2
                all_names[number] = name
        translated = np.asarray(numbers, np.int32)
        wider = replace(self, y_train=translated[self.y_train], y_test=translated[self.y_test], class_names=tuple(all_names))
        for name, each in vars(Dataset).items():
            if isinstance(each, cached_property):  # results are of these data, whatever model they are for
                vars(wider)[name] = getattr(self, name)
        return wider

    def _numbers_among(self, count: int, names: Sequence[str]) -> tuple[int, ...] | None:
        """The number that each class has among those of a model, as far as names tell."""
        for key in (str, _key):
            own, of_model = [key(name) for name in self.class_names], [key(name) for name in names]
            if names and set(own) <= set(of_model) and len(set(of_model)) == len(of_model) and len(set(own)) == len(own):
                return tuple(map(of_model.index, own))
        numbers = [int(name) for name in self.class_names if name.isdecimal() and int(name) < count]
        return tuple(numbers) if self.by_name and len(set(numbers)) == self.classes else None

    def _unknown(self, count: int, names: Sequence[str]) -> str:
        """The first class that nothing tells the number of."""
        known = {_key(name) for name in names} or {str(number) for number in range(count)}
        return next((name for name in self.class_names if _key(name) not in known), self.class_names[0])

    def validation_split(self, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers (training, validation): `fraction` of each class's groups, or of its images where there are none.

        Every class keeps at least one group for training. `fraction` 0 gives an empty validation set.
        """
        rng = np.random.default_rng([seed, 0x5EED])
        group = self.group if self.group is not None else np.arange(len(self.y_train))
        held_out = np.zeros(len(self.y_train), bool)
        for label in range(self.classes):
            groups = np.unique(group[self.y_train == label])
            count = min(round(fraction * len(groups)), len(groups) - 1)
            if count > 0:
                chosen = rng.choice(groups, count, replace=False)
                held_out |= (self.y_train == label) & np.isin(group, chosen)
        return np.flatnonzero(~held_out), np.flatnonzero(held_out)

    def half(self, which: str) -> Dataset:
        """The same data with one of two halves of its training images, "a" or "b"; with all of them for "all".

        The halves share no group, whatever the seed of the experiment. Each has half of every class's groups (of its images where there
        are none; a group is of the class of its first image), and where their number is odd the one left over goes to a and b in turn.

        Raises:
            DataError: when one half would not know a class, because all images of it are of one group.
        """
        if which == "all":
            return self
        group = self.group if self.group is not None else np.arange(len(self.y_train))
        groups, first, members = np.unique(group, return_index=True, return_inverse=True)
        of_group, rng, in_a, odd = self.y_train[first], np.random.default_rng(HALVES), np.zeros(len(groups), bool), 1
        for label in np.unique(of_group):
            own = rng.permutation(np.flatnonzero(of_group == label))
            in_a[own[: (len(own) + odd) // 2]] = True
            odd ^= len(own) % 2
        is_a = in_a[members]
        for label in np.unique(self.y_train):
            if len(np.unique(is_a[self.y_train == label])) == 1:
                name = self.class_names[label]
                raise DataError(
                    f"data set {self.name}: the images of class {name!r} are of one group, and make no two halves; leave train.half out"
                )
        rows = np.flatnonzero(is_a == (which == "a"))
        kept = None if self.group is None else self.group[rows]
        return replace(self, x_train=self.x_train[rows], y_train=self.y_train[rows], group=kept)

    def evaluation_order(self, seed: int = 0) -> np.ndarray:
        """A permutation of the test rows. Its first n rows are `examples: n`, so smaller runs nest in larger ones."""
        return np.random.default_rng([seed, 0xE7A1]).permutation(len(self.y_test))

    def limited(self, train: int | None, test: int | None, seed: int = 0) -> Dataset:
        """A random subset of at most `train` and `test` images, for quick runs; each is the same whatever the other is."""
        draws = ((len(self.y_train), train, ()), (len(self.y_test), test, (1,)))
        keep_train, keep_test = (np.sort(np.random.default_rng([seed, 0x11517, *own]).permutation(n)[:most]) for n, most, own in draws)
        return replace(
            self,
            x_train=self.x_train[keep_train],
            y_train=self.y_train[keep_train],
            group=None if self.group is None else self.group[keep_train],
            x_test=self.x_test[keep_test],
            y_test=self.y_test[keep_test],
        )


def _key(name: str) -> str:
    """The same for names that differ by capitals, by blanks around them, or by zeros before a number."""
    name = name.strip().casefold()
    return str(int(name)) if name.isdecimal() else name


def _real(names: Sequence[str]) -> bool:
    """Whether these are names, not just numbers."""
    return any(not name.strip().isdecimal() for name in names)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return printable(", ".join(names[:NAMED])) + more


def _hashed(arrays: Iterable[AnyImages | None], names: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        if array is not None:
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(b"".join(array.digests(np.arange(len(array)))) if isinstance(array, Images) else np.ascontiguousarray(array).data)
    digest.update("\0".join(names).encode())
    return digest.hexdigest()
