"""What the answers of an oracle mean: scores, class numbers, or labels of the service's own -> logits (classes,) float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from advrun.errors import ConfigError, did_you_mean
from advrun.system.oracle import Answer, Oracle

ABSENT = 1e-6
"""The score of a class that an answer does not name."""
OTHER = "another answer"


@dataclass(frozen=True)
class Vocabulary:
    """Gives answers their meaning.

    classes: how many, those of other answers included. numbers: label in small letters -> class, for services with labels of their own;
    every other label is one of the last `others` classes, the best of them the first. names: of all classes.
    """

    classes: int
    meaning: str
    numbers: Mapping[str, int]
    others: int = 0
    names: tuple[str, ...] = ()

    def row(self, answer: Answer) -> np.ndarray:
        """The logits of an answer, (classes,) float32: log-probabilities of probabilities, 0 and 1 of a class number."""
        if isinstance(answer, int):
            return np.eye(self.classes, dtype=np.float32)[answer]
        if self.others:
            return self._of_labels(answer)
        scores = np.asarray(answer, np.float64)
        if self.meaning == "logits":
            return scores.astype(np.float32)
        return np.log(np.maximum(scores, 1e-30)).astype(np.float32)  # which softmax turns into the probabilities again

    def _of_labels(self, answer: Sequence[tuple[str, float]]) -> np.ndarray:
        named = self.classes - self.others
        scores = np.full(self.classes, ABSENT)
        scores[named:] = 2 * ABSENT  # a class that is not named at all is behind all that is
        others = []
        for label, score in answer:
            number = self.numbers.get(label.lower())
            if number is None:
                others.append(score)
            else:
                scores[number] = max(scores[number], score)
        best = sorted(others, reverse=True)[: self.others]
        scores[named : named + len(best)] = np.maximum(best, 2 * ABSENT)
        return np.log(scores).astype(np.float32)


def of_scores(oracle: Oracle) -> Vocabulary:
    """For an oracle that knows its classes by number."""
    classes = oracle.classes or 0
    return Vocabulary(classes, oracle.meaning, {}, 0, oracle.class_names)


def of_labels(oracle: Oracle, class_names: Sequence[str]) -> Vocabulary:
    """For labels whose meaning was said: `stop sign = 14`, the class by its number or name. Raises ConfigError."""
    numbers = {}
    for entry in oracle.labels:
        label, equals, said = (part.strip() for part in entry.rpartition("="))
        if not equals or not label or not said:
            raise ConfigError(f"{oracle}: labels has {entry!r}; expected LABEL = CLASS, such as 'stop sign = 14'")
        if said in class_names:
            number = list(class_names).index(said)
        elif said.isdecimal() and int(said) < len(class_names):
            number = int(said)
        else:
            raise ConfigError(f"{oracle}: labels has {entry!r}; the data has no class {said!r}{did_you_mean(said, class_names)}")
        numbers[label.lower()] = number
    return _with_others(oracle, numbers, list(class_names))


def of_clean_answers(oracle: Oracle, answers: Sequence[Answer]) -> tuple[Vocabulary, np.ndarray]:
    """For labels that mean themselves: the classes are those that clean images were given, and the first one of each image is the true one.

    Returns the vocabulary, and the classes (n,) int32 of the images. An image without an answer is of the class of other answers.
    """
    labels = sorted({label.lower() for answer in answers for label, _ in answer})
    numbers = {label: number for number, label in enumerate(labels)}
    firsts = [max(answer, key=lambda pair: pair[1])[0].lower() if answer else None for answer in answers]
    y = np.array([len(labels) if first is None else numbers[first] for first in firsts], np.int32)
    return _with_others(oracle, numbers, labels), y


def _with_others(oracle: Oracle, numbers: Mapping[str, int], names: list[str]) -> Vocabulary:
    others = [OTHER, *(f"{OTHER} ({number})" for number in range(2, oracle.first + 1))]
    return Vocabulary(len(names) + len(others), oracle.meaning, numbers, len(others), (*names, *others))
