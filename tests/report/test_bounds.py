"""The sandwich in table, figure, page and terminal; and that a contradiction is seen everywhere."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from advrun.certificates import Certificate
from advrun.contradictions import contradicted, contradictions
from advrun.flags import mark
from advrun.meanings import CONTRADICTED, UNCONVERGED
from advrun.report import bounds, figures, page, tables, terminal
from advrun.report.findings import Findings
from advrun.report.layout import MISSING
from advrun.report.sandwich import sandwich
from advrun.report.style import picture
from advrun.report.summary import summarise
from tests._rows import result


def certificate(radius, **more) -> Certificate:
    content = {"defense": "d", "bound": "ibp", "name": "ibp", "norm": "linf", "sound": True, **more}
    radius = np.asarray(radius, np.float32)
    return Certificate(model="m", seed=0, labels=np.zeros(len(radius), np.int32), radius=radius, **content)


def made(certificates, results) -> tuple[Findings, object]:
    results = contradicted(results, certificates)
    found = Findings("toy", "toy", "", "", {}, ("a", "b"), results, certificates=list(certificates))
    return found, summarise(results)


ROWS = [
    result("clean", "1" * 7 + "0", threat="none", eps=None, norm=""),
    result("pgd", "11110000", eps=0.1, distances=[0.1] * 7 + [0.0]),
    result("pgd", "11000000", eps=0.2, distances=[0.2] * 7 + [0.0]),
    result("ddn", "00000000", eps=None, distances=[0.3, 0.15, 0.14, 0.13, 0.09, 0.08, 0.07, 0.0]),
]
SOUND = [0.12, 0.12, 0.05, 0.05, 0.05, 0.0, 0.05, 0.0]


def test_certified_is_below_what_is_left_on_the_same_images():
    certificates = [certificate(SOUND)]
    found, summary = made(certificates, ROWS)
    both = bounds.sandwich_of(certificates[0], found.results)
    np.testing.assert_allclose(both.closest, [0.3, 0.15, 0.14, 0.13, 0.09, 0.08, 0.07, 0.0])
    for eps in np.linspace(0, 0.4, 41):
        assert both.beyond(eps) <= both.left(eps)
    assert (both.beyond(0.1), both.left(0.1)) == (2 / 8, 4 / 8)
    assert (both.beyond(0.2), both.left(0.2)) == (0, 1 / 8)
    lines = list(csv.DictReader(io.StringIO(tables.files(found, summary)["bounds.csv"])))
    assert [(line["eps"], line["beyond_share"], line["left_share"], line["undecided_share"], line["nearer"]) for line in lines] == [
        ("0.1", "0.25", "0.5", "0.25", "0"),
        ("0.2", "0", "0.125", "0.125", "0"),
    ]
    assert not bounds.errors(found, summary)
    assert not any(CONTRADICTED in flag for each in found.results for flag in each.row.flags)


def test_doubtful_attacks_are_marked_where_their_share_stands_and_an_estimate_leaves_no_negative_gap():
    doubted = [result("pgd", "11110000", eps=0.1, distances=[0.1] * 7 + [0.0], flags=(UNCONVERGED,)), *ROWS[2:]]
    header, first, *_ = bounds.lines(*made([certificate(SOUND)], doubted))
    assert first[header.index("left, %")] == f"50.0 {mark(UNCONVERGED)}"
    header, first, *_ = bounds.lines(*made([certificate([0.5] * 8, sound=False, bound="clever", name="clever")], ROWS))
    assert [first[header.index(name)] for name in ("beyond ε, %", "left, %", "undecided, %")] == ["100.0", "50.0", MISSING]


def test_eps_at_which_all_is_the_same_share_a_line():
    """Nothing is certified at any: one line says so, and the CSV has all."""
    found, summary = made([certificate([0.0] * 8, norm="l2")], ROWS)
    header, line = bounds.lines(found, summary)
    assert dict(zip(header, line, strict=True))["ε"] == "0.1 to 1"
    assert len(list(csv.DictReader(io.StringIO(tables.files(found, summary)["bounds.csv"])))) == 4
    header, *lines = bounds.lines(*made([certificate(SOUND)], ROWS))
    assert [line[header.index("ε")] for line in lines] == ["0.1", "0.2"]


def test_fewer_images_are_compared_with_as_many():
    both = bounds.sandwich_of(certificate(SOUND[:4]), ROWS)
    assert (both.shared, both.beyond(0.1), both.left(0.1)) == (4, 0.5, 1.0)


def test_a_contradiction_is_an_error_everywhere():
    """Image 4 is fooled at 0.09, and certified up to 0.095; images 5 and 6 as well, of another bound that is an estimate."""
    certificates = [certificate([*SOUND[:4], 0.095, 0, 0, 0]), certificate([0.5] * 8, bound="clever", name="clever", sound=False)]
    found, summary = made(certificates, ROWS)
    (error,) = bounds.errors(found, summary)
    assert error.startswith("ERROR ‼ ibp contradicts ddn, L∞ (adaptive) on m / d, seed 0: 1 image is fooled")
    assert "image 4 of the order from 0.09, certified 0.095" in error
    flagged = {each.row.attack: each.row.flags for each in found.results}
    assert flagged["ddn"] == (f"{CONTRADICTED}: ibp",)
    assert not flagged["pgd"]
    made_files = tables.files(found, summary)
    assert f"**{error}**" in made_files["bounds.md"]
    lines = list(csv.DictReader(io.StringIO(made_files["bounds.csv"])))
    assert {line["bound"]: line["nearer"] for line in lines} == {"ibp": "1", "clever": "8"}
    assert [line.split("|")[-2].strip() for line in made_files["bounds.md"].splitlines() if "clever" in line and "|" in line] == ["(8)"] * 2
    html = page.html(found, summary, [])
    assert f'<p class="error"><strong>{error}</strong></p>' in html
    assert '<td class="error">1</td>' in html
    assert '<td class="error">(8)</td>' not in html
    plain = terminal.plain(found, summary)
    assert "ERROR ‼ ibp contradicts ddn" in plain
    console = Console(force_terminal=True, color_system="standard", width=200, record=True)
    with console.capture() as captured:
        console.print(terminal.table(found, summary))
    assert "\x1b[1;31mERROR" in captured.get()
    assert "ERROR" not in sandwich(summary, [certificates[1]])[1]


def test_more_certified_than_left_is_red_in_the_figure():
    certificates = [certificate([0.15] * 7 + [0.0])]
    found, summary = made(certificates, ROWS)
    ((kind, name, draw),) = figures._sandwiches(found, summary)
    drawn = picture(draw, name, kind)
    assert "ERROR, in red" in drawn.caption
    from matplotlib import image

    pixels = (255 * image.imread(io.BytesIO(drawn.png), format="png")).astype(int)[..., :3]
    assert ((pixels[..., 0] > 180) & (pixels[..., 1] < 110) & (pixels[..., 2] < 120)).sum() > 500


def test_rounding_and_what_is_about_something_else_contradict_nothing():
    ddn = ROWS[3]
    assert not contradictions([certificate([0.3 * (1 + 1e-6), 0.15, *[0] * 6])], [ddn])
    for more in ({"about": "the smoothed classifier"}, {"target": "3"}, {"refused": "no"}, {"norm": "l2"}, {"defense": "none"}):
        assert not contradictions([certificate([1.0] * 8, **more)], ROWS)
    assert len(contradictions([certificate([1.0] * 8)], ROWS)) == 3  # pgd at both eps, ddn; what is wrong without an attack has no example
    both = bounds.sandwich_of(certificate(SOUND, about="the smoothed classifier"), ROWS)
    assert both.left(0.1) is None


def test_a_refusal_stands_in_its_place():
    found, summary = made([certificate([0.0] * 8, refused="layer 'x' is a Y")], ROWS)
    lines = bounds.lines(found, summary)
    assert len(lines) == 2
    assert "refused" in lines[1]
    assert "layer 'x' is a Y" in lines[1]
    assert "refused: layer 'x' is a Y" in terminal.plain(found, summary)
    assert not list(figures._sandwiches(found, summary))


def test_without_attacks_in_the_norm_there_is_a_table_all_the_same():
    details = {"abstained": np.array([1, 0, 0, 0], np.float32), "ks_p": np.array([0.5, 0.01, np.nan, 0.2], np.float32)}
    found, summary = made([certificate([0, 0.3, 0.6, 1.2], norm="l2", details=details)], ROWS[:1])
    lines = bounds.lines(found, summary)
    assert [line[7] for line in lines[1:]] == ["0.1 to 0.25", "0.5", "1"]
    assert lines[1][13] == "abstained 25.0 %, KS test kept 66.7 %"
    assert [name for _, name, _ in figures._sandwiches(found, summary)] == ["sandwich-m-ibp-l2"]


def test_an_estimate_without_gradients_is_never_printed_plain():
    """Of 200 images that it was given, 1 is not enough, and 2 are."""
    for many, share in ((1, "100.0"), (2, "100.0 ∇")):
        flat = np.zeros(201, np.float32)
        flat[:many], flat[-1] = 1, np.nan
        masked = certificate([0.5] * 201, norm="l2", sound=False, name="clever", bound="clever", details={"no_gradient": flat})
        found, summary = made([masked], ROWS[:1])
        line = bounds.lines(found, summary)[1]
        assert (line[8], line[12]) == (share, share.replace("100.0", "0.500"))
        assert ("∇" in terminal.plain(found, summary)) == (many == 2)
        assert any("no-slope: The gradients" in note.text for note in bounds.notes(found, summary)) == (many == 2)
        assert tables.files(found, summary)["bounds.csv"].splitlines()[1].endswith(",no-slope" if many == 2 else ",")


def test_without_bounds_the_report_speaks_of_none():
    found, summary = made([], ROWS)
    assert "bounds.md" not in tables.files(found, summary)
    assert "How far no attack" not in page.html(found, summary, [])
    assert "bounds" not in terminal.plain(found, summary)


def test_it_is_written_and_read_again(tmp_path):
    before = certificate(SOUND, details={"ks_p": np.array([np.nan] + [0.5] * 7, np.float32)}, settings={"n": 3, "list": (1, 2)})
    (tmp_path / "a.json").write_text(before.to_json())
    after = Certificate.read(tmp_path / "a.json")
    np.testing.assert_array_equal(after.radius, before.radius)
    np.testing.assert_array_equal(after.details["ks_p"], before.details["ks_p"])
    assert after.to_json() == replace(before, settings={"n": 3, "list": [1, 2]}).to_json()
    for broken in ('{"radius": [1]}', before.to_json().replace("0.0,", "-1,", 1), before.to_json().replace('"linf"', '"l7"'), "[]",
                   before.to_json().replace('"sound":true', '"sound":1')):  # fmt: skip
        (tmp_path / "b.json").write_text(broken)
        with pytest.raises(ValueError, match="no bounds"):
            Certificate.read(tmp_path / "b.json")
