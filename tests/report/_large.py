"""Findings of a long configuration: models x defences x attacks x eps, with images that compress as badly as photographs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from advrun.report import Findings, Gallery
from advrun.report.style import Picture
from tests.report._sample import findings, result

SIZE, KEPT = 32, 24


def large(models: int = 4, defenses: int = 5, attacks: int = 12, radii: int = 2) -> Findings:
    """models x defences x (1 + attacks x radii) rows, by default 500; every attacked row has images."""
    rng = np.random.default_rng(3)
    photos = _photos(rng, 400)
    results, galleries = [], []
    for number in range(models):
        for place in range(defenses):
            defense = "none" if place == 0 else f"defence_{place}"
            clean = 0.94 - 0.02 * place
            common = {"model": f"model{number}", "n": 300}
            results.append(result(defense, "clean", "none", accuracy=clean, **common))
            for attack in range(attacks):
                for radius in range(radii):
                    eps = (2 + 6 * radius) / 255
                    accuracy = clean * np.exp(-(6 - place) * eps * 25 * (1 + attack / attacks) - 0.02 * number)
                    fields = {"eps": eps, "norm": "linf", "budget": "40 steps", "gradients": 40.0, "queries": 1.0, "seconds": 2.0}
                    metrics = {"l2": eps * 50, "linf": eps, "fooled": 100.0, "confidence_after": 0.4, "success": 0.5}
                    name = f"attack_{attack:02d}"
                    found = result(defense, name, "adaptive", accuracy=accuracy, metrics=metrics, **common, **fields)
                    results.append(found)
                    galleries.append(_gallery(rng, photos, found))
    plain = findings(galleries=False)
    histories = {f"model{number}": plain.histories["lnet"] for number in range(models)}
    return replace(
        plain, title="A long configuration", results=results, galleries=galleries, histories=histories, config_yaml="name: x\n" * 200
    )


def pictures(count: int = 60, size: int = 100_000) -> list[Picture]:
    """Figures larger together than a page takes; no real ones, which would take minutes to draw."""
    noise = np.random.default_rng(0).bytes(size)
    return [Picture(f"examples-{place}", "gallery", f"model{place % 4} under attack_{place}.", 7.0, noise, noise) for place in range(count)]


def _photos(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 32, 32, 3) in [0, 1]: a light, a shape, and the noise of a camera."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    tones, turn = rng.uniform(0.2, 0.8, (count, 1, 1, 3)), rng.uniform(-0.3, 0.3, (2, count, 1, 1, 3))
    disc = ((x - 0.5) ** 2 + (y - 0.5) ** 2 < rng.uniform(0.05, 0.2, (count, 1, 1)))[..., None]
    smooth = tones + turn[0] * x[..., None] + turn[1] * y[..., None] + np.where(disc, rng.uniform(-0.3, 0.3, (count, 1, 1, 3)), 0)
    return np.clip(smooth + rng.normal(0, 0.02, (count, SIZE, SIZE, 3)), 0, 1).astype(np.float32)


def _gallery(rng: np.random.Generator, photos: np.ndarray, found) -> Gallery:
    """16 images that every row has, and 8 of its own; an image is what the row says of its place."""
    row = found.row
    place = np.concatenate([np.arange(16), rng.choice(np.arange(16, row.n), KEPT - 16, replace=False)])
    x, label, after = np.rint(photos[place] * 255) / 255, found.labels[place], found.predictions[place]
    order = np.argsort(found.correct, kind="stable")
    return Gallery(
        model=row.model, defense=row.defense, attack=row.attack, threat=row.threat,
        seed=row.seed, eps=row.eps, norm=row.norm, target=row.target,
        x=x.astype(np.float32),
        x_adv=np.clip(x + row.eps * rng.choice([-1, 1], x.shape), 0, 1).astype(np.float32),
        defended=None,
        label=label, predicted=label, predicted_adv=after,
        confidence=rng.uniform(0.6, 1, KEPT), confidence_adv=rng.uniform(0.3, 1, KEPT),
        place=place, distance=np.full(KEPT, row.eps, np.float32), rank=np.argsort(order)[place].astype(np.int32),
    )  # fmt: skip
