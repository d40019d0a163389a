"""Print, stick, photograph, read back: with a small classifier, as a person types it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from advrun.cli import main
from advrun.metrics.confidence import true_class_probability
from advrun.physical.corners import MARKERS, found, homography, mapped
from advrun.physical.photos import SQUARE
from advrun.physical.sheet import INCH, PAPERS, fine, sheet
from advrun.survey import NOTHING, WHITE, Survey

from ._world import cut_out, printed, stuck_on, tilted

CONFIG = """
name: loop
data: {{name: arrays, path: {folder}/toy.npz}}
models: [{{name: file, path: {folder}/victim.keras, label: victim}}]
attacks:
  - name: sticker
    source_class: 0
    target: 3
    mask: bars
    steps: 25
    step_size: 0.1
    outline: square
    cover: 0.55
    distance: 1.5
    angle: 20
    light: 0.1
  - {{name: patch, source_class: 1, steps: 2, examples: 5}}
results: {folder}/results
"""
DPI = 100


def advrun(*arguments: object):
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def loop(tmp_path_factory, toy_data, victim) -> Path:
    """A folder with a configuration that was worked through."""
    folder = tmp_path_factory.mktemp("loop")
    arrays = {name: getattr(toy_data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(folder / "toy.npz", class_names=np.array(toy_data.class_names), **arrays)
    victim.model.save(folder / "victim.keras")
    (folder / "loop.yaml").write_text(CONFIG.format(folder=folder))
    run = advrun("run", folder / "loop.yaml")
    assert run.exit_code == 0, run.output
    return folder


@pytest.fixture(scope="module")
def survey(loop) -> Survey:
    (path,) = (loop / "results/loop/surveys").glob("*.npz")
    return Survey.read(path)


@pytest.fixture(scope="module")
def photographed(loop, survey, toy_data) -> tuple[Path, list[np.ndarray]]:
    """A folder of photographs: signs of class 0, from two distances and angles, with the sticker cut out of its printed page."""
    folder = loop / "photographs"
    folder.mkdir()
    made = sheet(survey, 0, 20.0, "a4")
    sign = cut_out(made, printed(made, DPI), DPI)
    truths = []
    rows = np.flatnonzero(toy_data.y_test == 0)[:4]
    for row, (name, by) in zip(rows, (("5m_0deg", 0.0), ("5m_20deg", 0.04), ("10m_0deg", 0.0), ("10m_20deg", 0.04)), strict=True):
        size = 220 if name.startswith("5") else 120
        street = np.full((size + 60, size + 80, 3), 70, np.uint8)
        street[::7] = 110
        street[30 : 30 + size, 40 : 40 + size] = np.asarray(
            Image.fromarray(toy_data.x_test[row]).resize((size, size), Image.Resampling.NEAREST)
        )
        corners = tilted(40, 30, 40 + size, 30 + size, by)
        light = float(np.sort(toy_data.x_test[row].max(-1).ravel())[int(0.95 * 63)]) / 255
        Image.fromarray(stuck_on(street, corners, sign, survey.cuts[0], light)).save(folder / f"sign_{name}.png")
        truths.append(corners)
    return folder, truths


def test_a_row_is_about_the_class_alone(loop, victim, toy_data):
    rows = {row["attack"]: row for row in json.loads((loop / "results/loop/tables/accuracy.json").read_text())}
    assert (rows["clean"]["n"], rows["sticker"]["n"], rows["patch"]["n"]) == (80, 20, 5)
    assert rows["sticker"]["settings"]["source_class"] == 0
    assert "class 0 alone" in rows["sticker"]["budget"]
    assert rows["sticker"]["success"] > 0.8
    of_class = toy_data.y_test == 0
    before = true_class_probability(victim.predict(toy_data.x_test[of_class]), toy_data.y_test[of_class])
    assert rows["sticker"]["confidence_before"] == pytest.approx(before.mean(), abs=1e-5)


def test_the_report_shows_the_sticker(loop, survey):
    tables = loop / "results/loop/tables/stickers.csv"
    lines = [line.split(",") for line in tables.read_text().splitlines()]
    assert len(lines) == 1 + 3 * (2 + 25)
    shown = dict(zip(lines[0], lines[1], strict=True))
    assert float(shown["success"]) == pytest.approx(survey.success(survey.plain[0])[0], abs=1e-5)
    assert (loop / "results/loop/figures/sticker-victim-none-sticker.png").is_file()
    assert "Stickers, by distance and angle" in (loop / "results/loop/report.html").read_text()


def test_a_second_run_has_nothing_to_do(loop):
    assert "every cell is finished" in advrun("run", loop / "loop.yaml").output


@pytest.mark.parametrize(("paper", "sign_cm"), [("a4", 20.0), ("letter", 60.0)])
def test_the_page_is_to_scale(survey, paper, sign_cm):
    """The white discs are as wide in mm as the sign's size says, the ruler is 100 mm, and nothing leaves the page."""
    made = sheet(survey, 0, sign_cm, paper)
    width, height = PAPERS[paper]
    dots = {name: np.count_nonzero(survey.cuts[0] == WHITE, axis=axis) for name, axis in (("down", 0), ("right", 1))}
    assert max(dots["down"]) > 0
    disc = next(piece for piece in made.pieces if (made.kinds[piece.top : piece.bottom, piece.left : piece.right] == WHITE).any())
    assert made.mm * len(made.kinds) * made.fill == pytest.approx(10 * sign_cm)
    for piece in made.pieces:
        assert 9.99 <= piece.x <= piece.x + made.mm * (piece.right - piece.left) <= width - 9.99
        assert 9.99 <= piece.y <= piece.y + made.mm * (piece.bottom - piece.top) <= height - 9.99
    page = printed(made, 127)[0]  # five pixels a mm
    assert np.abs(np.array(page.shape[:2]) / 5 - (height, width)).max() < 0.2
    ruler = page[round(5 * (height - 12)), : 5 * 112].mean(-1) < 128
    assert np.ptp(np.flatnonzero(ruler)) / 5 == pytest.approx(100, abs=0.5)
    line = page[round(5 * (disc.y + made.mm * (disc.bottom - disc.top) / 2))]
    dark = np.flatnonzero(line[round(5 * disc.x) : round(5 * (disc.x + made.mm * (disc.right - disc.left)))].max(-1) < 40)
    if disc.bottom - disc.top < 80:  # a marker that nothing touches
        assert np.ptp(dark) / 5 == pytest.approx(2 * 0.06 * sign_cm * 10 / 2, abs=2 * made.mm)


def test_the_pieces_are_the_whole_sticker(survey):
    made = sheet(survey, 0, 75.0, "a4")
    seen = np.zeros_like(made.kinds, bool)
    for piece in made.pieces:
        part = np.s_[piece.top : piece.bottom, piece.left : piece.right]
        seen[part] |= made.kinds[part] != NOTHING
    assert (seen == (made.kinds != NOTHING)).mean() > 0.9999
    assert made.pages > 1


def test_print_writes_a_pdf_of_that_paper(loop, tmp_path):
    out = tmp_path / "sticker.pdf"
    for paper, (width, height) in PAPERS.items():
        done = advrun("print", loop / "loop.yaml", "--sign-cm", "30", "--paper", paper, "--out", out)
        assert done.exit_code == 0, done.output
        boxes = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", out.read_bytes())
        assert len(boxes) >= 2
        for box in boxes:
            assert [float(side) / 72 * INCH for side in box] == pytest.approx([width, height], abs=0.01)
    first = out.read_bytes()
    advrun("print", loop / "loop.yaml", "--sign-cm", "30", "--paper", "letter", "--out", out)
    assert out.read_bytes() == first


def test_the_printed_colours_are_the_learnt_ones(survey):
    """What was cut out of the page, made as small as the classifier's images, is the sticker's ink."""
    made = sheet(survey, 0, 20.0, "a4")
    sign = cut_out(made, printed(made, 200), 200)
    hidden = (survey.cuts[0] != NOTHING)[..., None]
    small = np.stack([np.asarray(Image.fromarray((sign * hidden)[..., c]).resize((8, 8), Image.Resampling.BOX)) for c in range(3)], -1)
    ink = survey.stickers[0, ..., :-1]
    assert np.abs(small / 255 - ink).mean() < 0.02


def test_markers_are_found_where_they_are(photographed, survey):
    folder, truths = photographed
    for path, truth in zip((folder / f"sign_{name}.png" for name in ("5m_0deg", "5m_20deg", "10m_0deg", "10m_20deg")), truths, strict=True):
        plane = found(np.asarray(Image.open(path)), fine(survey, 0), survey.cuts[0] != NOTHING, survey.fill)
        assert plane is not None
        assert np.abs(mapped(plane, SQUARE / survey.fill) - truth).max() < 0.02 * np.ptp(truth[:, 0])


def test_no_sticker_is_found_where_there_is_none(toy_data, survey):
    bare = np.asarray(Image.fromarray(toy_data.x_test[0]).resize((200, 200), Image.Resampling.NEAREST))
    for picture in (bare, np.full((50, 50, 3), 128, np.uint8), np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)):
        assert found(picture, fine(survey, 0), survey.cuts[0] != NOTHING, survey.fill) is None


def test_a_homography_takes_places_to_points():
    points = np.array([(10.0, 12), (50, 9), (55, 60), (8, 48)])
    np.testing.assert_allclose(mapped(homography(np.array(MARKERS), points), np.array(MARKERS)), points, atol=1e-6)


def test_photos_reads_them_back(photographed, loop, tmp_path):
    folder, _ = photographed
    done = advrun("photos", folder, loop / "loop.yaml", "--json", "--sheet", tmp_path / "seen.png")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert {(each["distance"], each["angle"]) for each in said["photos"]} == {(5, 0), (5, 20), (10, 0), (10, 20)}
    assert all(each["predicted"] == 3 and each["by"] == "markers" for each in said["photos"])
    assert said["shares"][-1]["reached"] == said["shares"][-1]["n"] == 4
    assert [line["distance"] for line in said["shares"]] == [5, 5, 10, 10, None]
    assert Image.open(tmp_path / "seen.png").size == (512, 128)
    words = advrun("photos", folder, loop / "loop.yaml").output
    assert "a -> d" in words
    assert "10 m, 20°" in words
    assert "4 of 4: 100% (95 %: 40% to 100%)" in words


def test_a_turned_photograph_is_turned_back_and_a_box_will_do(photographed, loop, tmp_path):
    source, truths = photographed
    upright = Image.open(source / "sign_5m_0deg.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a quarter
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright.save(tmp_path / "boxed.png")
    corners = truths[0].ravel()
    (tmp_path / "photos.csv").write_text(
        "file,distance,angle,left,top,right,bottom\nboxed.png,7.5,,{},{},{},{}\n".format(*corners[[0, 1, 4, 5]])
    )
    said = json.loads(advrun("photos", tmp_path, loop / "loop.yaml", "--json").stdout)
    assert [(each["file"], each["by"], each["distance"], each["predicted"]) for each in said["photos"]] == [
        ("boxed.png", "table", 7.5, 3),
        ("turned.jpg", "markers", None, 3),
    ]


def test_a_file_that_is_no_photograph_is_told_and_the_others_count(photographed, loop, tmp_path):
    source, _ = photographed
    good = (source / "sign_5m_0deg.png").read_bytes()
    for name, content in {"a.jpg": b"", "b.png": good[:300], "c.png": b"<svg>", "good_5m.png": good}.items():
        (tmp_path / name).write_bytes(content)
    Image.new("RGB", (4, 4)).save(tmp_path / "d\n.png")
    done = advrun("photos", tmp_path, loop / "loop.yaml")
    assert done.exit_code == 0, done.output
    assert done.output.count("no photograph that can be read") == 3
    assert "1 of 1: 100%" in done.output
    assert "4 x 4 pixels" in done.output
    (tmp_path / "good_5m.png").unlink()
    done = advrun("photos", tmp_path, loop / "loop.yaml")
    assert done.exit_code == 4
    assert "in none of the 4 photographs" in done.output


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("name,distance\n", "column 'name'"),
        ("file,distance\nsign.png,far\n", "photos.csv:2: distance is 'far'"),
        ("file,distance\nsign.png,-1\n", "of metres above 0"),
        ("file,left,top\nsign.png,1,2\n", "left, top alone"),
        ("file,left,top,right,bottom\nsign.png,9,9,1,1\nsign.png,,,,\n", "each once"),
        ("file,left,top,right,bottom\nsign.png,9,1,1,9\n", "clockwise|top left"),
        ("file,distance\nother.png,1\n", "other.png is no photograph"),
        ("file\nsign.png,1\n", "more fields than columns"),
        ("", "columns none"),
    ],
)
def test_a_wrong_table_is_one_line(loop, tmp_path, table, said):
    Image.new("RGB", (20, 20)).save(tmp_path / "sign.png")
    (tmp_path / "photos.csv").write_text(table)
    done = advrun("photos", tmp_path, loop / "loop.yaml")
    assert done.exit_code == 4
    assert re.search(said, done.output), done.output
    assert len(done.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("print", "--target", "2"), 3, "has stickers for 3"),
        (("print", "--attack", "pgd"), 3, "no such attack with stickers in loop; known: sticker"),
        (("print", "--set", "attacks.0.steps=26"), 1, "is missing or damaged; run again"),
        (("print", "--set", "attacks.0.source_class=3"), 3, "attacks[0].source_class: got 3, and target is the same"),
        (("print", "--set", "attacks.0.source_class=9"), 3, "no test image"),
    ],
)
def test_what_is_not_there_is_one_line(loop, arguments, code, said):
    command, *rest = arguments
    done = advrun(command, loop / "loop.yaml", *rest)
    assert done.exit_code == code, done.output
    assert said in done.output
    assert len(done.output.strip().splitlines()) == 1
