"""Findings as an experiment would leave them: four systems, three attacks, numbers of a believable size."""

from __future__ import annotations

from functools import cache

import numpy as np

from advrun.flags import ZERO_GRADIENTS
from advrun.report import Findings, Gallery
from advrun.results import Result, Row, binomial_interval

CLASSES = 43
NAMES = (
    "Speed limit (20km/h)", "Speed limit (30km/h)", "Speed limit (50km/h)", "Speed limit (60km/h)", "Speed limit (70km/h)",
    "Speed limit (80km/h)", "End of speed limit (80km/h)", "Speed limit (100km/h)", "Speed limit (120km/h)", "No passing",
    "No passing for vehicles over 3.5 metric tons", "Right-of-way at the next intersection", "Priority road", "Yield", "Stop",
)  # fmt: skip
CLASS_NAMES = NAMES + tuple(f"Sign {index}" for index in range(len(NAMES), CLASSES))
EPS = (2 / 255, 4 / 255, 8 / 255)
ATTACKS = {"fgsm": ("1 step", 1.0), "pgd": ("40 steps of 2/255", 40.0), "cw": ("5 x 100 steps", 500.0)}
CLEAN_ACCURACY = {"none": 0.937, "adversarial_training": 0.872, "autoencoder": 0.915, "hybrid": 0.881}
DECAY = {
    ("none", "adaptive"): 0.78,
    ("adversarial_training", "static"): 0.02,
    ("adversarial_training", "adaptive"): 0.32,
    ("autoencoder", "static"): 0.05,
    ("autoencoder", "adaptive"): 0.85,
    ("hybrid", "static"): 0.015,
    ("hybrid", "adaptive"): 0.28,
}
"""How steeply accuracy falls with eps, per defence and threat."""


def result(defense: str, attack: str, threat: str, *, accuracy: float, n: int = 500, seed: int = 0, **fields) -> Result:
    """A measured cell with predictions that have this accuracy; wrong answers are near the true class."""
    rng = np.random.default_rng([seed, n, *map(ord, defense + attack + threat)])
    labels = np.random.default_rng([seed, 7]).choice(CLASSES, 20000, p=_class_shares())[:n]
    wrong = rng.permutation(n) >= round(accuracy * n)
    predictions = np.where(wrong, (labels + rng.choice([1, 2, 3, 9], n, p=[0.5, 0.3, 0.1, 0.1])) % CLASSES, labels)
    right = int((~wrong).sum())
    row = Row(
        model=fields.pop("model", "lnet"),
        defense=defense,
        attack=attack,
        threat=threat,
        seed=seed,
        n=n,
        accuracy=right / n,
        interval=binomial_interval(right, n),
        **fields,
    )
    distances = np.full(n, row.eps or row.metrics.get(row.norm) or 0.0, np.float32)
    return Result(row, labels.astype(np.int32), predictions.astype(np.int32), distances)


@cache
def findings(seeds: tuple[int, ...] = (0,), galleries: bool = True) -> Findings:
    """One model, four systems, fgsm and pgd at three eps, cw without eps; static and adaptive."""
    results = [found for seed in seeds for defense in CLEAN_ACCURACY for found in _system(defense, seed)]
    return Findings(
        name="gtsrb",
        title="L-net on GTSRB: three defences against FGSM, PGD and C&W",
        description="Traffic signs of 32 by 32 pixels. Adversarial training, a denoising autoencoder, and both end to end.",
        config_yaml="name: gtsrb\ndata:\n  name: gtsrb\nattacks:\n  - name: fgsm\n    eps: [2/255, 4/255, 8/255]\n",
        environment={"advrun": "0.1.0", "tensorflow": "2.21.0", "device": "CPU, 2 cores", "seeds": ", ".join(map(str, seeds))},
        class_names=CLASS_NAMES,
        results=results,
        histories=_histories(),
        galleries=_galleries() if galleries else [],
    )


def _class_shares() -> np.ndarray:
    shares = np.linspace(1.0, 0.1, CLASSES)
    return shares / shares.sum()


def _system(defense: str, seed: int) -> list[Result]:
    noise = np.random.default_rng([seed, *map(ord, defense)]).normal(0, 0.008, 100)
    clean = CLEAN_ACCURACY[defense]
    found = [result(defense, "clean", "none", accuracy=clean + noise[0], n=12630, seed=seed)]
    for index, (attack, (budget, gradients)) in enumerate(ATTACKS.items()):
        for threat in ("static", "adaptive"):
            if (defense, threat) not in DECAY:
                continue
            flags = (ZERO_GRADIENTS,) if (defense, threat) == ("autoencoder", "adaptive") and attack != "cw" else ()
            common = {"seed": seed, "budget": budget, "gradients": gradients, "queries": 1.0, "seconds": 1.5, "flags": flags}
            steep = DECAY[defense, threat] * (1 + 0.25 * index)
            if attack == "cw":
                accuracy = 0.0 if threat == "adaptive" else clean - 2 * steep
                metrics = {
                    "confidence_before": 0.93,
                    "confidence_after": 0.2,
                    "l2": 0.6 + steep / 3,
                    "linf": 0.11,
                    "fooled": 400.0,
                    "l2_median": 0.5 + steep / 3,
                }
                found.append(result(defense, attack, threat, accuracy=accuracy, norm="l2", metrics=metrics, **common))
                continue
            for place, eps in enumerate(EPS):
                accuracy = clean * np.exp(-steep * 1.6 * (eps * 255 / 8)) + noise[1 + place]
                metrics = {"confidence_before": 0.93, "confidence_after": 0.4, "l2": eps * 50, "linf": eps, "fooled": 100.0}
                found.append(result(defense, attack, threat, accuracy=accuracy, eps=eps, norm="linf", metrics=metrics, **common))
    return found


def _histories() -> dict[str, dict[str, list[float]]]:
    epochs = np.arange(1, 9)
    rise = 1 - np.exp(-epochs / 1.8)
    plain = {
        "loss": 3.0 * np.exp(-epochs / 1.9),
        "val_loss": 2.6 * np.exp(-epochs / 2.2) + 0.2,
        "accuracy": 0.99 * rise,
        "val_accuracy": 0.94 * rise,
    }
    robust = {**plain, "adversarial_accuracy": 0.55 * rise, "val_adversarial_accuracy": 0.5 * rise}
    purifier = {"loss": 0.02 * np.exp(-epochs / 2) + 0.002, "val_loss": 0.021 * np.exp(-epochs / 2) + 0.003}
    curves = {"lnet": plain, "lnet / adversarial_training": robust, "lnet / autoencoder": purifier, "lnet / hybrid": robust}
    return {label: {name: values.tolist() for name, values in history.items()} for label, history in curves.items()}


def _galleries() -> list[Gallery]:
    found = []
    for defense in CLEAN_ACCURACY:
        for attack in ATTACKS:
            eps, norm = (None, "l2") if attack == "cw" else (EPS[-1], "linf")
            found.append(gallery(defense, attack, eps=eps, norm=norm, purified=defense in ("autoencoder", "hybrid")))
    return found


def gallery(
    defense: str, attack: str, *, eps: float | None, norm: str, purified: bool, threat: str = "adaptive", target: str = ""
) -> Gallery:
    """Six discs on a gradient, and a perturbation of the right size."""
    rng = np.random.default_rng([*map(ord, defense + attack)])
    y, x = np.mgrid[0:32, 0:32] / 31
    disc = ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.13)[..., None]
    background = np.stack([0.3 + 0.3 * y, 0.5 + 0.2 * x, 0.7 - 0.3 * y], -1)
    colors = rng.uniform(0, 1, (6, 1, 1, 3))
    images = np.where(disc, colors, background).astype(np.float32)
    change = rng.normal(0, 0.012, images.shape) if eps is None else eps * rng.choice([-1, 1], images.shape)
    x_adv = np.clip(images + change, 0, 1).astype(np.float32)
    defended = ((x_adv + np.roll(x_adv, 1, 1) + np.roll(x_adv, 1, 2)) / 3).astype(np.float32) if purified else None
    label = np.array([3, 14, 10, 11, 2, 13])
    return Gallery(
        model="lnet",
        defense=defense,
        attack=attack,
        threat=threat,
        seed=0,
        eps=eps,
        norm=norm,
        target=target,
        x=images,
        x_adv=x_adv,
        defended=defended,
        label=label,
        predicted=np.array([3, 14, 10, 11, 5, 13]),
        predicted_adv=np.array([5, 14, 9, 12, 5, 7]),
        confidence=np.array([0.99, 1.0, 0.87, 0.93, 0.55, 0.98]),
        confidence_adv=np.array([0.91, 0.62, 0.77, 0.99, 0.83, 0.48]),
        place=np.arange(6),
        distance=np.full(6, eps or 0.6, np.float32),
        rank=np.array([0, 4, 2, 3, -1, 1]),
    )
