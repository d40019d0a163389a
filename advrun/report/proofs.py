"""The table of `advrun prove`: which planted examples each attack finds, and whether that is enough."""

from __future__ import annotations

from advrun.proof import ENOUGH, FEWEST, Proof
from advrun.report import accuracy, markdown
from advrun.report.findings import Findings
from advrun.report.layout import attack_label, eps_label, norm_label, percent
from advrun.report.summary import AttackId

VERDICTS = {True: "strong enough", False: "TOO WEAK", None: "cannot be told"}
TOO_FEW = "too few images to tell"
HEADER = ("system", "attack", "within", "seed", "images", "found, %", "95 % interval, %", "random search, %", "score, %", "verdict")
UNGUARDED = "not knowing the detector, %"
"""A column more, where a detector stands beside a system."""


def files(findings: Findings) -> dict[str, str]:
    """`prove.md` and `prove.csv`; nothing where nothing was tested."""
    if not findings.proofs:
        return {}
    table = lines(findings)
    text = [f"# {markdown.escape(findings.title)}", markdown.pipes(table), *map(markdown.escape, said(findings))]
    return {"prove.md": "\n\n".join(text) + "\n", "prove.csv": accuracy.write_csv(table)}


def lines(findings: Findings) -> list[list[str]]:
    """Header and a line for each test, as text."""
    table = [list(HEADER), *map(_line, findings.proofs)]
    if any(proof.unguarded is not None for proof in findings.proofs):
        place = HEADER.index("score, %")
        for line, said in zip(table, [UNGUARDED, *map(_unguarded, findings.proofs)], strict=True):
            line.insert(place, said)
    return table


def _unguarded(proof: Proof) -> str:
    return percent(proof.unguarded / proof.n) if proof.unguarded is not None and proof.n else ""


def _line(proof: Proof) -> list[str]:
    name = attack_label(AttackId(proof.attack, proof.norm, proof.target))
    within = f"{norm_label(proof.norm)} {eps_label(proof.norm, proof.eps)}" if proof.norm and proof.eps else ""
    place = [f"{proof.model} / {proof.defense}", name, within, str(proof.seed)]
    if proof.reason:
        return [*place, "", "", "", "", "", f"not tested: {proof.reason}"]
    low, high = proof.interval
    score = "" if proof.score is None else percent(proof.score)
    numbers = [str(proof.n), percent(proof.share), f"{percent(low)} to {percent(high)}", percent(proof.random / proof.n), score]
    return [*place, *numbers, TOO_FEW if proof.too_few else VERDICTS[proof.is_enough]]


def said(findings: Findings) -> list[str]:
    """What the table comes to, and how it is to be read."""
    tested = [proof for proof in findings.proofs if not proof.reason]
    weak = [proof for proof in tested if proof.is_enough is False]
    if not tested:
        return ["No attack could be tested."] if findings.proofs else []
    systems = dict.fromkeys((proof.model, proof.defense) for proof in tested)
    unproven = [each for each in systems if not any(proof.is_enough for proof in tested if (proof.model, proof.defense) == each)]
    least = f"{100 * ENOUGH:g} % of the planted examples"
    sentences = [
        f"{len(tested) - len(weak)} of {len(tested)} tests of an attack on a system found at least {least}, or could tell nothing."
    ]
    if weak:
        sentences = [f"{len(weak)} of {len(tested)} tests found less than {least}: what these attacks leave right says little."]
    few = [proof for proof in tested if proof.too_few]
    if few:
        low, high = (percent(each) for each in few[0].interval)
        seen = f"{few[0].found} of {few[0].n}: {low} to {high} %"
        sentences += [
            f"{len(few)} of the {len(tested)} found enough, of so few images that it may be chance ({seen}).",
            f"{100 * ENOUGH:g} % can be told from {FEWEST} planted examples on: take --images {max(each.wanted for each in few)}.",
        ]
    if unproven:
        named = ", ".join(f"{model} / {defense}" for model, defense in unproven)
        sentences.append(f"Of {named} no attack of this configuration is strong enough: do not believe its accuracy.")
    strong = [proof for proof in tested if proof.is_enough and proof.unguarded is not None]
    needed = {(proof.model, proof.defense) for proof in strong if not proof.needs_no_guard}
    idle = [each for each in systems if each not in needed and any((proof.model, proof.defense) == each for proof in strong)]
    if idle:
        named = ", ".join(f"{model} / {defense}" for model, defense in idle)
        sentences.append(f"Who does not know the detector finds enough too of {named}: there the test is one of the network alone.")
    return [
        *sentences,
        "The last layer of the system is replaced, for each image, by one that tells one planted point within the ball from all others, so "
        "that an adversarial example surely exists (Zimmermann, Brendel, Tramèr and Carlini, 2022, arXiv:2206.13991). Random search: the "
        "share found by 200 random points. Score: the share found, counted from what random search finds (0) to all (100). To pass is "
        "necessary, and not sufficient: the system itself may be harder to attack.",
    ]
