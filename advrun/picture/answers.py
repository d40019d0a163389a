"""What the page is told, as plain data for JSON: what can be chosen, an image, and an attack with its answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from advrun.errors import ConfigError, DataError
from advrun.geometry import GEOMETRIES, format_eps
from advrun.picture import pixels, study
from advrun.picture.bench import Attacking, Bench
from advrun.picture.study import Reply, Shot, Subject
from advrun.report.layout import norm_label
from advrun.types import SystemName

SHOWN = 3
"""Classes whose probabilities are drawn."""
OFFERED, BEGUN = 240, 12
"""Test images to choose from by eye; the page begins with the one that has most contrast among the first of them."""
STEPS = 48
"""Positions of the slider in norms whose radii are no grey levels."""


def choices(bench: Bench) -> dict[str, Any]:
    """What the page offers."""
    first = bench.data.evaluation_order()[:OFFERED].tolist()
    return {
        "name": bench.experiment.name,
        "classes": list(bench.data.class_names),
        "tests": len(bench.data.y_test),
        "first": first,
        "start": max(first[:BEGUN], key=lambda row: float(np.std(bench.data.x_test[row]))),
        "crisp": pixels.is_crisp(bench.data.image_shape),
        "models": [{"label": model, "defenses": [name.defense for name in bench.defenses(model)]} for model in bench.models],
        "attacks": [{"label": each.label, "slider": slider(each), "norm": norm_label(each.entry.norm)} for each in bench.attacks],
        "missing": [str(name) for name in bench.missing],
        "most": {"bytes": pixels.MOST_BYTES, "pixels": pixels.MOST_PIXELS},
    }


def slider(attack: Attacking) -> dict[str, Any] | None:
    """Radii to choose from, with their texts, and the place of the configuration's largest; None for an attack without a ball."""
    if not attack.is_bounded:
        return None
    given = attack.radii[-1]
    if attack.entry.norm == "linf":
        most = min(255, max(16, math.ceil(510 * given)))
        radii = [level / 255 for level in range(1, most + 1)]
    elif attack.entry.norm == "l0":
        radii = [float(count) for count in dict.fromkeys(max(1, round(2 * given * step / STEPS)) for step in range(1, STEPS + 1))]
    else:
        radii = [float(f"{2 * given * step / STEPS:.3g}") for step in range(1, STEPS + 1)]
    place = int(np.argmin(np.abs(np.array(radii) - given)))
    radii[place] = given
    return {"radii": radii, "texts": [format_eps(radius) for radius in radii], "at": place}


def subject(bench: Bench, asked: dict[str, Any]) -> Subject:
    """The picture of a request: a test image by its number, or one of the model's size. Raises DataError."""
    number, label = asked.get("test"), asked.get("label")
    if isinstance(number, int):
        return study.of_test(bench, number)
    if not isinstance(asked.get("image"), str):
        raise DataError("no picture was chosen")
    if label is not None and not (isinstance(label, int) and 0 <= label < bench.data.classes):
        raise DataError(f"there is no class {label!r:.40}")
    x = pixels.from_url(asked["image"], bench.data.image_shape)
    return study.of_photo(bench, x, "your picture", label, str(asked.get("model")))


def radius(attack: Attacking, given: Any) -> float | None:
    """The eps of a request. Raises ConfigError for one that the ball cannot have."""
    if not attack.is_bounded:
        return None
    if not isinstance(given, (int, float)) or isinstance(given, bool) or not math.isfinite(given) or given <= 0:
        raise ConfigError(f"eps is {given!r:.40}; expected a number above 0")
    GEOMETRIES[attack.entry.norm](float(given))  # raises where the ball is none
    return float(given)


def attacked(bench: Bench, asked: dict[str, Any]) -> dict[str, Any]:
    """A request's picture, attacked and defended: the four images, what the systems say to them, and all that in words.

    asked: test or image (and label), model, attack, eps, defense ("" for none), adaptive (whether the attacker knows the defence).

    Raises AdvrunError for what cannot be chosen.
    """
    attack = bench.attack(str(asked.get("attack")))
    eps = radius(attack, asked.get("eps"))
    plain = bench.system(str(asked.get("model")))
    shown = subject(bench, asked)
    defense = str(asked.get("defense") or "")
    defended = bench.system(plain.model, defense) if defense else None
    against = defended if defended is not None and asked.get("adaptive") is True else plain
    shot = study.shoot(bench, attack, eps, against, shown)
    change = shot.x_adv - shown.image
    grey, factor = pixels.seen(change)
    replies = {"original": study.reply(bench, plain, shown.x), "attacked": study.reply(bench, plain, shot.x_adv)}
    images = {"original": shown.image, "change": grey, "attacked": shot.x_adv}
    clean = None
    if defended is not None:
        clean = study.reply(bench, defended, shown.x)
        replies["defended"] = study.reply(bench, defended, shot.x_adv)
        pure = study.purified(bench, defended, shot.x_adv)
        images["defended"] = shot.x_adv if pure is None else pure
    return {
        "label": shown.label,
        "truth": bench.class_name(shown.label),
        "assumed": shown.assumed,
        "factor": factor if pixels.is_changed(change) else 0,
        "far": shot.far,
        "attack": shot.label,
        "against": against.defense,
        "spent": str(shot.spent),
        "seconds": shot.seconds,
        "purified": defended is not None and images["defended"] is not shot.x_adv,
        "images": {name: pixels.url(image) for name, image in images.items()},
        "replies": {name: told(bench, reply, shown.label) for name, reply in replies.items()},
        "sentences": sentences(bench, shown, shot, replies, clean, defended),
    }


def told(bench: Bench, reply: Reply, truth: int) -> dict[str, Any]:
    """The likeliest classes with their probabilities, the true one always among them."""
    bars = [
        {"name": bench.class_name(label), "share": float(reply.shares[label]), "true": label == truth}
        for label in reply.first(SHOWN, truth)
    ]
    answer = {"name": bench.class_name(reply.predicted), "right": reply.predicted == truth, "confidence": reply.confidence}
    return {**answer, "bars": bars}


def sentences(
    bench: Bench, shown: Subject, shot: Shot, replies: dict[str, Reply], clean: Reply | None, defended: SystemName | None
) -> list[str]:
    """What happened, for somebody who cannot see the images."""

    def says(reply: Reply) -> str:
        return f"{bench.class_name(reply.predicted)} at {100 * reply.confidence:.0f}\u00a0%"

    model, before, after = shot.against.model, replies["original"], replies["attacked"]
    remark = ", which is taken as true" if shown.assumed else "" if before.predicted == shown.label else ", which is wrong"
    said = [f"{model} says {says(before)}{remark}."]
    if not shot.attacked:
        said.append(f"{shot.left}, so nothing was changed.")
    else:
        knowing = f", which knows {shot.against.defense}," if shot.against.defended else ""
        comma = "," if "," in shot.label and not knowing else ""
        still = after.predicted == before.predicted
        said.append(f"After {shot.label}{comma}{knowing} {model} {'still says' if still else 'says'} {says(after)}.")
    if defended is not None and clean is not None:
        now = replies["defended"]
        verdict = "right" if now.predicted == shown.label else "wrong"
        before_it = "" if clean.predicted == shown.label else f" (before the attack it said {says(clean)})"
        said.append(f"With {defended.defense} the answer is {says(now)}, which is {verdict}{before_it}.")
    return said
