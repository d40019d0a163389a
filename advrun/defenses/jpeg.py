"""JPEG compression in front of the classifier (Dziugaite et al., 2016, arXiv:1608.00853; Guo et al., 2018, arXiv:1711.00117)."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Interval

from advrun.engine import Rng
from advrun.jpeg import jpeg as as_jpeg
from advrun.jpeg import smoothly_rounded
from advrun.system import Chain, Purifier
from advrun.types import Tensor


def jpeg(
    system: Chain, *, quality: Annotated[int, Interval(ge=1, le=100)] = 75, backward: Literal["identity", "smooth"] = "identity"
) -> Chain:
    """Compress every image as a JPEG file does before it is classified; nothing is trained.

    Forward the images are those that a file would give back: colours halved in resolution, cosine coefficients rounded, 8 bits. Backward
    they are passed as if nothing were there (BPDA, Athalye et al., 2018, arXiv:1802.00420, section 4.1), or through the same steps with
    rounding made smooth (Shin and Song, 2017).

    Args:
        quality: as image programs name it: 100 keeps nearly all, 75 is common, 10 shows its blocks.
        backward: identity, or smooth.
    """

    def compressed(x: Tensor, rng: Rng) -> Tensor:
        return as_jpeg(x, quality)

    def smooth(x: Tensor) -> Tensor:
        return as_jpeg(x, quality, smoothly_rounded)

    return system.behind(Purifier(compressed, backward=smooth if backward == "smooth" else "identity"))
