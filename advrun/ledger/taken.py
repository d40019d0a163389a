"""One system, asked about images that are said to be adversarial: which of them are, and are closer than what is known."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from advrun import defend
from advrun.closest import Closest, Example, Filed, canonical, unit
from advrun.errors import ModelError
from advrun.files import inside
from advrun.identity import key_of
from advrun.images import blocks
from advrun.system import Classifier
from advrun.system.copies import full_precision
from advrun.system.modelfile import save_model
from advrun.verify.examples import sure_of
from advrun.verify.minutes import Minutes

BATCH = 64
"""Images that are asked about at once, always: an answer shall not depend on which others came with it."""


@dataclass
class Taken:
    """What became of the examples that were offered.

    minutes: what was false, with what it should be, and what could not be checked. kept: closer than what was known. farther: no closer.
    needless: of images that the system has wrong anyway. unsure: so near to another class that rounding decides.
    """

    minutes: Minutes = field(default_factory=Minutes)
    offered: int = 0
    kept: int = 0
    farther: int = 0
    needless: int = 0
    unsure: int = 0
    images: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """Those of which an example was kept, by system and norm: a later one that is nearer takes its place."""

    @property
    def line(self) -> str:
        """All of it."""
        said = {
            f"{self.farther:,} are no closer than what is known": self.farther,
            f"{self.needless:,} are of images that are wrong anyway": self.needless,
            f"{self.unsure:,} are left out, for rounding decides about them": self.unsure,
            f"{self.minutes.count} refused": len(self.minutes.found),
        }
        return "; ".join([f"{self.kept:,} of {self.offered:,} examples are kept", *(text for text, count in said.items() if count)])


class Hearing(NamedTuple):
    """What a system says of an example.

    is_right: of the clean image, that it is what it is. is_wrong: of the adversarial one, another class. is_sure: that rounding cannot
    change either. before, after: the classes.
    """

    is_right: bool
    is_wrong: bool
    is_sure: bool
    before: int
    after: int


@dataclass(frozen=True, eq=False)
class Judge:
    """A system that answers the same way twice. key: who it is."""

    classifier: Classifier
    key: str

    @classmethod
    def of_file(cls, path: Path) -> Judge:
        """The system of a file: a Keras model, or one that a run has kept. Raises ModelError where it is none, or draws at random."""
        classifier = Classifier(defend.load(path), name=path.name)
        refuse_random(classifier, str(path))
        if path.suffix == defend.FILE:
            return cls(classifier, key_of(path))
        with tempfile.TemporaryDirectory(prefix="advrun-") as folder:
            place = Path(folder, "system.keras")
            save_model(full_precision(classifier.model), place)
            return cls(classifier, key_of(place))

    @classmethod
    def of_results(cls, classifier: Classifier, root: Path, name: str) -> Judge:
        """A system that was read from the file `name` of a results folder. Raises ModelError where it draws at random."""
        refuse_random(classifier, classifier.name)
        return cls(classifier, key_of(inside(root, name)))

    def outcomes(self, examples: Sequence[Example]) -> list[Hearing]:
        """What the system says of examples of one shape."""
        y = np.array([example.y for example in examples])
        before, after = self._answers(unit(example.x) for example in examples), self._answers(example.x_adv for example in examples)
        said = self.classifier.right(before, y), self.classifier.wrong(after, y), np.minimum(sure_of(before), sure_of(after))
        found = zip(*(each.tolist() for each in (*said, before.argmax(-1), after.argmax(-1))), strict=True)
        return [Hearing(*each) for each in found]

    def _answers(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """Logits."""
        x = np.stack(list(images))
        missing = -len(x) % BATCH
        padded = np.concatenate([x, np.repeat(x[:1], missing, axis=0)]) if missing else x
        return self.classifier.predict(padded, BATCH)[: len(x)]

    def judge(self, ledger: Closest, norm: str, x: Any, x_adv: Any, y: np.ndarray, taken: Taken, place: str, numbers: Any = None) -> None:
        """Take into the ledger what is true of these examples, and closer than what it knows.

        Args:
            ledger: where to.
            norm: what they are near in.
            x, x_adv: (n, h, w, c) uint8, or float in [0, 1]; the second may hold anything.
            y: (n,) the true classes.
            taken: is told what becomes of each.
            place: what lines name them by. numbers: (n,) theirs in that place; 0, 1, ... by default.
        """
        numbers = np.arange(len(y)) if numbers is None else numbers
        known: dict[str, Filed] = ledger.places(self.key, norm)
        done = 0
        for clean, moved in zip(blocks(x), blocks(x_adv), strict=True):
            part = slice(done, done + len(clean))
            done += len(clean)
            nearer = []
            for example, number in self._sound(norm, clean, moved, y[part], numbers[part], taken, place):
                before = known.get(example.place.image)
                if before is None or example.place < before:
                    nearer.append((example, number))
                else:
                    taken.farther += 1
            kept = sorted(self._true(nearer, taken, place), key=lambda example: example.place)
            images, mine = {example.place.image for example in kept}, taken.images.setdefault((self.key, norm), set())
            added = ledger.add(kept) - len(images & mine)
            taken.kept, taken.farther = taken.kept + added, taken.farther + len(kept) - added
            mine |= images
            known |= {example.place.image: example.place for example in reversed(kept)}
        taken.offered += done

    def _sound(
        self, norm: str, x: np.ndarray, x_adv: np.ndarray, y: np.ndarray, numbers: Sequence[int], taken: Taken, place: str
    ) -> Iterator[tuple[Example, int]]:
        """Those that are images, in the form that the ledger keeps."""
        for clean, moved, label, number in zip(x, x_adv, y, numbers, strict=True):
            moved = unit(moved).astype(np.float32)
            if not (np.isfinite(moved).all() and moved.min() >= 0 and moved.max() <= 1):
                taken.minutes.find(place, f"image {number} with pixels from {moved.min():.6g} to {moved.max():.6g}", "0 to 1")
                continue
            kept = canonical(clean)
            same = moved == unit(clean).astype(np.float32)  # what was not changed stays so, where the grey levels were divided otherwise
            yield Example(self.key, norm, kept, np.where(same, unit(kept), moved), int(label)), int(number)

    def _true(self, examples: list[tuple[Example, int]], taken: Taken, place: str) -> Iterator[Example]:
        """Those that the system has right before, and wrong after."""
        if not examples:
            return
        for (example, number), outcome in zip(examples, self.outcomes([example for example, _ in examples]), strict=True):
            if not outcome.is_right:
                taken.needless += 1
            elif outcome.is_wrong:
                yield example
            elif not outcome.is_sure:
                taken.unsure += 1
            else:
                answer = "rejected" if outcome.after == self.classifier.classes else f"class {outcome.after}, the true one"
                taken.minutes.find(place, f"that image {number} fools {self.classifier.name}, which calls it {answer}", "another class")


def refuse_random(classifier: Classifier, name: str) -> None:
    """Raise ModelError for a system that draws at random."""
    if classifier.random:
        raise ModelError(f"{name}: draws at random, so one answer tells nothing of an example; a ledger keeps those of other systems alone")
