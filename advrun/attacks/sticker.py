"""Stickers on a sign: robust physical perturbations, RP2 (Eykholt et al., 2018, CVPR, arXiv:1707.08945, equations 1 to 3)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from advrun.attacks import _ink
from advrun.attacks._camera import Limits, drawn, photographed
from advrun.attacks._expectation import learnt
from advrun.attacks._ink import nonprintability, stuck
from advrun.attacks._seen import seen
from advrun.attacks._shapes import Cut, Sign, read_mask, shrunk
from advrun.engine import Rng, ops, total
from advrun.errors import ConfigError
from advrun.geometry import Linf
from advrun.masked import Masked
from advrun.survey import Survey
from advrun.system import Blind, Classifier, Gradients
from advrun.types import Count, FilePath, Fraction, Labels, NonNegative, Positive, Share, Targets, Tensor

CONTRACT = {
    "settings": {
        "mask": "bars",
        "steps": 12,
        "step_size": 0.1,
        "cover": 0.9,
        "outline": "square",
        "fill": 1.0,
        "markers": False,
        "distance": 1.0,
        "light": 0.1,
    }
}

SPARSE = 0.02
"""Weight of the L1 norm of the change in the search for a mask, as a mean over all pixels."""


def sticker(
    model: Blind,
    x: Tensor,
    y: Labels | Targets,
    rng: Rng,
    fitted: Tensor,
    *,
    mask: Literal["l1", "bars", "graffiti", "border"] = "l1",
    picture: FilePath | None = None,
    cover: Share = 0.2,
    outline: Literal["octagon", "circle", "triangle", "yield", "diamond", "square"] = "octagon",
    fill: Share = 0.92,
    markers: bool = True,
    images: Count = 2000,
    steps: Count = 200,
    step_size: Positive = 0.05,
    distance: Positive = 3.0,
    angle: NonNegative = 40.0,
    light: Fraction = 0.3,
    blur: NonNegative = 0.7,
    weight: NonNegative = 0.002,
    printability: NonNegative = 0.1,
) -> Tensor:
    """A sticker that makes a sign another one, from any distance and angle: RP2, learnt from training images beforehand.

    It minimises lambda |M d|_2 + NPS + the mean of J(f(x_i + T_i(M d)), y*) over photographs x_i and views T_i, where M is the mask. The
    sticker is opaque, and as bright as the photograph's own white; d is its difference from the mean photograph. One sticker for each
    target class; one that minimises log p(y) in the untargeted form. The image itself costs no query. Say `source_class`, for signs of
    one class.

    Args:
        mask: shape of the sticker; l1 is where a sparse change of the whole sign does most (section 4.2 of the paper).
        picture: a PNG that is white, or opaque, where the sticker is, instead of `mask`; its sides are those of the image.
        cover: share of the sign that the sticker covers at most, markers included.
        outline: shape of the sign; nothing sticks beyond it.
        fill: width of the sign, as a share of the image's.
        markers: put on the four markers that `advrun photos` finds the sign by.
        images: how many training images the sticker is learnt from.
        steps: of Adam; as many again for the mask l1.
        step_size: Adam's learning rate, in pixel units.
        distance: largest distance, in units of that from which the sign has all pixels of the image; 1 or more.
        angle: largest angle to the side, in degrees.
        light: photographs are by up to this share brighter or darker.
        blur: largest standard deviation of the camera's blur, in pixels.
        weight: lambda, of the change, in pixel units per pixel of the sticker.
        printability: weight of the non-printability score.
    """
    chosen = ops.take(fitted, y if model.targeted else ops.zeros_like(y), axis=0)
    return stuck(x, chosen, Sign(outline, fill).outline)


def fit(
    model: Gradients,
    x: np.ndarray,
    y: np.ndarray,
    rng: Rng,
    targets: np.ndarray | None,
    *,
    mask: str,
    picture: str | None,
    cover: float,
    outline: str,
    fill: float,
    markers: bool,
    images: int,
    steps: int,
    step_size: float,
    distance: float,
    angle: float,
    light: float,
    blur: float,
    weight: float,
    printability: float,
) -> np.ndarray:
    """(classes, h, w, c + 1), of which only the targets are learnt, or (1, ...): the ink, and the share of each pixel that it hides."""
    sign, limits = Sign(outline, fill), _limits(distance, angle, light, blur)
    height, width, _ = x.shape[1:]
    budget: dict[str, Any] = {"images": images, "steps": steps, "step_size": step_size}
    mean = (x[:images] / np.maximum(np.asarray(_ink.light(x[:images], sign.outline)), 0.1)).clip(0, 1).mean(0)

    if mask == "l1" and picture is None:
        heats = _sparse(model, x, y, rng.fold(1), targets, sign, limits, budget)
        cuts = [sign.grown(sign.hottest(heat), cover, markers) if heat.any() else None for heat in heats]
    else:
        cuts = [shape(sign, mask, picture, cover, markers)] * (model.classes if model.targeted else 1)
    planes = np.stack([np.zeros((height, width, 3), np.float32) if each is None else each.planes(height, width) for each in cuts])

    def ink(colours: Tensor, planes: Tensor) -> Tensor:
        """Premultiplied: the colours where they are free, and the markers."""
        return ops.concatenate([colours * planes[..., 1:2] + planes[..., 2:3], ops.zeros_like(colours[..., :1]) + planes[..., :1]], axis=-1)

    def shown(images: Tensor, colours: Tensor, draw: Rng, planes: Tensor) -> Tensor:
        there = stuck(images, ink(colours, planes), sign.outline)
        return viewed(there, draw, limits)

    def penalty(colours: Tensor, planes: Tensor) -> Tensor:
        free = planes[..., 1]
        squares = total(ops.square(colours - mean) * free[..., None])
        change = ops.sqrt(squares / ops.maximum(ops.sum(free), 1e-6) + 1e-8)  # whose slope is finite where nothing has changed yet
        return weight * change + printability * nonprintability(colours, free)

    start = mean.astype(np.float32)
    colours = learnt(model, x, y, rng, targets, start, shown, penalty=penalty, constants=planes, **budget)
    return np.asarray(ink(colours, planes))


def viewed(x: Tensor, rng: Rng, limits: Limits) -> Tensor:
    """Photographs under views at random, every fourth as it is: the paper's X^V holds photographs and views made of them (section 3.2)."""
    seen = photographed(x, drawn(rng, x.shape[0], limits), limits)
    return ops.where((np.arange(x.shape[0]) % 4 == 0)[:, None, None, None], x, seen)


def _limits(distance: float, angle: float, light: float, blur: float) -> Limits:
    """Raises ConfigError for views that no camera has."""
    for name, value, low, high in (("distance", distance, 1, 100), ("angle", angle, 0, 80), ("blur", blur, 0, 50)):
        if not low <= value <= high:
            raise ConfigError(f"sticker: {name} is {value:g}; expected {low} to {high}")
    return Limits(distance, angle, light, blur)


def shape(sign: Sign, mask: str, picture: str | None, cover: float, markers: bool) -> Cut:
    """The sticker's shape, for all masks but l1. Raises ConfigError where it covers too much, DataError for no picture."""
    if picture is None:
        return sign.grown(getattr(sign, mask), cover, markers)
    cut = sign.cut(read_mask(picture), markers)
    share = sign.covered(cut)
    if share > cover:
        raise ConfigError(f"{picture}: it covers {share:.1%} of the sign{' with its markers' * markers}; cover allows {cover:.1%}")
    return cut


def _sparse(
    model: Gradients,
    x: np.ndarray,
    y: np.ndarray,
    rng: Rng,
    targets: np.ndarray | None,
    sign: Sign,
    limits: Limits,
    budget: dict[str, Any],
) -> np.ndarray:
    """Sizes (pictures, h, w) of a change of the whole sign, learnt under an L1 norm (equation 1, p = 1); 0 for what is no target."""
    height, width, channels = x.shape[1:]
    inside = shrunk(sign.outline, height, width) > 0.5
    area, base = Masked(Linf(0.5), inside), np.full((1, height, width, channels), 0.5, np.float32)

    def shown(images: Tensor, pictures: Tensor, draw: Rng, _: Tensor) -> Tensor:
        return viewed(ops.clip(images + pictures - base, 0.0, 1.0), draw, limits)

    changes = learnt(
        model,
        x,
        y,
        rng,
        targets,
        base[0],
        shown,
        kept=lambda each, _: area.project(each, base),
        penalty=lambda each, _: SPARSE * ops.mean(ops.abs(each - base), axis=(1, 2, 3)),
        **budget,
    )
    return np.abs(changes - base).sum(-1)


def survey(
    model: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    rng: Rng,
    fitted: np.ndarray,
    *,
    mask: str,
    picture: str | None,
    cover: float,
    outline: str,
    fill: float,
    markers: bool,
    distance: float,
    angle: float,
    light: float,
    blur: float,
) -> Survey:
    """What becomes of held-out photographs at five distances and five angles, and under views drawn anew."""
    sign = Sign(outline, fill)

    def cut(hidden: np.ndarray) -> Cut:
        """The shape that was learnt, with as fine an edge as a printer has; the others are known."""
        return (
            sign.grown(sign.hottest(hidden), cover, markers)
            if mask == "l1" and picture is None
            else shape(sign, mask, picture, cover, markers)
        )

    cuts = {number: cut(each[..., -1]) for number, each in enumerate(fitted) if each[..., -1].any()}
    return seen(model, x, y, rng, fitted, sign, cuts, _limits(distance, angle, light, blur))
