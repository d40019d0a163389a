"""A budget that no restart forgets, counted before anything is sent, and answers that are never paid for twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from advrun import Oracle
from advrun.errors import ModelError, WriteError
from advrun.system.ledger import Ledger
from advrun.system.oracle import Limits, Unanswered

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), np.uint8)


def brightness(images: np.ndarray) -> np.ndarray:
    """Two classes, dark and bright, as probabilities."""
    bright = images.mean((1, 2, 3)) / 255
    return np.stack([1 - bright, bright], -1)


class Recorded:
    """A function that remembers what it was asked, and fails as told."""

    def __init__(self, *faults: Exception) -> None:
        self.faults, self.sizes = list(faults), []

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.sizes.append(len(images))
        if self.faults:
            raise self.faults.pop(0)
        return brightness(images)


def oracle(ask, **given) -> Oracle:
    return Oracle((8, 8, 3), 2, ask, **given)


def no_wait(seconds: float) -> None:
    pass


def test_each_image_is_asked_once(tmp_path):
    ask = Recorded()
    twice = np.concatenate([IMAGES, IMAGES[:4]])
    first = Ledger(oracle(ask, batch=4), tmp_path / "a.sqlite")
    answers = first.answers(twice)
    assert ask.sizes == [4, 4, 2]
    assert first.spent == 10
    assert np.allclose(answers, brightness(twice))
    again = Ledger(oracle(ask), tmp_path / "a.sqlite")  # another process, say
    assert again.answers(twice) == answers
    assert (again.spent, ask.sizes) == (10, [4, 4, 2])


def test_it_is_counted_on_disk_before_it_is_sent(tmp_path):
    seen = []

    def ask(images):
        base = sqlite3.connect(tmp_path / "a.sqlite")  # as another process would find it after a kill at this moment
        seen.append(base.execute("SELECT sum(images) FROM spent").fetchone()[0])
        return brightness(images)

    Ledger(oracle(ask, batch=4), tmp_path / "a.sqlite").answers(IMAGES)
    assert seen == [4, 8, 10]


def test_the_budget_is_hard_and_survives_restarts(tmp_path):
    ask = Recorded()
    limited = oracle(ask, batch=3, limits=Limits(budget=7))
    with pytest.raises(ModelError, match=r"the budget of 7 images is spent \(6 sent, 3 more needed\); raise limits.budget"):
        Ledger(limited, tmp_path / "a.sqlite").answers(IMAGES)
    for _ in range(3):
        with pytest.raises(ModelError, match="is spent"):
            Ledger(limited, tmp_path / "a.sqlite").answers(IMAGES)
    assert sum(ask.sizes) == 6
    raised = replace(limited, limits=Limits(budget=10))
    assert len(Ledger(raised, tmp_path / "a.sqlite").answers(IMAGES)) == 10
    assert sum(ask.sizes) == 10


def test_what_was_refused_is_not_counted_and_what_was_lost_is():
    waits = []
    refused = Ledger(oracle(Recorded(Unanswered("busy", wait=7, counted=False), Unanswered("busy", counted=False))), sleep=waits.append)
    refused.answers(IMAGES)
    assert (refused.spent, waits) == (10, [7, 2.0])
    lost = Ledger(oracle(Recorded(Unanswered("cut"), Unanswered("cut"))), sleep=no_wait)
    lost.answers(IMAGES)
    assert lost.spent == 30


def test_images_that_fail_are_asked_again_alone():
    ask = Recorded(Unanswered("2 failed", answers=dict(enumerate(brightness(IMAGES)[:8]))))
    ledger = Ledger(oracle(ask), sleep=no_wait)
    assert np.allclose(ledger.answers(IMAGES), brightness(IMAGES))
    assert ask.sizes == [10, 2]


def test_it_gives_up_with_one_line():
    ledger = Ledger(oracle(Recorded(*[Unanswered("HTTP 500\nand more")] * 9), limits=Limits(tries=3)), sleep=no_wait)
    with pytest.raises(ModelError, match=r"HTTP 500\\nand more; given up after 3 tries"):
        ledger.answers(IMAGES)
    patient = Ledger(oracle(Recorded(Unanswered("HTTP 429", wait=3600, counted=False))), sleep=no_wait)
    with pytest.raises(ModelError, match="asks to wait 3,600 seconds: run again then"):
        patient.answers(IMAGES)
    assert patient.spent == 0


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        (brightness(IMAGES)[:9], "9 answers came for 10 images"),
        (np.ones((10, 3)), "holds 3 scores; expected 2"),
        (np.full((10, 2), np.nan), "holds nan; expected a score"),
        ([["a", "b"]] * 10, "holds 'a'; expected a score"),
        ([5] * 10, "class 5; it has the classes 0 to 1"),
    ],
)
def test_answers_that_are_none_are_refused(answers, text):
    with pytest.raises(ModelError, match=text):
        Ledger(oracle(lambda _: answers)).answers(IMAGES)


def test_a_damaged_ledger_is_one_line(tmp_path):
    (tmp_path / "a.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(WriteError, match="cannot be used"):
        Ledger(oracle(brightness), tmp_path / "a.sqlite").answers(IMAGES)
    (tmp_path / "b.sqlite").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="is a link"):
        Ledger(oracle(brightness), tmp_path / "b.sqlite").answers(IMAGES)
    assert not (tmp_path / "elsewhere").exists()


KILLED = """
import sys
import numpy as np
from pathlib import Path
from advrun.models.http import http
from advrun.system.ledger import Ledger
from advrun.system.oracle import Limits
url, file = sys.argv[1:]
images = np.random.default_rng(1).integers(0, 256, (60, 8, 8, 3), np.uint8)
model = http(url=url + "/classify", image_at="input.image", scores_at="result.scores", classes=4, limits=Limits(budget=61))
Ledger(model, Path(file)).answers(images)
"""


def test_killed_in_the_middle_it_repeats_no_paid_query(service, tmp_path):
    service.pause = 0.02
    command = [sys.executable, "-c", KILLED, service.url, str(tmp_path / "a.sqlite")]
    with subprocess.Popen(command) as process:
        while sum(service.answered.values()) < 20:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    answered = sum(service.answered.values())
    assert answered < 60
    service.pause = 0.0
    assert subprocess.run(command, check=False).returncode == 0
    # The one that was under way is asked again: its answer never came.
    assert len(service.answered) == 60
    assert sum(service.answered.values()) <= 61


def test_answers_of_another_service_are_not_taken_for_its_own(tmp_path):
    one = Ledger(oracle(brightness), tmp_path / "a.sqlite", service="one")
    other = Ledger(oracle(lambda images: brightness(images)[:, ::-1]), tmp_path / "a.sqlite", service="other")
    assert np.allclose(np.array(one.answers(IMAGES))[:, ::-1], other.answers(IMAGES))
    assert one.spent == other.spent == 20  # of one budget
