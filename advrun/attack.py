"""An attack as it was asked for: the plugin, its geometry, all of its settings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from advrun import registry
from advrun.config.entries import AttackEntry, InnerAttack, settings_of
from advrun.engine import Rng, keyed, ops
from advrun.geometry import GEOMETRIES, Ball
from advrun.lesson import Lesson
from advrun.registry import Plugin
from advrun.system import Classifier
from advrun.types import Cascade


@dataclass(frozen=True)
class Attack:
    """An attack with all its settings and its geometry: Linf(8/255), L2() for a minimal-norm attack, None for others.

    draws: of a random system, which each gradient and each answer is a mean over, where the attack sees gradients. One that sees none gets
    one draw for a question, as from a service.
    """

    plugin: Plugin
    geometry: Ball | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    draws: int = 1

    @property
    def key(self) -> str:
        """Attacks with the same key share one compiled graph: eps is an argument of the graph."""
        form = None if self.geometry is None else self.geometry.form
        return json.dumps([self.plugin.name, form, self.plugin.identity(self.settings), self.draws], default=str, sort_keys=True)

    @property
    def eps(self) -> float:
        return float(self.geometry.eps) if self.geometry is not None else 0.0

    def __call__(self, model: Any, x: Any, y: Any, rng: Rng, eps: Any = None, *, starts: Any = None, fitted: Any = None) -> Any:
        """Adversarial tensors for tensors.

        Args:
            model: the classifier, or its targeted view.
            x: (n, h, w, c) float32.
            y: (n,) int32.
            rng: for everything random.
            eps: in place of the geometry's, a number or a scalar tensor.
            starts: (k, n, h, w, c), for attacks that start from other images; the batch's own, shifted by one, by default.
            fitted: what `fit` returned (nested arrays, or tensors in their place), for attacks that have one.
        """
        return self.telling(model, x, y, rng, eps, starts=starts, fitted=fitted)[0]

    def telling(
        self, model: Any, x: Any, y: Any, rng: Rng, eps: Any = None, *, starts: Any = None, fitted: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        """The same, and numbers (n,) by name that some attacks say of their images, NaN where there is nothing to be said."""
        handed = {**self._geometry(eps), "rng": rng, "fitted": fitted}
        if "starts" in self.plugin.arguments:
            handed["starts"] = ops.roll(x, 1, axis=0)[None] if starts is None else starts
        handed = {name: value for name, value in handed.items() if name in self.plugin.arguments}
        with keyed(self.plugin.function):
            returned = self.plugin.function(self._view(model, rng), x, y, **handed, **self.settings)
        told = isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], dict)
        return returned if told else (returned, {})

    def _view(self, model: Any, rng: Rng) -> Any:
        """Of a random system the view of this attacker, and any other as it is."""
        if not isinstance(model, Classifier):
            return model
        return model.drawing(self.draws if self.plugin.access == "gradients" else 1, rng)

    def fit(
        self, model: Any, x: np.ndarray, y: np.ndarray, seed: int, targets: np.ndarray | None = None, lesson: Lesson | None = None
    ) -> Any:
        """What the attack learns from training images before it sees a batch, any nested structure of arrays; None for most.

        targets: the classes to be reached. lesson: where a training goes on.
        """
        if self.plugin.fit is None:
            return None
        wanted = registry.parameters(self.plugin.fit)
        rng = Rng.from_seed(seed, 0xF17)
        offered = {**self._geometry(None), "rng": rng, "targets": targets}
        offered |= {"lesson": lesson or Lesson(seed), **self.settings}
        seen = (x, y) if self.plugin.learns_alone else (self._view(model, rng), x, y)
        return self.plugin.fit(*seen, **{name: value for name, value in offered.items() if name in wanted})

    def stages(self) -> tuple[Attack, ...]:
        """The attacks that a cascade is made of; the attack itself where it is none."""
        if not self.plugin.is_cascade:
            return (self,)
        stages: Cascade = self.plugin.function(self.geometry, **self.settings)
        return tuple(self._stage(registry.get("attacks", stage.attack), stage.settings) for stage in stages)

    def _stage(self, plugin: Plugin, settings: Mapping[str, Any]) -> Attack:
        ball = self.geometry
        if ball is not None and not plugin.needs_eps:
            ball = ball.resized(math.inf)
        return Attack(plugin, ball, settings_of(plugin, settings), self.draws)

    def ball(self, eps: Any) -> Ball | None:
        """The ball that bounds the attack, with this radius; None for minimal-norm attacks and others."""
        return self._geometry(eps).get("ball")

    def _geometry(self, eps: Any) -> dict[str, Any]:
        if self.geometry is None:
            return {}
        ball = self.geometry if eps is None else self.geometry.resized(eps)
        return {"ball": ball} if self.plugin.needs_eps else {"norm": self.geometry}

    def budget(self) -> str:
        """The settings that say how hard the attack tried, in a few words: `5 search steps x 100 steps`."""
        counts = self.plugin.efforts(self.settings)
        return " x ".join(f"{value} {name.replace('_', ' ')}" for name, value in counts.items() if value > 1 or name == "queries")


def bind(choice: AttackEntry | InnerAttack, eps: float | None = None, draws: int = 1) -> Attack:
    """The attack of a YAML entry, with its geometry; `eps` picks one of a sweep, `draws` is of random systems."""
    plugin = registry.get("attacks", choice.name)
    eps = choice.eps if eps is None and isinstance(choice.eps, float) else eps
    ball = GEOMETRIES[choice.norm] if choice.norm else None
    geometry = None if ball is None else ball() if eps is None else ball(eps)
    return Attack(plugin, geometry, dict(choice.settings), draws)
