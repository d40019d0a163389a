"""Figures, page, terminal, and the whole report on disk."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from advrun.errors import DataError
from advrun.report import Gallery, figures, page, terminal, write
from advrun.report.confusion import confusion, confusions, matrix, strongest
from advrun.report.curves import robustness, training
from advrun.report.headline import headline
from advrun.report.mosaic import magnification, mosaic
from advrun.report.style import look, picture
from advrun.report.summary import summarise
from tests.report._sample import CLASS_NAMES, EPS, findings, gallery, result
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
    assert [sum(name.startswith(kind) for name in drawn) for kind in ("robustness", "examples", "confusion", "training")] == [3, 12, 4, 4]


def test_write_takes_seconds_not_minutes_of_one_core(written):
    assert written[2] < 30  # 4 on an idle core, 10 on a busy one


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
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in elements}
    for tag, attributes in elements:
        for name in ("src", "href", "srcset", "data", "action"):
            value = attributes.get(name, "#")
            assert value.startswith(("#", "data:")), (tag, value[:80])
    assert not re.search(r"https?:|@import|url\(", text)
    targets = {attributes["id"] for _, attributes in elements if "id" in attributes}
    assert {attributes["href"][1:] for tag, attributes in elements if tag == "a"} <= targets


def test_page_shows_every_accuracy_and_all_figures(written):
    elements = Elements((written[0] / "report.html").read_text())
    for row in summarise(findings().results).rows:
        assert f"{100 * row.accuracy:.1f}" in elements.text
    images = [attributes for tag, attributes in elements.elements if tag == "img"]
    assert len(images) == len(list((written[0] / "figures").glob("*.png")))
    assert all(attributes["alt"] for attributes in images)
    assert "A gradient attack is blind there" in elements.text
    assert findings().config_yaml in elements.text


def test_page_headline_comes_before_everything_else(written):
    text = Elements((written[0] / "report.html").read_text()).text
    assert text.index("in the worst case within") < text.index("Worst case, L∞") < text.index("fgsm, L∞") < text.index("Configuration\n")


def test_hostile_labels_are_text_on_the_page():
    found = replace(hostile_findings(), config_yaml="</pre><script>", environment={"<b>": "</dl>&"})
    elements = Elements(page.html(found, summarise(found.results), []))
    assert not {"script", "b"} & {tag for tag, _ in elements.elements}
    for label in HOSTILE:
        assert label in elements.text
    assert "</pre><script>" in elements.text


# Figures ------------------------------------------------------------------------------------------------------------


def test_robustness_curves_are_the_accuracies():
    summary = summarise(findings().results)
    panel = next(panel for panel in summary.panels if panel.attack.name == "pgd")
    figure, _ = robustness(summary, panel, "lnet")
    drawn = {tuple(np.round(line.get_ydata(), 9)): line for line in figure.axes[0].lines}
    assert len(drawn) == 1 + 2 * 3
    for system in summary.systems:
        for threat in ["adaptive"] if system.undefended else ["static", "adaptive"]:
            cells = [summary.clean(system), *(summary.cell(system, panel.attack, eps, threat) for eps in EPS)]
            line = drawn[tuple(np.round([100 * cell.accuracy for cell in cells], 9))]
            assert list(line.get_xdata()) == [0.0, *EPS]
            assert (line.get_linestyle() == "-") == (threat == "adaptive")


def test_every_defence_has_its_own_colour():
    summary = summarise(findings().results)
    figure, _ = robustness(summary, summary.panels[0], "lnet")
    assert len({line.get_color() for line in figure.axes[0].lines}) == 4


def test_a_defence_has_the_same_colour_for_every_model():
    assert look(["none", "a", "b", "none", "a", "b"]) == look(["none", "a", "b"])


def test_perturbation_is_scaled_to_the_full_range_and_centred_at_grey():
    change = np.array([8 / 255, -4 / 255, 0], np.float32)
    factor = magnification(change)
    assert factor == 15
    assert 0 <= (0.5 + factor * change).min() <= (0.5 + factor * change).max() <= 1
    assert magnification(np.zeros(3)) == 1
    assert magnification(np.ones(3)) == 1


def test_mosaic_shows_the_pixels_of_the_images():
    shown = gallery("hybrid", "pgd", eps=EPS[2], norm="linf", purified=True)
    figure, caption = mosaic(shown, CLASS_NAMES)
    images = [image.get_array() for image in figure.axes[0].images]
    assert len(images) == 4 * 6
    np.testing.assert_allclose(images[0], shown.x[0], atol=1e-6)
    np.testing.assert_allclose(images[6], np.clip(0.5 + 15 * (shown.x_adv[0] - shown.x[0]), 0, 1), atol=1e-5)
    np.testing.assert_allclose(images[23], shown.defended[5], atol=1e-6)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "✓ 99 %" in texts
    assert any("✗ 91 %" in text and "80km/h" in text for text in texts)
    assert "× 15" in caption


def test_mosaic_of_grey_images_and_without_purifier():
    shown = gallery("none", "cw", eps=None, norm="l2", purified=False)
    figure, _ = mosaic(replace(shown, x=shown.x[..., :1], x_adv=shown.x_adv[..., :1]), CLASS_NAMES)
    assert [image.get_array().shape for image in figure.axes[0].images] == [(32, 32, 3)] * 18


def test_galleries_are_chosen_by_eps_then_threat():
    weak, static, adaptive = (
        gallery("hybrid", "pgd", eps=eps, norm="linf", purified=True, threat=threat)
        for eps, threat in ((EPS[0], "adaptive"), (EPS[2], "static"), (EPS[2], "adaptive"))
    )
    found = replace(findings(galleries=False), results=[], histories={}, galleries=[weak, static, adaptive])
    (only,) = figures.pictures(found, summarise([]))
    assert "8/255, adaptive" in only.caption


def test_every_target_has_its_gallery():
    shown = [gallery("none", "pgd", eps=EPS[0], norm="linf", purified=False, target=target) for target in ("", "2", "second")]
    found = replace(findings(galleries=False), results=[], histories={}, galleries=shown)
    drawn = figures.pictures(found, summarise([]))
    assert [picture.name for picture in drawn] == [f"examples-lnet-none-pgd-linf{aim}" for aim in ("", "-target-2", "-target-second")]
    assert "pgd (target second) (" in drawn[2].caption


def test_confusion_matrix_counts_and_names():
    labels, predictions = np.array([0, 0, 0, 1, 2, 2]), np.array([1, 1, 0, 1, 0, 1])
    counts = matrix(labels, predictions, 4)
    assert counts.tolist() == [[1, 2, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert confusions(counts, 2) == [(0, 1, 2), (2, 0, 1)]
    attacked = replace(result("none", "pgd", "adaptive", accuracy=0.5), labels=labels, predictions=predictions)
    figure, caption = confusion(attacked, ("a", "b", "c", "d"))
    shares = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shares.sum(axis=1)[:3], 1)
    assert np.ma.getmaskarray(shares)[3].all()
    assert "a taken for b (2 of 3)" in caption


def test_confusion_is_of_the_strongest_attack():
    attacks = [result("none", name, "adaptive", accuracy=share) for name, share in (("a", 0.5), ("b", 0.2), ("c", 0.2))]
    assert strongest(attacks).row.attack == "b"


def test_confusion_is_of_an_attack_that_was_run():
    """Not of the closest example over several, which leaves least of all."""
    attacks = [result("none", name, "adaptive", accuracy=0.5, norm="l2", metrics={"l2": 0.5}) for name in ("ddn", "fmn")]
    found = replace(small(), results=attacks, galleries=[], histories={})
    (drawn,) = figures.pictures(found, summarise(attacks))
    assert drawn.kind == "confusion"
    assert "ddn" in drawn.caption


def test_training_curves_are_the_history():
    history = {"loss": [2.0, 1.0], "val_loss": [2.5, 1.5], "val_adversarial_accuracy": [0.1, None], "learning_rate": [1.0, 1.0]}
    figure, _ = training("lnet", history)
    losses, accuracies = figure.axes
    assert [line.get_ydata().tolist() for line in losses.lines] == [[2.0, 1.0], [2.5, 1.5]]
    assert [line.get_label() for line in (*losses.lines, *accuracies.lines)] == ["training", "validation", "validation, adversarial"]
    np.testing.assert_array_equal(accuracies.lines[0].get_ydata(), [10.0, np.nan])


def test_figure_files_have_safe_and_different_names():
    taken: set[str] = set()
    names = [figures.file_name(name, taken) for name in ("a b", "a/b", "a b-2", "../../x", "$\\frac$", "_hidden", "a b")]
    assert names == ["a-b", "a-b-2", "a-b-2-2", "x", "frac", "_hidden", "a-b-3"]


def test_hostile_labels_can_be_drawn():
    results = [result(label, "$\\frac$", "adaptive", accuracy=0.5, eps=0.1, norm="linf") for label in ("$\\frac$", "_hidden")]
    summary = summarise(results)
    drawn = picture(lambda: robustness(summary, summary.panels[-1], "lnet"), "x", "robustness")
    labels = [text.get_text() for text in robustness(summary, summary.panels[-1], "lnet")[0].legends[0].get_texts()]
    assert drawn.png.startswith(b"\x89PNG")
    assert labels == ["$\\frac$", "_hidden", "adaptive"]


def test_pictures_fit_a_page_and_carry_no_dates(written):
    for path in (written[0] / "figures").iterdir():
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width <= 7 * 200
                assert image.info.keys() <= {"dpi"}
        else:
            assert b"CreationDate" not in path.read_bytes()


def test_drawing_leaves_matplotlib_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    picture(lambda: training("lnet", {"loss": [1.0]}), "x", "training")
    assert dict(matplotlib.rcParams) == before


# Galleries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("eps", "purified"), [(EPS[0], True), (None, False)])
def test_gallery_survives_the_disk(tmp_path, eps, purified):
    shown = gallery("hybrid", "pgd", eps=eps, norm="linf", purified=purified)
    shown.write(tmp_path / "gallery.npz")
    again = Gallery.read(tmp_path / "gallery.npz")
    assert (again.model, again.defense, again.eps, again.seed, again.norm) == ("lnet", "hybrid", eps, 0, "linf")
    assert (type(again.seed), type(again.attack)) == (int, str)
    for name, array in shown.to_arrays().items():
        np.testing.assert_array_equal(getattr(again, name), array)
    assert (again.defended is None) == (not purified)
    assert all(array.dtype != object for array in shown.to_arrays().values())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive"])
def test_damaged_galleries_are_refused(tmp_path, content):
    (tmp_path / "gallery.npz").write_bytes(content)
    with pytest.raises(DataError, match="delete it and run again"):
        Gallery.read(tmp_path / "gallery.npz")


def test_incomplete_galleries_are_refused(tmp_path):
    np.savez(tmp_path / "gallery.npz", x=np.zeros(3))
    with pytest.raises(DataError, match="model"):
        Gallery.read(tmp_path / "gallery.npz")


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
