"""The numbers in the files are the numbers of the rows, and hostile labels do no harm."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from advrun.report import latex, markdown, tables
from advrun.report.summary import summarise
from tests.report._sample import findings, result

HOSTILE = [
    "<script>alert(1)</script>",
    "a_b & c|d",
    "100 % $x^2$ #1 {y} ~z \\w",
    "`*bold*` [link](http://x)",
    "[first",
    "*star",
    "two\nlines",
]


@pytest.fixture(scope="module")
def found():
    return findings(galleries=False)


@pytest.fixture(scope="module")
def files(found):
    return tables.files(found, summarise(found.results))


def hostile_findings():
    measured = []
    for label in ["none", *HOSTILE]:
        measured.append(result(label, "clean", "none", accuracy=0.9))
        flags = (f"odd {label}",)
        measured += [
            result(label, attack, "adaptive", accuracy=0.4, eps=8 / 255, norm="linf", budget=label, flags=flags) for attack in HOSTILE[:3]
        ]
    return replace(findings(galleries=False), title=HOSTILE[0] + HOSTILE[2], description=HOSTILE[0], results=measured)


def cells(line: str) -> list[str]:
    """Cells of a line of a pipe table, as GitHub splits it: at bars without a backslash."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def pipe_tables(text: str) -> list[list[list[str]]]:
    blocks = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    return [[cells(line) for line in block.strip().split("\n")] for block in blocks]


def test_json_is_strict_and_holds_every_row_exactly(found, files):
    def refuse(name: str) -> float:
        raise ValueError(name)

    records = json.loads(files["accuracy.json"], parse_constant=refuse)
    rows = summarise(found.results).rows
    assert len(records) == len(rows) > len(found.results)
    required = ["model", "defense", "attack", "eps", "norm", "threat", "seed", "n", "accuracy"]
    required += ["interval", "flags", "gradients", "queries", "seconds"]
    for record, row in zip(records, rows, strict=True):
        assert {name: record[name] for name in required} == {
            **{name: getattr(row, name) for name in required},
            "interval": list(row.interval),
            "flags": list(row.flags),
        }
        assert {name: record[name] for name in row.metrics} == row.metrics
        assert list(record)[-1] == "seconds"
    assert len({tuple(record) for record in records}) == 1


def test_nan_becomes_null():
    odd = result("none", "cw", "adaptive", accuracy=0.0, norm="l2", metrics={"l2": math.nan}, settings={"a": [math.inf]})
    (record,) = json.loads(tables.files(replace(findings(galleries=False), results=[odd]), summarise([odd]))["accuracy.json"])
    assert (record["l2"], record["settings"]) == (None, {"a": [None]})


def test_csv_holds_every_number_exactly(found, files):
    lines = list(csv.DictReader(io.StringIO(files["accuracy.csv"])))
    rows = summarise(found.results).rows
    assert list(lines[0])[-1] == "seconds"
    for line, row in zip(lines, rows, strict=True):
        assert (float(line["low"]), float(line["high"]), float(line["accuracy"])) == (*row.interval, row.accuracy)
        assert (int(line["n"]), int(line["seed"]), line["threat"], line["attack"]) == (row.n, row.seed, row.threat, row.attack)
        assert (float(line["eps"]) if line["eps"] else None) == row.eps
        assert line["flags"] == "; ".join(row.flags)


def test_markdown_summary_holds_the_accuracies_of_the_rows(found, files):
    shown = pipe_tables(files["summary.md"])
    rows = {(row.defense, row.attack, row.eps, row.threat): row for row in summarise(found.results).rows}
    names = ("worst case", "fgsm", "pgd")
    checked = 0
    for name, (header, _, *body) in zip(names, shown, strict=False):
        for line in body:
            for head, text in zip(header[2:], line[2:], strict=True):
                if text == "=":
                    continue
                eps, threat = (None, "none") if head == "clean" else (int(head.split()[2].split("/")[0]) / 255, head.split()[-1])
                row = rows[line[1].replace("\\", ""), "clean" if head == "clean" else name, eps, threat]
                number, margin = re.match(r"\**([\d.]+) ± ([\d.]+)", text).groups()
                assert number == f"{100 * row.accuracy:.1f}"
                assert margin == f"{100 * max(row.interval[1] - row.accuracy, row.accuracy - row.interval[0]):.1f}"
                checked += 1
    assert checked == 4 + 3 * (3 + 3 * 6)


def test_markdown_full_table_has_a_line_per_row(found, files):
    (lines,) = pipe_tables(files["accuracy.md"])
    rows = summarise(found.results).rows
    column = lines[0].index("accuracy, %")
    assert [line[column] for line in lines[2:]] == [f"{100 * row.accuracy:.1f}" for row in rows]
    assert {len(line) for line in lines} == {len(lines[0])}


def test_summary_csv_has_a_line_per_system(found, files):
    lines = list(csv.DictReader(io.StringIO(files["summary.csv"])))
    assert [line["defense"] for line in lines] == ["none", "adversarial_training", "autoencoder", "hybrid"]
    pgd = {row.defense: row for row in summarise(found.results).rows if (row.attack, row.eps, row.threat) == ("pgd", 8 / 255, "adaptive")}
    for line in lines:
        assert line["pgd Linf, eps = 8/255 adaptive, %"] == f"{100 * pgd[line['defense']].accuracy:.1f}"
    assert lines[0]["pgd Linf, eps = 8/255 static, %"] == lines[0]["pgd Linf, eps = 8/255 adaptive, %"]
    assert [line["flags"] for line in lines] == ["", "", "zero-gradients", ""]
    assert files["summary.csv"].isascii()


def test_latex_summary_holds_the_accuracies_of_the_rows(found, files):
    for row in summarise(found.results).rows:
        if row.eps is not None or row.attack in ("clean", "cw"):
            assert f"{100 * row.accuracy:.1f}" in files["summary.tex"]


def test_times_are_in_json_and_csv_only(found, files):
    slower = [replace(r, row=replace(r.row, seconds=99.0)) for r in found.results]
    other = tables.files(replace(found, results=slower), summarise(slower))
    assert {name for name in files if files[name] != other[name]} == {"accuracy.json", "accuracy.csv"}


def test_hostile_labels_stay_in_their_markdown_cells():
    found = hostile_findings()
    made = tables.files(found, summarise(found.results))
    for name in ("summary.md", "accuracy.md"):
        assert not re.search(r"<\w", made[name])
        for table in pipe_tables(made[name]):
            assert len({len(line) for line in table}) == 1
            assert len(table) >= 2 + len(HOSTILE)
    assert "\\[link\\](http://x)" in made["summary.md"]
    assert "a\\_b &amp; c\\|d" in made["summary.md"]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_escaping_loses_nothing(text):
    plain = re.sub(r"\\(.)", r"\1", markdown.escape(text)).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert plain == " ".join(text.split())


def test_latex_escaping():
    assert latex.escape("a_b & 5 % $x$ #1 {y}") == r"a\_b \& 5 \% \$x\$ \#1 \{y\}"
    assert (
        latex.escape("\\input{x}~^<|>")
        == r"\textbackslash{}input\{x\}\textasciitilde{}\textasciicircum{}\textless{}\textbar{}\textgreater{}"
    )
    assert latex.escape("L∞ 8/255 ± 1 †") == r"L$_\infty$ 8/255 $\pm$ 1 $^{\dagger}$"


def test_latex_tables_keep_to_three_eps_side_by_side():
    many = [result("none", "pgd", "adaptive", accuracy=0.5, eps=k / 255, norm="linf") for k in range(1, 8)]
    text = tables.files(replace(findings(galleries=False), results=many), summarise(many))["summary.tex"]
    assert [line.count("/255") for line in text.splitlines() if line.startswith(r"\multicolumn{1}{@{}l}")] == [3, 3, 1, 3, 3, 1]


def test_several_models_are_told_apart_everywhere():
    pair = [
        result("none", "pgd", "adaptive", accuracy=share, eps=0.1, norm="linf", model=model) for model, share in (("a", 0.2), ("b", 0.8))
    ]
    made = tables.files(replace(findings(galleries=False), results=pair), summarise(pair))
    assert [line[0] for line in pipe_tables(made["summary.md"])[0][2:]] == ["a", "b"]
    assert r"a & none & --- & 20.0" in made["summary.tex"]
    assert r"b & none & --- & 80.0" in made["summary.tex"]
    assert r"a & none & pgd" in made["accuracy.tex"]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex")
@pytest.mark.parametrize("make", [hostile_findings, lambda: findings(seeds=(0, 1, 2), galleries=False)])
def test_latex_compiles_without_complaints(tmp_path, make):
    found = make()
    for name, text in tables.files(found, summarise(found.results)).items():
        (tmp_path / name).write_text(text)
    packages = r"\usepackage[T1]{fontenc}\usepackage[utf8]{inputenc}\usepackage{booktabs}\usepackage{longtable}"
    inputs = r"\input{summary}\clearpage\input{accuracy}"
    (tmp_path / "main.tex").write_text(rf"\documentclass{{article}}{packages}\begin{{document}}{inputs}\end{{document}}")
    command = ["pdflatex", "-draftmode", "-halt-on-error", "-interaction=nonstopmode", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("measured", [[], [result("none", "clean", "none", accuracy=1.0)]])
def test_tables_exist_before_anything_was_attacked(measured):
    made = tables.files(replace(findings(galleries=False), results=measured), summarise(measured))
    assert len(json.loads(made["accuracy.json"])) == len(measured)
    assert len(made["summary.csv"].splitlines()) == 1 + len(measured)
    if measured:
        assert "100.0 ± 0.7" in made["summary.md"]
