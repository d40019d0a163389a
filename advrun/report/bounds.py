"""How far no attack can reach, beside how near one came: the table, its notes, and what contradicts itself."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np

from advrun import registry
from advrun.certificates import Certificate
from advrun.contradictions import Contradiction, contradictions, of_system
from advrun.flags import SLACK, explained, mark
from advrun.geometry import GEOMETRIES
from advrun.meanings import CONTRADICTED, NO_SLOPE
from advrun.report.accuracy import write_csv
from advrun.report.findings import Findings
from advrun.report.layout import MISSING, attack_label, ball_label, distance_label, eps_label, marked, norm_label, percent
from advrun.report.markdown import escape, pipes
from advrun.report.notes import Note, anchor
from advrun.report.summary import AttackId, Summary, attack_of
from advrun.results import CLOSEST, WORST_CASE, Result, binomial_interval
from advrun.types import SystemName

HEADER = ("model", "defence", "bound", "what it is", "norm", "seed", "images", "ε", "beyond ε, %", "95 % interval", "left, %",
          "undecided, %", "median radius", "details", "nearer")  # fmt: skip
CSV = ("model", "defense", "bound", "kind", "norm", "target", "seed", "n", "eps", "beyond_share", "low", "high", "left_share",
       "undecided_share", "median_radius", "gradients", "queries", "nearer", "refused", "flags")  # fmt: skip
EPS = {"linf": (1 / 255, 2 / 255, 4 / 255, 8 / 255), "l2": (0.1, 0.25, 0.5, 1.0), "l1": (2.0, 5.0, 10.0, 20.0), "l0": (1.0, 5.0, 10.0)}
"""Where a table looks when nothing was attacked in the norm."""
WIDTH = 96


@dataclass(frozen=True, eq=False)
class Sandwich:
    """One certificate, and what attacks left of the same images of the same system."""

    certificate: Certificate
    results: Sequence[Result]

    @cached_property
    def closest(self) -> np.ndarray:
        """(n,) distance of each image's nearest example, of any attack in the norm; 0 where it is wrong anyway, inf where there is none."""
        closest = np.full(self.certificate.n, np.inf, np.float32)
        for result in self.results:
            n = min(len(closest), result.row.n)
            closest[:n] = np.where(result.correct[:n], closest[:n], np.minimum(closest[:n], result.distances[:n]))
        return closest

    @property
    def doubts(self) -> list[str]:
        """The flags of the attacks that the share which is left may be owed to."""
        return [flag for result in self.results for flag in result.row.flags]

    @property
    def images(self) -> int:
        """How many of the first images have met an attack."""
        return min(max((result.row.n for result in self.results), default=0), self.certificate.n)

    def beyond(self, eps: float) -> float:
        """Share of the images that nothing within eps changes, as the bound says."""
        return float(self.certificate.beyond(eps)[: self.shared].mean())

    def left(self, eps: float) -> float | None:
        """Share of the same images that no attack changed within eps; None where the bound is about another system, or nothing attacked."""
        if not self.certificate.bounds_attacks or not self.images:
            return None
        reach = GEOMETRIES[self.certificate.norm](eps).reach if eps > 0 else 0.0
        return float((self.closest[: self.images] > reach).mean())

    @property
    def shared(self) -> int:
        """The images that the shares are of: those that met an attack as well, where they can be compared."""
        return self.images if self.certificate.bounds_attacks and self.images else self.certificate.n


def sandwich_of(certificate: Certificate, results: Sequence[Result]) -> Sandwich:
    """The certificate beside every attack on its system in its norm."""
    own = (result for result in results if result.row.attack not in (WORST_CASE, CLOSEST))
    return Sandwich(certificate, list(of_system(certificate, own)))


def radii(certificate: Certificate, summary: Summary) -> tuple[float, ...]:
    """The eps at which attacks in its norm were measured, or some that are usual."""
    eps = {eps for panel in summary.panels if panel.attack.norm == certificate.norm for eps in panel.radii if eps}
    return tuple(sorted(eps)) or EPS[certificate.norm]


def files(findings: Findings, summary: Summary) -> dict[str, str]:
    """Content by file name; none without bounds."""
    if not findings.certificates:
        return {}
    said = [f"**{escape(error)}**" for error in errors(findings, summary)]
    explained = "\n".join(f"- **{escape(note.term)}** {escape(note.text)}" for note in notes(findings, summary))
    text = "\n\n".join((f"# {escape(findings.title)}", *said, pipes(lines(findings, summary)), explained)) + "\n"
    return {"bounds.md": text, "bounds.csv": write_csv([CSV, *_csv(findings, summary)])}


def lines(findings: Findings, summary: Summary) -> list[list[str]]:
    """Header and lines as text, one for each certificate and eps; nothing without bounds."""
    found = [line for certificate in findings.certificates for line in _lines(certificate, findings, summary)]
    return [list(HEADER), *found] if found else []


def _lines(certificate: Certificate, findings: Findings, summary: Summary) -> Iterator[list[str]]:
    head = [
        certificate.model,
        certificate.defense,
        name(certificate),
        certificate.kind,
        norm_label(certificate.norm),
        str(certificate.seed),
    ]
    if certificate.refused:
        yield [*head[:3], "refused", *head[4:], *[MISSING] * 7, certificate.refused, ""]
        return
    both = sandwich_of(certificate, findings.results)
    near, median = len(_nearer(certificate, findings)), _median(certificate)

    def shares(eps: float) -> tuple[str, ...]:
        share, left = both.beyond(eps), both.left(eps)
        low, high = binomial_interval(round(share * both.shared), both.shared)
        compared = (MISSING, MISSING) if left is None else (marked(percent(left), both.doubts), _gap(left - share, certificate.sound))
        return marked(percent(share), doubts(certificate)), f"{percent(low)} to {percent(high)}", *compared

    for said, group in groupby(radii(certificate, summary), key=shares):  # eps at which all is the same share a line
        first, *others = (eps_label(certificate.norm, eps) for eps in group)
        eps = f"{first} to {others[-1]}" if others else first
        yield [*head, str(both.shared), eps, *said, median, details(certificate), _near(certificate, near)]


def doubts(certificate: Certificate) -> list[str]:
    """Flags of its numbers: an estimate is made of gradients, and these are all zero."""
    flat = certificate.details.get("no_gradient", np.zeros(1))
    return [NO_SLOPE] if np.nan_to_num(flat).sum() > SLACK * (~np.isnan(flat)).sum() else []


def _median(certificate: Certificate) -> str:
    return marked(distance_label(float(np.median(certificate.radius))), doubts(certificate))


def _gap(share: float, sound: bool) -> str:
    """What is undecided; nothing where an estimate is beyond what attacks left."""
    return percent(share) if sound or share >= 0 else MISSING


def _near(certificate: Certificate, images: int) -> str:
    if not certificate.bounds_attacks:
        return MISSING
    return str(images) if certificate.sound else f"({images})"


def _csv(findings: Findings, summary: Summary) -> Iterator[list[str]]:
    for certificate in findings.certificates:
        head = [certificate.model, certificate.defense, certificate.bound, certificate.kind, certificate.norm, certificate.target]
        head += [str(certificate.seed)]
        if certificate.refused:
            yield [*head, *[""] * 11, certificate.refused, ""]
            continue
        both, near = sandwich_of(certificate, findings.results), len(_nearer(certificate, findings))
        costs = [f"{certificate.gradients:.6g}", f"{certificate.queries:.6g}"]
        for eps in radii(certificate, summary):
            share, left = both.beyond(eps), both.left(eps)
            interval = binomial_interval(round(share * both.shared), both.shared)
            compared = ["", ""] if left is None else [f"{left:.6g}", f"{left - share:.6g}"]
            numbers = [f"{value:.6g}" for value in (eps, share, *interval)]
            median = f"{float(np.median(certificate.radius)):.6g}"
            yield [*head, str(both.shared), *numbers, *compared, median, *costs, str(near), "", "; ".join(doubts(certificate))]


def name(certificate: Certificate) -> str:
    """The bound, and what it aims at."""
    return attack_label(AttackId(certificate.bound, certificate.norm, certificate.target))


def details(certificate: Certificate) -> str:
    """`abstained 3.1 %`: means of the further numbers over the images that have one; p values as the share above 0.05."""
    said = []
    for what, values in certificate.details.items():
        known = values[~np.isnan(values)]
        if len(known) and what.endswith("_p"):
            said.append(f"{what.removesuffix('_p').upper()} test kept {percent(float((known > 0.05).mean()))} %")
        elif len(known):
            share = f"{percent(float(known.mean()))} %" if np.isin(known, (0, 1)).all() else f"{float(known.mean()):.3g}"
            said.append(f"{what.replace('_', ' ')} {share}")
    return ", ".join(said)


def notes(findings: Findings, summary: Summary) -> list[Note]:
    """What the columns mean, and what each bound is."""
    if not findings.certificates:
        return []
    found = [
        Note("beyond ε", "images that the system gets right and that, as the bound says, nothing within ε changes."),
        Note("left", "images that no attack of the run, in this norm and on this system, changed within ε: the same images, one by one."),
        Note("undecided", "the gap between both: neither certified nor fooled. For an estimate it is no more than a hint."),
        Note("nearer", "images with an example nearer than the bound: an error where it is certified, in parentheses for an estimate."),
    ]
    for certificate in findings.certificates:
        plugin = registry.get("bounds", certificate.name)
        kind = "certified" if plugin.sound else "an estimate, no bound"
        about = f"; about {plugin.about}, which attacks on that one alone contradict" if plugin.about else ""
        note = Note(certificate.bound, f"{plugin.summary} ({kind}{about})")
        found += [note] if note not in found else []
    flags = dict.fromkeys(flag for certificate in findings.certificates for flag in doubts(certificate))
    return [*found, *(Note(mark(flag), explained(flag), anchor(flag)) for flag in flags)]


def errors(findings: Findings, summary: Summary) -> list[str]:
    """A sentence for each attack that came nearer than what is certified."""
    certified = [certificate for certificate in findings.certificates if certificate.sound]
    return list(map(_error, contradictions(certified, findings.results)))


def _error(found: Contradiction) -> str:
    certificate, row = found.certificate, found.result.row
    first = int(found.images[0])
    count = "1 image is" if len(found.images) == 1 else f"{len(found.images):,} images are"
    attack = f"{attack_label(attack_of(row))}, {ball_label(row.norm, row.eps) if row.eps else norm_label(row.norm)}"
    where = f"{SystemName(row.model, row.defense)}, seed {row.seed}"
    example, radius = float(found.result.distances[first]), float(certificate.radius[first])
    return (
        f"ERROR {mark(CONTRADICTED)} {certificate.bound} contradicts {attack} ({row.threat}) on {where}: {count} fooled "
        f"from within the radius that is certified, image {first} of the order from {example:.4g}, certified {radius:.4g}."
    )


def _nearer(certificate: Certificate, findings: Findings) -> np.ndarray:
    """The images that any attack fools from nearer than the bound says."""
    found = [each.images for each in contradictions([certificate], findings.results)]
    return np.unique(np.concatenate(found)) if found else np.empty(0, int)


def terminal(findings: Findings, summary: Summary) -> list[str]:
    """A few lines for each bound."""
    found: list[str] = []
    for certificate in findings.certificates:
        where = str(SystemName(certificate.model, certificate.defense)) + (f", seed {certificate.seed}" if len(summary.seeds) > 1 else "")
        found += textwrap.wrap(f"{where}: {_in_words(certificate, findings, summary)}", WIDTH, subsequent_indent="    ")
    return ["bounds: how far no attack can reach", *(f"  {line}" for line in found)] if found else []


def _in_words(certificate: Certificate, findings: Findings, summary: Summary) -> str:
    head = f"{name(certificate)}, {norm_label(certificate.norm)}"
    if certificate.refused:
        return f"{head}, refused: {certificate.refused}"
    both = sandwich_of(certificate, findings.results)
    parts = []
    for eps in radii(certificate, summary):
        left = both.left(eps)
        over = "" if left is None else f" of {percent(left)} left"
        parts.append(f"{eps_label(certificate.norm, eps)}: {marked(percent(both.beyond(eps)), doubts(certificate))}{over}")
    median = f"median radius {_median(certificate)}"
    return "; ".join(filter(None, (f"{head} ({certificate.kind}), % beyond ε = {', '.join(parts)}", median, details(certificate))))
