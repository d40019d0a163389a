"""Figures, page, terminal, and the whole report on disk."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from advrun.report import page, terminal, write
from advrun.report.explorer import safe
from advrun.report.headline import headline
from advrun.report.summary import summarise
from tests.report._large import large, pictures
from tests.report._sample import EPS, findings, gallery, result
from tests.report.test_tables import HOSTILE, hostile_findings

ROOT = Path(__file__).parents[2]


class Elements(HTMLParser):
    """Every element with its attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    start = time.process_time()
    paths = write(findings(), folder)
    return folder, paths, time.process_time() - start


def small():
    """Findings with one figure of each kind."""
    found = findings(galleries=False)
    measured = [r for r in found.results if r.row.defense == "hybrid" and r.row.attack in ("clean", "pgd")]
    shown = [gallery("hybrid", "pgd", eps=EPS[2], norm="linf", purified=True)]
    return replace(found, results=measured, galleries=shown, histories={"lnet": found.histories["lnet"]})


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


# The whole ----------------------------------------------------------------------------------------------------------


def test_write_returns_every_file_and_leaves_nothing_else(written):
    folder, paths, _ = written
    assert sorted(paths) == sorted(path for path in folder.rglob("*") if path.is_file())
    assert {path.name for path in paths if path.parent.name == "tables"} == {
        *(f"summary.{kind}" for kind in ("csv", "md", "tex")),
        *(f"accuracy.{kind}" for kind in ("csv", "md", "tex", "json")),
    }
    drawn = [path.stem for path in paths if path.suffix == ".png"]
    assert sorted(drawn) == sorted(path.stem for path in paths if path.suffix == ".pdf")
    assert [sum(name.startswith(kind) for name in drawn) for kind in ("robustness", "examples", "confusion", "training")] == [3, 3, 4, 4]


def test_write_takes_seconds_not_minutes_of_one_core(written):
    assert written[2] < 30  # 4 on an idle core, 10 on a busy one


@pytest.mark.slow
def test_the_same_findings_give_the_same_bytes_in_another_process_without_keras(tmp_path):
    write(small(), tmp_path / "here")
    code = (
        "import sys; from pathlib import Path; from advrun.report import write; from tests.report.test_report import small;"
        "write(small(), Path(sys.argv[1])); sys.exit(any(name in sys.modules for name in ('keras', 'tensorflow')))"
    )
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": str(ROOT),
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
        "TZ": "Asia/Tokyo",
    }
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nlines.linewidth: 9\nsavefig.dpi: 20\n")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True, cwd=ROOT, env=environment)
    assert digests(tmp_path / "here") == digests(tmp_path / "there")


def test_a_second_report_replaces_the_first(tmp_path):
    found = replace(small(), results=small().results[:1], galleries=[], histories={})
    write(found, tmp_path)
    before = digests(tmp_path)
    write(replace(found, title="other"), tmp_path)
    assert digests(tmp_path) != before
    write(found, tmp_path)
    assert digests(tmp_path) == before


@pytest.mark.parametrize("results", [[], [result("none", "clean", "none", accuracy=0.0)]])
def test_a_report_without_attacks_histories_or_galleries(tmp_path, results):
    found = replace(findings(), results=results, histories={}, galleries=[], description="", environment={})
    names = {path.name for path in write(found, tmp_path)}
    assert "report.html" in names
    assert not any(name.endswith(".png") for name in names)


# The page -----------------------------------------------------------------------------------------------------------


def test_page_loads_nothing_from_elsewhere(written):
    text = (written[0] / "report.html").read_text()
    elements = Elements(text).elements
    assert not {"iframe", "object", "embed", "form"} & {tag for tag, _ in elements}
    assert [attributes for tag, attributes in elements if tag == "script"] == [{"type": "application/json", "id": "data"}, {}]
    for tag, attributes in elements:
        for name in ("src", "href", "srcset", "data", "action"):
            value = attributes.get(name, "#")
            assert value.startswith(("#", "data:")), (tag, value[:80])
    assert not re.search(r"https?:|@import|url\(|innerHTML|fetch\(|XMLHttpRequest|eval\(", text)
    script = re.findall(r"<script>(.*?)</script>", text, re.S)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'\"" in text
    targets = {attributes["id"] for _, attributes in elements if "id" in attributes}
    assert {attributes["href"][1:] for tag, attributes in elements if tag == "a"} <= targets


def test_page_shows_every_accuracy_and_all_figures(written):
    elements = Elements((written[0] / "report.html").read_text())
    for row in summarise(findings().results).rows:
        assert f"{100 * row.accuracy:.1f}" in elements.text
    images = [attributes for tag, attributes in elements.elements if tag == "img"]
    drawn = [path.stem for path in (written[0] / "figures").glob("*.png")]
    curves = [name for name in drawn if name.startswith(("robustness", "training"))]
    assert len(images) == len(drawn) - len(curves)
    assert all(attributes["alt"] for attributes in images)
    charts = [attributes["aria-label"] for tag, attributes in elements.elements if tag == "svg" and attributes.get("role") == "group"]
    assert len(charts) == 3 + 2 * 3 + 1  # losses and accuracies; of the purifier the loss alone
    assert all(charts)
    assert "A gradient attack is blind there" in elements.text
    assert findings().config_yaml in elements.text


def test_page_headline_comes_before_everything_else(written):
    text = Elements((written[0] / "report.html").read_text()).text
    assert text.index("in the worst case within") < text.index("Worst case, L∞") < text.index("fgsm, L∞") < text.index("Configuration\n")


def test_hostile_labels_are_text_on_the_page():
    found = replace(hostile_findings(), config_yaml="</pre><script>", environment={"<b>": "</dl>&"})
    elements = Elements(page.html(found, summarise(found.results), []))
    assert not {"b"} & {tag for tag, _ in elements.elements}
    assert sum(tag == "script" for tag, _ in elements.elements) == 2  # the page's own
    for label in HOSTILE:
        assert label in elements.text
    assert "</pre><script>" in elements.text


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "]]>", "\u2028\u2029", "停止", "a\\u003cb", "&lt;", "\u202eright to left"])
def test_no_text_ends_the_data_and_all_come_back(text):
    content = {text: [text, 1]}
    written = safe(content)
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == content


def test_the_rows_of_the_data_are_those_of_the_table(written):
    text = (written[0] / "report.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    rows = summarise(findings().results).rows
    assert [row[:2] for row in data["rows"]] == [[row.model, row.defense] for row in rows]
    elements = Elements(text).elements
    assert [attributes["id"] for tag, attributes in elements if tag == "tr" and "id" in attributes] == [
        f"row-{n}" for n in range(len(rows))
    ]
    shown = {int(number) for number in data["images"]["rows"]}
    assert {(rows[n].defense, rows[n].attack, rows[n].eps) for n in shown} == {(g.defense, g.attack, g.eps) for g in findings().galleries}
    assert data["first"] in shown


def test_a_long_page_folds_what_is_below_its_overview():
    found = large(models=6, defenses=3, attacks=6, radii=1)
    text = page.html(found, summarise(found.results), pictures())
    inside = re.split(r"<details[^>]*>", text)
    assert "Worst case, L∞" in inside[1].split("</details>")[-1]
    assert "6 findings in full" in text
    pattern = (
        r'<details class="fold"><summary>(attack_\d+), L∞ \(accuracy, %\)<span class="range">([\d.]+ to [\d.]+) % at ε = 2/255 adaptive<'
    )
    folded = re.findall(pattern, text)
    assert [name for name, _ in folded] == [f"attack_0{n}" for n in range(6)]
    assert "more in <code>figures/</code>" in text


def test_pictures_fit_a_page_and_carry_no_dates(written):
    for path in (written[0] / "figures").iterdir():
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width <= 7.01 * 200
                assert image.info.keys() <= {"dpi"}
        else:
            assert b"CreationDate" not in path.read_bytes()


# Terminal -----------------------------------------------------------------------------------------------------------


def test_plain_table_is_aligned_narrow_and_complete():
    text = terminal.plain(findings(), summarise(findings().results))
    for row in summarise(findings().results).rows:
        if row.eps is not None:
            assert f"{100 * row.accuracy:.1f} ± " in text
    lines = text.split("accuracy  percent")[0].splitlines()[1:]
    assert max(map(len, lines)) <= 100
    assert len({line.rindex("±") for line in lines if "±" in line and "clean" not in line and not line.endswith("†")}) == 1
    assert text.rstrip().endswith(headline(summarise(findings().results))[0].rsplit(". ", 1)[1])


def test_rich_table_fits_a_hundred_columns_and_takes_labels_literally():
    found = replace(findings(galleries=False), title="[red]title")
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(terminal.table(found, summarise(found.results)))
    text = console.export_text()
    assert all(part in text for part in ("[red]title", "adversarial_training", "84."))
    assert "…" not in text


def test_render_is_plain_where_stdout_is_no_terminal(capsys):
    summary = summarise(findings().results)
    assert terminal.render(findings(), summary) == terminal.plain(findings(), summary)
