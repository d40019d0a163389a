"""A results folder of 10,000 rows: how long its report takes, and how much memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from advrun.config import loads
from advrun.files import content_key
from advrun.report import figures
from advrun.runs import index, runner
from advrun.runs import pictured as pictures
from advrun.runs.pictured import pictured
from advrun.runs.plan import make_plan
from advrun.runs.store import RECORD
from tests._large import fill, write_config

REPORT = "import resource, sys; from advrun.cli import main; main(['report', sys.argv[1], '-q'], standalone_mode=False)"
FIRST, ANEW = 20, 50
"""CPU seconds of the first report of ten thousand rows after their run, and of one without an index, beside the processes that draw."""
QUIET = 0.72
"""CPU seconds of `yardstick` on the machine of the bar, two cores at rest."""


def yardstick() -> float:
    """CPU seconds of work such as a report's, on this machine as busy as it is."""
    content = {f"name {number}": [number, str(number), number / 7, {"a": None}] for number in range(60)}
    begun = time.process_time()
    for _ in range(6000):
        text = json.dumps(content, sort_keys=True)
        json.loads(text)
        content_key(text)
        sorted(content, key=lambda name: (name[::-1], len(name)))
    return time.process_time() - begun


def reported(config: Path) -> tuple[float, int]:
    """CPU seconds of a report's own process, in units of the machine of the bar, and its memory in MiB."""
    script = f"{REPORT}; r = resource.getrusage(resource.RUSAGE_SELF); print(r.ru_utime + r.ru_stime, r.ru_maxrss)"
    before = yardstick()
    said = subprocess.run([sys.executable, "-c", script, str(config)], check=True, capture_output=True, text=True).stdout.split()
    return float(said[-2]) * 2 * QUIET / (before + yardstick()), int(said[-1]) >> 10


@pytest.mark.slow
def test_ten_thousand_rows_are_reported_in_seconds(tmp_path):
    """The first report finds in the index what the run has entered; the second has none, reads all files, and says the same."""
    config = write_config(tmp_path)
    rows = fill(config)
    assert rows == 10_000
    root = tmp_path / "results/large"
    made = {}
    for name, limit in (("first", FIRST), ("anew", ANEW)):
        seconds, memory = reported(config)
        sys.stdout.write(f"{name}: {seconds:.1f} CPU seconds, {memory} MiB\n")
        files = (*root.glob("tables/*"), *root.glob("figures/*"), root / "report.html")
        made[name] = {path.name: path.read_bytes() for path in files}
        for file in (root / RECORD, root / index.FILE):
            file.unlink()
        assert seconds < limit
        assert memory < 800
    assert made["first"] == made["anew"]
    measured = [row for row in json.loads((root / "tables/accuracy.json").read_text()) if row["attack"] != "worst case"]
    assert len(measured) == rows
    assert len(list((root / "figures").glob("*.png"))) <= figures.SOME + 10


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
