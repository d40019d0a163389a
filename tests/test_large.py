"""A results folder of 10,000 rows: how long its report takes, and how much memory."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import pytest

from advrun.config import loads
from advrun.report import figures
from advrun.runs import pictured as pictures
from advrun.runs import runner
from advrun.runs.pictured import pictured
from advrun.runs.plan import make_plan
from tests._large import fill, write_config

REPORT = "import resource, sys; from advrun.cli import main; main(['report', sys.argv[1], '-q'], standalone_mode=False)"


@pytest.mark.slow
def test_ten_thousand_rows_are_reported_in_seconds(tmp_path):
    """CPU seconds, for the machine may be shared; the bar is 20 s on a core of its own."""
    config = write_config(tmp_path)
    rows = fill(config)
    assert rows == 10_000
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-c", REPORT, str(config)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    root = tmp_path / "results/large"
    measured = [row for row in json.loads((root / "tables/accuracy.json").read_text()) if row["attack"] != "worst case"]
    assert len(measured) == rows
    assert len(list((root / "figures").glob("*.png"))) <= figures.SOME + 10
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    sys.stdout.write(f"{seconds:.1f} CPU seconds, {time.monotonic() - clock:.1f} s, {after.ru_maxrss >> 10} MiB\n")
    assert seconds < 120
    assert after.ru_maxrss >> 10 < 1500


@pytest.mark.slow
def test_a_page_of_five_hundred_rows_is_small(tmp_path):
    config = write_config(tmp_path, models=1, attacks=11, seeds=1)
    assert fill(config) == 500
    subprocess.run([sys.executable, "-c", REPORT, str(config)], check=True)
    assert (tmp_path / "results/large/report.html").stat().st_size < 10e6


def test_of_too_many_figures_some_of_each_kind_are_drawn():
    plans = [("robustness", f"robustness-{model}-{name}", None) for model in "abcd" for name in ("worst case", *map(str, range(30)))]
    plans += [("training", f"training-{number}", None) for number in range(90)]
    chosen = figures._chosen(plans)
    assert figures._chosen(chosen) == chosen
    assert len(chosen) <= figures.SOME + 2
    assert {f"robustness-{model}-worst case" for model in "abcd"} <= {name for _, name, _ in chosen}
    assert {kind for kind, _, _ in chosen} == {"robustness", "training"}
    assert [plans.index(plan) for plan in chosen] == sorted(plans.index(plan) for plan in chosen)


def test_of_too_many_rows_the_images_of_whole_figures_are_read(tmp_path, caplog):
    """Few: all. More: one per system, attack and eps; the largest eps; then some attacks, each against all systems that it met."""
    config = write_config(tmp_path, models=2, attacks=3, seeds=2)
    experiment = loads(config.read_text(), name="large")
    cells = [cell for cell in make_plan(experiment, runner.load_data(experiment)).cells if cell.kind == "measure" and cell.attack]
    assert len(cells) == 2 * 2 * 9 * 5 * 3
    assert pictured(cells, (8, 8, 3)) == cells
    assert not caplog.records
    size = 8 * pictures.IMAGES * 8 * 8 * 3
    for most, expected in ((150, 2 * 5 * 5 * 3), (149, 2 * 5 * 3), (29, 15), (14, 10), (9, 5)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pictures, "MEMORY", most * size)
            shown = pictured(cells, (8, 8, 3))
        assert len(shown) == expected
        assert len({cell.threat for cell in shown}) == len({cell.seed for cell in shown}) == 1
        assert {(cell.model.label, cell.attack_label) for cell in shown} == {
            (cell.model.label, cell.attack_label) for cell in shown if cell.defense_label == "jpeg"
        }
        assert f"images of {expected} of {len(cells)} rows" in caplog.records[-1].getMessage()
