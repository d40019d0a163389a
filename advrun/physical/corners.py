"""The four markers of a sticker in a photograph: bull's-eyes found as dark blobs in white rings, and the plane that they span.

Points are (x, y) in pixels of the photograph, the middle of the first pixel at (0.5, 0.5). Places of the sign are those of
`attacks/_shapes.py`: its bounding square runs from -1 to 1.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from advrun.attacks._shapes import CORE, MARKER, MARKERS

SIDE = 1000
"""Photographs with a longer side are searched at this size."""
CANDIDATES, QUADS = 28, 40
"""So many bull's-eyes are combined, and so many of their squares are looked at."""
LOOK = 64
"""Pixels to a side, at which what is expected is compared with what is there."""
ENOUGH = 0.45
"""Correlation with the sticker from which on it is one."""


def homography(places: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(..., 3, 3): the projective map that takes four places (4, 2) to points (..., 4, 2). Hartley and Zisserman (2004), section 4.1."""
    x, y = np.broadcast_to(places[:, 0], points.shape[:-1]), np.broadcast_to(places[:, 1], points.shape[:-1])
    u, v = points[..., 0], points[..., 1]
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], -1), np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], -1)
    system = np.concatenate(rows, -2)
    solution = np.linalg.solve(system + 1e-12 * np.eye(8), np.concatenate([u, v], -1)[..., None])[..., 0]
    return np.concatenate([solution, np.ones((*solution.shape[:-1], 1))], -1).reshape(*solution.shape[:-1], 3, 3)


def mapped(plane: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Places (m, 2) under homographies (..., 3, 3): (..., m, 2)."""
    homogeneous = np.concatenate([places, np.ones((len(places), 1))], -1)
    points = np.einsum("...ij,mj->...mi", plane, homogeneous)
    return points[..., :2] / np.where(np.abs(points[..., 2:]) < 1e-9, 1e-9, points[..., 2:])


def found(photograph: np.ndarray, sticker: np.ndarray, hidden: np.ndarray, fill: float) -> np.ndarray | None:
    """The homography (3, 3) from the sign to a photograph with a sticker on it, or None where no four markers hold that sticker.

    Args:
        photograph: (height, width, 3) uint8.
        sticker: (fine, fine, 3) float32, its colours over the whole image that it was made for. hidden: (fine, fine) bool, where it is.
        fill: the sign's width as a share of that image's.
    """
    from scipy import ndimage

    step = max(max(photograph.shape[:2]) / SIDE, 1.0)
    small = _reduced(photograph, step)
    grey = small.mean(-1)
    centres, radii = _bulls_eyes(grey)
    if len(centres) < 4:
        return None
    quads = _quads(centres, radii)
    wanted, mask = _expected(sticker, hidden, fill)
    smoothed = [ndimage.gaussian_filter(small[..., each], 0.5) for each in range(3)]
    scores = [_alike(smoothed, quad, wanted, mask) for quad in quads]
    if not scores or max(scores) < ENOUGH / 2:
        return None
    best, score = _refined(smoothed, quads[int(np.argmax(scores))], wanted, mask)
    if score < ENOUGH:
        return None
    return homography(np.array(MARKERS), best * step)


def _reduced(photograph: np.ndarray, step: float) -> np.ndarray:
    """Float32 in [0, 1], at most SIDE pixels to a side."""
    from PIL import Image

    if step > 1:
        height, width = photograph.shape[:2]
        photograph = np.asarray(Image.fromarray(photograph).resize((round(width / step), round(height / step)), Image.Resampling.BOX))
    return photograph.astype(np.float32) / 255


def _bulls_eyes(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres (m, 2), x and y, and radii (m,) of cores: maxima of the normalised Laplacian of Gaussians (Lindeberg, 1998)."""
    from scipy import ndimage

    sigmas = 0.8 * 1.3 ** np.arange(18)
    sigmas = sigmas[sigmas <= max(min(grey.shape) / 25, 1.2)]
    space = np.stack([sigma**2 * ndimage.gaussian_laplace(grey, sigma) for sigma in sigmas])
    tops = (space == ndimage.maximum_filter(space, (3, 3, 3))) & (space > 0.04)
    scales, rows, columns = np.nonzero(tops)
    centres = np.stack([columns, rows], -1) + 0.5
    radii = sigmas[scales] * np.sqrt(2)
    contrast = _contrast(grey, centres, radii)
    order = np.argsort(-contrast, kind="stable")[:CANDIDATES]
    order = order[contrast[order] > 0.15]
    return centres[order], radii[order]


def _contrast(grey: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(m,): by how much the ring around each core is brighter all around, as a share of its own brightness, weighted by that."""
    from scipy import ndimage

    turns = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    circle = np.stack([np.cos(turns), np.sin(turns)], -1)

    def around(share: float) -> np.ndarray:
        points = centres[:, None] + share * radii[:, None, None] * circle - 0.5
        return np.asarray(ndimage.map_coordinates(grey, [points[..., 1], points[..., 0]], order=1, mode="nearest"))

    ring, core = np.quantile(around(MARKER / CORE * 0.75), 0.2, axis=-1), around(0.4).mean(-1)
    return np.asarray((ring - core) / np.maximum(ring, 0.1))


def _quads(centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(k, 4, 2): squares of four markers, clockwise from the top left, whose radii fit their distances best."""
    chosen = np.array(list(combinations(range(len(centres)), 4)))
    points, sizes = centres[chosen], radii[chosen]
    middle = points.mean(1, keepdims=True)
    turn = np.arctan2(points[..., 1] - middle[..., 1], points[..., 0] - middle[..., 0])
    order = np.argsort(turn, axis=-1)  # from -pi: top left, top right, bottom right, bottom left
    points, sizes = np.take_along_axis(points, order[..., None], 1), np.take_along_axis(sizes, order, 1)
    sides = np.roll(points, -1, 1) - points
    lengths = np.linalg.norm(sides, axis=-1)
    bends = sides[..., 0] * np.roll(sides, -1, 1)[..., 1] - sides[..., 1] * np.roll(sides, -1, 1)[..., 0]
    upright = np.abs(sides[:, 0, 1]) < np.abs(sides[:, 0, 0])
    even = (lengths[:, [0, 1]] / np.maximum(lengths[:, [2, 3]], 1e-9)).clip(1e-9)
    regular = (bends > 0).all(-1) & upright & (np.abs(np.log(even)) < np.log(1.6)).all(-1)
    points, sizes, lengths = points[regular], sizes[regular], lengths[regular]
    # A core's radius against the side from the next marker above or below, which turning the sign does not shorten.
    tall = np.stack([lengths[:, 3], lengths[:, 1], lengths[:, 1], lengths[:, 3]], -1)
    wanted = tall * CORE / (MARKERS[2][1] - MARKERS[1][1])
    misfit = np.abs(np.log(sizes / np.maximum(wanted, 1e-9))).mean(-1) + 0.5 * np.log(sizes).std(-1)
    slender = np.abs(np.log(lengths[:, 0] / np.maximum(lengths[:, 1], 1e-9) * 1.2))
    return np.asarray(points[np.argsort(misfit + 0.3 * slender, kind="stable")[:QUADS]])


def _expected(sticker: np.ndarray, hidden: np.ndarray, fill: float) -> tuple[np.ndarray, np.ndarray]:
    """The sign's square as it should look, (LOOK, LOOK, 3), and where the sticker is."""
    from PIL import Image

    edge = round((1 - fill) / 2 * len(hidden))
    inner = np.s_[edge : len(hidden) - edge, edge : len(hidden) - edge]
    box = Image.Resampling.BOX
    planes = [np.asarray(Image.fromarray(sticker[inner][..., each]).resize((LOOK, LOOK), box)) for each in range(3)]
    mask = np.asarray(Image.fromarray(hidden[inner].astype(np.float32)).resize((LOOK, LOOK), box)) > 0.8
    return np.stack(planes, -1), mask


def _alike(photograph: list[np.ndarray], quad: np.ndarray, wanted: np.ndarray, mask: np.ndarray) -> float:
    """Correlation of the sticker with what is between four markers."""
    from scipy import ndimage

    places = (np.arange(LOOK) + 0.5) / LOOK * 2 - 1
    rows, columns = np.nonzero(mask)
    try:
        plane = homography(np.array(MARKERS), quad)
    except np.linalg.LinAlgError:
        return -1.0
    points = mapped(plane, np.stack([places[columns], places[rows]], -1)) - 0.5
    there = np.stack([ndimage.map_coordinates(each, [points[:, 1], points[:, 0]], order=1, mode="nearest") for each in photograph], -1)
    a, b = there - there.mean(), wanted[mask] - wanted[mask].mean()
    return float((a * b).sum() / max(float(np.sqrt((a**2).sum() * (b**2).sum())), 1e-9))


def _refined(photograph: list[np.ndarray], quad: np.ndarray, wanted: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, float]:
    """The four points moved to where the correlation is largest (Nelder and Mead, 1965), and it."""
    from scipy.optimize import minimize

    reach = 0.03 * np.linalg.norm(quad[2] - quad[0])
    start = np.concatenate([np.zeros((1, 8)), np.eye(8)])

    def worse(moves: np.ndarray) -> float:
        return -_alike(photograph, quad + reach * moves.reshape(4, 2), wanted, mask)

    result = minimize(
        worse, np.zeros(8), method="Nelder-Mead", options={"initial_simplex": start, "maxfev": 500, "xatol": 0.01, "fatol": 1e-5}
    )
    return quad + reach * result.x.reshape(4, 2), -float(result.fun)
