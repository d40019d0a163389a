"""The Python form of the attacks: arrays in, arrays out, compiled and batched underneath."""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from advrun import registry
from advrun.errors import AdvrunWarning, ConfigError
from advrun.geometry import Ball

EXAMPLES = {"Linf": "Linf(8/255)", "L2": "L2(0.5)", "L1": "L1(12)", "L0": "L0(10)"}


@dataclass(frozen=True)
class PublicAttack:
    """An attack of `advrun/attacks/`, callable with NumPy arrays."""

    name: str

    @property
    def plugin(self) -> registry.Plugin:
        return registry.get("attacks", self.name)

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self.plugin.doc

    @property
    def __signature__(self) -> inspect.Signature:
        """That of the call, with the attack's own settings and their defaults."""
        own = inspect.signature(self.__call__)
        shared = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        settings = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=setting.default, annotation=setting.annotation)
            for name, setting in self.plugin.settings.items()
        ]
        return own.replace(parameters=[*shared, *settings])

    def __call__(
        self,
        model: Any,
        x: np.ndarray,
        y: np.ndarray,
        geometry: Ball | None = None,
        *,
        seed: int = 0,
        batch_size: int = 256,
        target: str | int | None = None,
        only_correct: bool = False,
        train: tuple[np.ndarray, np.ndarray] | None = None,
        **settings: Any,
    ) -> np.ndarray:
        """Adversarial images for x, (n, h, w, c) float32 in [0, 1].

        Args:
            model: a Classifier, an Oracle, a Keras model, or the path of a model file.
            x: (n, h, w, c), uint8 or float32 in [0, 1].
            y: (n,) true classes.
            geometry: the ball, Linf(8/255) for example; for minimal-norm attacks the norm to make small, if not their first.
            seed: of everything random.
            batch_size: images attacked at once.
            target: the class to reach instead of leaving y: a class number, "random", "least_likely", "second", or "all" in turn.
            only_correct: leave images that are misclassified anyway as they are.
            train: images and labels of the attacker's own, for attacks that learn or start from other images; x and y by default.
            **settings: the attack's own settings, or `preset="paper"`.

        Raises:
            ConfigError: for settings, balls or targets that the attack does not have. DataError: for images or labels
            that do not fit the model. ModelError: when the model gives no logits.
        """
        for name in {"norm", "ball", "eps"} & settings.keys() - self.plugin.settings.keys():
            raise ConfigError(
                f"{self.name} takes no {name}=; the fourth argument is the ball or norm: {' or '.join(self._examples) or 'none'}"
            )
        from advrun.attack import Attack
        from advrun.config.entries import settings_of
        from advrun.craft import craft

        attack = Attack(self.plugin, self._geometry(geometry), settings_of(self.plugin, _plain(settings)), draws_of(model))
        if target is not None and not self.plugin.can_target:
            raise ConfigError(f"{self.name} has no targeted form")
        classifier = as_classifier(model)
        crafted = craft(classifier, attack, x, y, seed=seed, batch_size=batch_size, target=target, only_correct=only_correct, train=train)
        for doubt in _doubts(classifier, x, y, by_gradients=self.plugin.access == "gradients"):
            warnings.warn(doubt, AdvrunWarning, stacklevel=2)
        return crafted.x_adv

    @property
    def _examples(self) -> list[str]:
        return [EXAMPLES[kind.__name__] if self.plugin.needs_eps else f"{kind.__name__}()" for kind in self.plugin.geometries]

    def _geometry(self, geometry: Ball | None) -> Ball | None:
        known, examples = self.plugin.geometries, self._examples
        if geometry is None:
            if self.plugin.needs_eps:
                raise ConfigError(f"{self.name} needs a ball, for example {examples[0]}")
            return known[0]() if known else None
        if isinstance(geometry, type) and known:
            raise ConfigError(f"{self.name} got the class {geometry.__name__}; give a ball, such as {' or '.join(examples)}")
        if type(getattr(geometry, "ball", geometry)) not in known:  # that of a mask is the ball that it masks
            names = " or ".join(each.__name__ for each in known) or "no norm"
            example = f": give {' or '.join(examples)}" if examples else ""
            raise ConfigError(f"{self.name} works in {names}, not in {type(geometry).__name__}{example}")
        if np.ndim(geometry.eps):
            raise ConfigError(f"eps has shape {np.shape(geometry.eps)}; expected one number for all images")
        if self.plugin.needs_eps and not np.isfinite(geometry.eps):
            raise ConfigError(f"{self.name} needs an eps, for example {EXAMPLES[geometry.name]}")
        if not self.plugin.needs_eps and np.isfinite(geometry.eps):
            raise ConfigError(f"{self.name} takes no eps: it looks for the nearest image; give {geometry.name}() and compare distances")
        return geometry


def draws_of(model: Any) -> int:
    """Over how many draws gradients are averaged: those of a `Classifier`, else the default; it matters where the model is random."""
    from advrun.system import Classifier
    from advrun.system.draws import DRAWS

    return model.draws.count if isinstance(model, Classifier) else DRAWS


def as_classifier(model: Any) -> Any:
    """A Classifier from a Classifier, a chain, a Keras model, or the path of the file of a model or of a defended system.

    A Keras model that was passed before has the same Classifier, with what is compiled already, also after more training.
    """
    from advrun.defend import load
    from advrun.system import BlackBox, Classifier, Oracle

    if isinstance(model, Classifier):
        return model
    if isinstance(model, Oracle):
        return BlackBox(model)
    if isinstance(model, (str, Path)):
        return Classifier(load(model), name=Path(model).stem)
    known = _recognised.pop(id(model), None)
    if known is None or known.model is not model or known.copied != _copied(model, known.classifier):
        classifier = Classifier(model)
        known = _Known(model, classifier, _copied(model, classifier))
    _recognised[id(model)] = known
    while len(_recognised) > RECOGNISED:
        del _recognised[next(iter(_recognised))]
    return known.classifier


PROBED = 64
"""Images whose gradients are looked at when a classifier is first attacked by them."""
RECOGNISED = 2
"""Keras models that are remembered: the last ones."""


class _Known(NamedTuple):
    """A Keras model, its classifier, and a hash of the weights that the classifier has copies of: they go stale when it is trained."""

    model: Any
    classifier: Any
    copied: str


_recognised: dict[int, _Known] = {}


def _copied(model: Any, classifier: Any) -> str:
    shared = {id(variable) for variable in classifier.model.variables}
    digest = hashlib.blake2b()
    for variable in model.variables:
        if id(variable) not in shared:
            digest.update(np.asarray(variable).tobytes())
    return digest.hexdigest()


def _doubts(classifier: Any, x: np.ndarray, y: np.ndarray, *, by_gradients: bool) -> Iterator[str]:
    """Why a table would flag an attack on these clean images; each is said once for a classifier."""
    from advrun.data import is_guess
    from advrun.system.check import zero_gradients
    from advrun.system.classifier import check_images, check_labels
    from advrun.system.readings import shuffled

    images, labels = shuffled(check_images(x, classifier.image_shape), check_labels(y, len(x), classifier.classes))
    if "guesses" not in classifier.probed:
        classifier.probed.add("guesses")
        right = float((classifier.predict(images).argmax(-1) == labels).mean())
        if is_guess(right, labels) and (doubt := classifier.doubt(right, images, labels)):
            yield doubt
    if by_gradients and "gradients" not in classifier.probed:
        classifier.probed.add("gradients")
        share = zero_gradients(classifier, images[:PROBED], labels[:PROBED], PROBED)
        if share > 0:
            text = f"model {classifier.name!r}: the gradient of {100 * share:.1f} % of the images is zero, or not a number"
            yield f"{text}; there a gradient attack is blind, the model not robust: run square too"


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """NumPy scalars as Python's own, lists as tuples."""

    def plain(value: Any) -> Any:
        return value.item() if isinstance(value, np.generic) else tuple(value) if isinstance(value, list) else value

    return {name: plain(value) for name, value in settings.items()}
