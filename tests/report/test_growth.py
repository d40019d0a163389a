"""What an attack that trains leaves for the report: files, curves, and a picture of what its generator made."""

from __future__ import annotations

import json

import numpy as np
import pytest

from advrun.config import loads
from advrun.lesson import Learnt
from advrun.report.growth import growth
from advrun.runs.runner import curves, pictures, run
from advrun.runs.work.attack import taught

from ..conftest import adding


def lesson(epochs: int = 9, **told) -> Learnt:
    shown = np.arange(epochs, dtype=np.uint8).reshape(-1, 1, 1, 1, 1) * np.ones((1, 10, 8, 8, 1), np.uint8)
    asked = {"gradients": 5, "queries": 7}
    return Learnt(None, {"": {"loss": [1.0, 0.5]}, "copy": {"loss": [2.0]}}, {"": shown}, ("it diverged",), asked, 3.0, **told)


def test_curves_and_pictures_come_back_from_their_files(tmp_path):
    files, info = taught((lesson(), lesson()), "cell")
    assert info == {"fit_gradients": 10, "fit_queries": 14, "fit_seconds": 6.0, "fit_notes": ["it diverged"]}
    for name, write in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name)
    assert curves(tmp_path / "examples/cell.json")["2 copy loss"] == [2.0]
    shown = pictures(tmp_path / "examples/cell.pictures.npz")
    np.testing.assert_array_equal(shown["1"], lesson().pictures[""])
    assert taught((), "cell") == ({}, {})


def test_a_single_training_needs_no_name(tmp_path):
    files, _ = taught((lesson(),), "cell")
    (tmp_path / "examples").mkdir()
    for name, write in files.items():
        write(tmp_path / name)
    assert set(json.loads((tmp_path / "examples/cell.json").read_text())) == {"loss", "copy loss"}
    assert pictures(tmp_path / "examples/cell.pictures.npz").keys() == {""}


def test_what_is_no_picture_is_refused(tmp_path):
    np.savez(tmp_path / "odd.npz", training=np.zeros((2, 3, 4, 4, 1)))
    with pytest.raises(ValueError, match="no pictures"):
        pictures(tmp_path / "odd.npz")


def test_the_figure_shows_the_first_and_the_last_epoch():
    figure, caption = growth("cnn / advgan", lesson().pictures[""])
    (axes,) = figure.axes
    rows = [text.get_text() for text in axes.texts if text.get_text().startswith("epoch")]
    assert (rows[0], rows[-1], len(rows)) == ("epoch 1", "epoch 9", 6)
    assert len(axes.images) == 6 * 8
    assert np.asarray(axes.images[-1].get_array()).max() == 8  # what the last epoch made
    assert "some of the epochs" in caption
    assert "each epoch" in growth("cnn", lesson(2).pictures[""])[1]


LEARNER = '''
"""An attack that trains nothing, and says that it did (Nobody, 2026, arXiv:0000.00000)."""
import numpy as np

from advrun.geometry import Linf
from advrun.lesson import Lesson
from advrun.system import Blind
from advrun.types import Labels, Tensor


def learner(model: Blind, x: Tensor, y: Labels, ball: Linf, fitted: Tensor) -> Tensor:
    """Leave the images as they are."""
    return x


def fit(model: Blind, x: np.ndarray, y: np.ndarray, lesson: Lesson) -> np.ndarray:
    """Nothing."""
    lesson.histories[""] = {"loss": [2.0, 1.0]}
    lesson.pictures[""] = np.full((2, 8, *x.shape[1:]), 7, np.uint8)
    lesson.notes.append("it learnt nothing")
    return np.zeros(1, np.float32)
'''


def test_what_was_learnt_is_in_the_report(tmp_path, linear, toy_data):
    (tmp_path / "own/attacks").mkdir(parents=True)
    (tmp_path / "own/attacks/learner.py").write_text(LEARNER)
    linear.model.save(tmp_path / "m.keras")
    x = np.zeros((4, *linear.image_shape), np.uint8)
    np.savez(tmp_path / "x.npz", x_train=x, y_train=np.arange(4) % 3, x_test=x, y_test=linear.predict(x).argmax(-1))
    text = f"data: {{name: arrays, path: {tmp_path}/x.npz}}\nmodels: [{{name: file, path: {tmp_path}/m.keras}}]\n"
    with adding(tmp_path / "own"):
        found = run(loads(f"{text}attacks: [{{name: learner, eps: 8/255}}]\nresults: {tmp_path}/results\n", name="told"))
    ((label, shown),) = found.growth.items()
    assert shown.shape == (2, 8, *linear.image_shape)
    assert found.histories[label] == {"loss": [2.0, 1.0]}
    assert found.environment[f"note on {label}"] == "it learnt nothing"
    assert len(list((tmp_path / "results/told/figures").glob("growth-*.png"))) == 1
