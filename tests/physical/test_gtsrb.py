"""The bars on real stop signs: a sticker against the reference L-net, printed, stuck on raw frames, read back."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from advrun import Classifier
from advrun.attacks._ink import light
from advrun.attacks._shapes import Sign
from advrun.cli import main
from advrun.physical.photos import flat
from advrun.physical.sheet import sheet
from advrun.survey import NOISE, STICKER, Survey

from ._world import cut_out, printed, stuck_on, tilted

pytestmark = pytest.mark.slow
CONFIG = """
name: stop
data: {{name: gtsrb, root: {data}}}
models: [{{name: file, path: {model}, label: lnet}}]
attacks: [{{name: sticker, source_class: 14, target: 1, steps: 100}}]
results: {results}
"""


@pytest.fixture(scope="module")
def stop(tmp_path_factory, gtsrb_file, reference_folder) -> Path:
    """The configuration, worked through."""
    folder = tmp_path_factory.mktemp("stop")
    path = folder / "stop.yaml"
    path.write_text(CONFIG.format(data=gtsrb_file, model=reference_folder / "lnet.keras", results=folder / "results"))
    run = CliRunner().invoke(main, ["attack", str(path)])
    assert run.exit_code == 0, run.output
    return path


@pytest.fixture(scope="module")
def survey(stop) -> Survey:
    return Survey.read(next((stop.parent / "results/stop/surveys").glob("*.npz")))


def test_a_stop_sign_becomes_a_speed_limit_and_noise_does_nothing(survey):
    assert survey.cover[0] <= 0.2
    assert len(survey.aims) > 200
    for predictions in (survey.plain, survey.moved):
        assert survey.success(predictions[STICKER])[0] >= 0.8
        assert survey.success(predictions[NOISE])[0] <= 0.05


def frames(sample: Path) -> list[tuple[Path, tuple[int, ...]]]:
    """The raw frames of stop signs, and their regions of interest."""
    found = []
    for table in (sample / "Final_Training/Images/00014/GT-00014.csv", sample / "Final_Test/Images/GT-final_test.csv"):
        for row in csv.DictReader(table.read_text().splitlines(), delimiter=";"):
            if row["ClassId"] == "14":
                box = tuple(int(row[f"Roi.{side}"]) for side in ("X1", "Y1", "X2", "Y2"))
                found.append((table.parent / row["Filename"], box))
    return found


def test_the_printed_sticker_on_raw_frames_is_read_back_as_that_class(stop, survey, gtsrb_file, reference_folder, tmp_path):
    """Each frame at its own size, 48 to 172 pixels, the page under a perspective of ours, in the frame's own light."""
    sample = gtsrb_file.parent / "raw-sample/GTSRB"
    if not sample.is_dir():
        pytest.fail(f"no raw frames at {sample}")
    classifier = Classifier.from_file(reference_folder / "lnet.keras")
    made = sheet(survey, 0, 75.0, "a4")
    sign = cut_out(made, printed(made, 72), 72)
    named = frames(sample)
    assert len(named) == 6
    for number, (path, (left, top, right, bottom)) in enumerate(named):
        frame = np.asarray(Image.open(path).convert("RGB"))
        corners = tilted(left, top, right + 1, bottom + 1, 0.03)
        bare = flat(frame, corners, (32, 32))
        assert classifier.predict(bare[None]).argmax() == 14
        bright = float(np.asarray(light((bare[None] / 255).astype(np.float32), Sign("octagon", survey.fill).outline)).squeeze())
        worn = stuck_on(frame, corners, sign, survey.cuts[0], bright)
        Image.fromarray(worn).save(tmp_path / f"stop_{number + 5}m_10deg.png")
    done = CliRunner().invoke(main, ["photos", str(tmp_path), str(stop), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert [photo["by"] for photo in said["photos"]] == ["markers"] * 6, said["photos"]
    assert [photo["predicted"] for photo in said["photos"]] == [1] * 6
