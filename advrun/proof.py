"""What became of a unit test of an evaluation (`planted.py`), as typed data; tables only read it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from advrun.files import read_json
from advrun.results import Result, binomial_interval

ENOUGH = 0.95
"""An attack that finds fewer of the planted examples is too weak to be believed (Zimmermann et al., 2022, arXiv:2206.13991)."""

FEWEST = 59
"""Images from which on a share of 95 % can be told at all: where fewer are planted in, one that is lower finds all of them in more than one
case of twenty (0.95^59 < 0.05; the rule of three, Hanley and Lippman-Hand, 1983, doi:10.1001/jama.1983.03330370053031)."""


@dataclass(frozen=True)
class Proof:
    """How many of the planted examples one attack of a configuration found in one system.

    model, defense, attack, seed, norm, target: as in `results.Row`. eps: within which examples are planted, and of the row that this is
    about; of a minimal-norm attack, whose row has none, the largest eps that the configuration has for its norm. minimal: such an attack.
    n: images with a planted example. found, random: how many of these the attack finds, and how many random search does. left_out: images
    in which none could be planted. unguarded: beside a detector, how many the same attack finds that does not know it; None without one.
    reason: why nothing was tried, "" where it was.
    """

    model: str
    defense: str
    attack: str
    seed: int
    norm: str
    eps: float | None
    target: str = ""
    minimal: bool = False
    budget: str = ""
    n: int = 0
    found: int = 0
    random: int = 0
    left_out: int = 0
    unguarded: int | None = None
    reason: str = ""

    @property
    def share(self) -> float:
        """Of the images with a planted example, those where the attack finds one."""
        return self.found / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Exact 95 % interval of the share (Clopper and Pearson, 1934)."""
        return binomial_interval(self.found, self.n) if self.n else (0.0, 1.0)

    @property
    def score(self) -> float | None:
        """The share, counted from what random search finds (0) to all (1); None where that finds all, and nothing can be told."""
        if not self.n or self.random >= self.n:
            return None
        return max(0.0, (self.found - self.random) / (self.n - self.random))

    @property
    def is_enough(self) -> bool | None:
        """Whether the attack is strong enough to be believed; None where nothing can be told."""
        return None if self.score is None else self.score >= ENOUGH

    @property
    def needs_no_guard(self) -> bool:
        """Whether the same attack finds enough that does not know the detector: then it was tested on the network alone."""
        return self.unguarded is not None and bool(replace(self, found=self.unguarded).is_enough)

    @property
    def too_few(self) -> bool:
        """Whether what looks strong enough may be chance, so few are the images."""
        return bool(self.is_enough) and self.n < FEWEST

    @property
    def wanted(self) -> int:
        """Images to ask for, so that enough of them have a planted example, with a tenth to spare."""
        return math.ceil(1.1 * FEWEST * (self.n + self.left_out) / self.n)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, path: Path) -> Proof:
        """What `to_json` wrote. Raises ValueError where the file holds anything else."""
        from pydantic import TypeAdapter

        content: Any = read_json(path)
        try:
            proof: Proof = TypeAdapter(Proof).validate_python(content)
        except (ValueError, TypeError) as error:
            raise ValueError("no proof: a column is missing, or of another type") from error
        if not 0 <= max(proof.found, proof.random, proof.unguarded or 0) <= proof.n:
            raise ValueError("counts that no proof has")
        return proof


def beside(results: Iterable[Result], proofs: Iterable[Proof]) -> None:
    """Put the share that an attack found, and its score, into the rows in which it met that system itself."""
    tried = {(p.model, p.defense, p.attack, p.seed, p.norm, None if p.minimal else p.eps, p.target): p for p in proofs if p.n}
    for result in results:
        row = result.row
        proof = tried.get((row.model, row.defense, row.attack, row.seed, row.norm, row.eps, row.target))
        if proof is not None and row.threat == "adaptive":
            row.metrics.update({"planted_found_share": proof.share, "planted_score": proof.score})
