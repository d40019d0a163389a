"""What reaches the reader: in every encoding, at every width, and with the expected end."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import time
import warnings
from datetime import datetime

import numpy as np
import pytest

from advrun.console import Bar, Console, Course, Part, Relay, Speeds, speak, spelt, write, write_json
from advrun.console.course import clock_time, duration
from advrun.console.screen import Screen, cut, one_line, shortened
from advrun.console.spelling import GLYPHS, accept_everything


def stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "nonsense"])
def test_our_signs_are_ascii_where_unicode_is_unknown(encoding):
    known = stream("ascii" if encoding == "nonsense" else encoding)
    shown = spelt("L∞ ε 45.2 ± 4.4 † ‡ § ¶ — │─┼ 2 × 3", known)
    assert shown == "Linf eps 45.2 +- 4.4 [1] [2] [3] [4] - |-+ 2 x 3"
    assert spelt("é", known) == ("é" if encoding in ("latin-1", "cp1252", "cp437") else "\\xe9")
    assert spelt("中", known) == "\\u4e2d"


def test_marks_stay_distinct_in_ascii():
    assert len({GLYPHS[mark] for mark in "†‡§¶"}) == 4


def test_unicode_stays_and_what_no_terminal_should_get_is_escaped():
    known = stream("utf-8")
    assert spelt("L∞ ± 中\té\n", known) == "L∞ ± 中\té\n"
    assert spelt("a\x1b[31mb\rc\u202ed\udce9", known) == "a\\x1b[31mb\\rc\\u202ed\\udce9"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_others_write_gets_through_too(encoding, monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream(encoding))
    accept_everything()
    print("L∞ \udce9 中")
    sys.stdout.flush()
    said = sys.stdout.buffer.getvalue().decode(encoding)
    assert said == ("L∞ \\udce9 中\n" if encoding == "utf-8" else "Linf \\udce9 \\u4e2d\n")


def test_json_is_strict_and_ascii(capsys):
    write_json(
        {"a": float("nan"), "b": [np.float32("inf"), np.int64(3), np.float64(0.5), {"c": -np.inf}], "d": "∞", "e": np.array([1.0, np.nan])}
    )
    line = capsys.readouterr().out

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(line, parse_constant=refuse) == {"a": None, "b": [None, 3, 0.5, {"c": None}], "d": "∞", "e": [1.0, None]}
    assert line.isascii()


# The run's share and expected end ---------------------------------------------------------------------------------------


class Clock:
    """Time that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_parts_at_one_speed_are_known_to_the_second():
    clock = Clock()
    course = Course([Part(100.0), Part(300.0), Part(600.0)], clock)
    assert course.remaining() is None
    assert course.ends() is None
    assert course.share() == 0
    with course.part(0):
        clock.now += 10
    assert course.remaining() == pytest.approx(90)
    assert course.share() == pytest.approx(0.1)
    with course.part(1):
        course.within(0.0)
        clock.now += 15
        course.within(0.5)
        assert course.remaining() == pytest.approx(75)
        assert course.share() == pytest.approx(0.25)
        clock.now += 6  # since it was last heard of
        assert course.remaining() == pytest.approx(69)
        clock.now += 9
    assert course.remaining() == pytest.approx(60)
    assert (course.ends() - datetime.now()).total_seconds() == pytest.approx(60, abs=1)


def test_speeds_are_those_of_the_nearest_group():
    clock = Clock()
    course = Course([Part(10, ("a",)), Part(10, ("b",)), Part(10, ("a", "b")), Part(20, ("b",)), Part(10, ("c",))], clock)
    with course.part(0):
        clock.now += 1
    with course.part(1):
        clock.now += 5
    with course.part(2):
        assert course.remaining() == pytest.approx(1 + 10 + 3)  # like a, like b, like all
        with_nothing_heard = course.remaining()
        clock.now += 100
        assert course.remaining() == pytest.approx(with_nothing_heard - 1)


def test_what_was_measured_with_one_network_is_expected_of_a_slower_one():
    """A fast network was trained and attacked twice, a slow one trained alone: its attacks take as much longer as its training took."""
    clock = Clock()
    plan = [("train", "fast", 10, 1), ("train", "slow", 10, 30), ("pgd", "fast", 100, 20), ("cw", "fast", 50, 5), ("measure", "fast", 1, 1)]
    left = [Part(100, ("pgd",), model="slow"), Part(20, ("cw slow none", "cw"), model="slow"), Part(1, ("new",), model="slow")]
    course = Course([*(Part(work, (group,), model=model) for group, model, work, _ in plan), *left], clock)
    for number, (_, _, _, seconds) in enumerate(plan):
        with course.part(number):
            clock.now += seconds
    assert course.remaining() == pytest.approx(30 * (20 + 2) + 3)  # of what is new it is known how long the network takes on the whole
    with course.part(len(plan)):
        clock.now += 200
    assert course.remaining() == pytest.approx(11 * 2 + 230 / 110, rel=0.05)  # between 10 and 30, by what took longer


def test_slowness_explains_all_that_was_measured():
    """Of three networks and four groups, none of which was measured with all: the two numbers of each are found again."""
    speed, slow = {"a": 0.1, "b": 1.0, "c": 3.0, "d": 0.02}, {"x": 1.0, "y": 5.0, "z": 40.0}
    known = Speeds()
    missing = {("a", "z"), ("b", "y"), ("c", "x"), ("d", "z")}
    for group in speed:
        for model in slow:
            if (group, model) not in missing:
                known.add(Part(7, (f"{group} {model}", group), model=model), 7 * speed[group] * slow[model], 7)
    for group, model in missing:
        assert known.of(Part(1, (f"{group} {model}", group), model=model)) == pytest.approx(speed[group] * slow[model], rel=0.1)
    assert known.of(Part(1, ("a",), model="never met")) == pytest.approx(0.1 * (1 + 5) / 2)
    before = known.of(Part(1, ("a",), model="z"))
    known.add(Part(7, ("c",), model="z"), 7 * 3.0 * 400, 7)  # slower than before
    assert known.of(Part(1, ("a",), model="z")) > 1.5 * before


def test_a_part_that_fails_does_not_count():
    clock = Clock()
    course = Course([Part(10), Part(10)], clock)
    with contextlib.suppress(ValueError), course.part(0):
        clock.now += 50
        raise ValueError
    assert course.remaining() is None


def test_the_first_part_is_timed_without_what_came_before_it():
    clock = Clock()
    course = Course([Part(10), Part(10)], clock)
    with course.part(0):
        clock.now += 30  # an import
        course.within(0.0)
        clock.now += 5
        course.within(1.0)
    assert course.remaining() == pytest.approx(5)


def test_the_share_never_falls_and_is_not_whole_before_the_end():
    clock = Clock()
    course = Course([Part(10), Part(1e-9), Part(100)], clock)
    shares = []
    for number, seconds in enumerate((1, 500, 10)):
        with course.part(number):
            clock.now += seconds
            shares.append(course.share())
        shares.append(course.share())
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(0.99)


def test_a_resumed_run_goes_on_at_the_speeds_that_its_log_knows():
    """Few small parts are left, the first of which loads a system: nothing is expected of the large one that small ones suggest."""
    clock = Clock()
    known = Speeds()
    known.add(Part(2900, ("attack",)), 280.0, 2900.0)
    known.add(Part(100, ("measure",)), 4.0, 100.0)
    course = Course([Part(10, ("measure",)), Part(1000, ("attack",))], clock, known=known)
    assert course.remaining() == pytest.approx(0.4 + 1000 * 280 / 2900)
    with course.part(0):
        clock.now += 8  # TensorFlow, and the system
    assert course.remaining() == pytest.approx(1000 * 280 / 2900)


@pytest.mark.parametrize("whole_before", [0.0, 0.06])
def test_what_an_earlier_run_has_left_is_neither_to_be_done_nor_done_fast(whole_before):
    """An attack of 1,000 images at 2 a second, 900 of which are among the checkpoints; some are wrong without it, and are said first."""
    clock = Clock()
    known = Speeds()
    known.add(Part(1000), 500.0, 1000.0)
    course = Course([Part(1000, ("attack",), kept=0.9), Part(1000, ("attack",))], clock, known=known)
    assert course.remaining() == pytest.approx(50 + 500)
    course.enter(0)
    clock.now += 10
    console = Console(quiet=True)
    console.course = course
    with console.bar("attack", 1000) as bar:
        bar.advance(round(1000 * whole_before))
        for _ in range(9):
            bar.advance(round(100 * (1 - whole_before)))  # read
            clock.now += 0.01
        assert course.remaining() == pytest.approx(500 + 500 * (1 - bar.done / 1000), abs=1)
        for _ in range(4):
            console.made()
            clock.now += (1000 - bar.done) / 8
            bar.advance(round((1000 - bar.done) / 4))
            assert course.remaining() == pytest.approx(500 + (1000 - bar.done) / 2, rel=0.02)
        clock.now += (1000 - bar.done) / 2
        left = 1000 - bar.kept
        bar.advance(1000 - bar.done)
    timed, work = course.leave(0)
    assert (timed, work) == (pytest.approx(left / 2, rel=0.02), pytest.approx(left))
    assert course.remaining() == pytest.approx(500, rel=0.02)


def test_a_training_goes_on_at_the_speed_of_its_own_epochs():
    """19 of 20 epochs were there; the twentieth takes 6 seconds, and so 20 of another network take two minutes."""
    clock = Clock()
    course = Course([Part(20, ("train",), kept=0.95), Part(20, ("train",))], clock)
    driver, said = Console(quiet=True), []
    driver.course = course
    course.enter(0)
    shown = driver.show("train", 20, part=0)
    shown.made = True

    def hear(message: dict) -> None:
        said.append(message)
        shown.kept, shown.done = message["kept"], message["done"]
        shown.advance(0)

    relay = Relay(hear)
    with relay.bar("train", 20) as bar:  # in another process, which does not say every step
        bar.advance(19)
        for _ in range(3):
            clock.now += 2
            bar.said = 0.0
            bar.advance(0, "epoch 20")
        relay.made()
        bar.said = 0.0
        bar.advance(1)
    assert course.leave(0) == (pytest.approx(6), pytest.approx(1))
    assert [message["kept"] for message in said] == [0, 19, 19, 19, 19]
    assert course.remaining() == pytest.approx(120)


def test_times_of_the_day():
    now = datetime(2026, 11, 27, 22, 0)
    assert clock_time(datetime(2026, 11, 27, 22, 47), now) == "22:47"
    assert clock_time(datetime(2026, 11, 28, 3, 5), now) == "Sat 03:05"
    assert clock_time(datetime(2026, 12, 24, 3, 5), now) == "24 Dec 03:05"
    assert duration(200) == "3:20"
    assert duration(3800) == "1:03:20"


# Widths ----------------------------------------------------------------------------------------------------------------

LONG = "attack lnet adversarial_training_with_a_label_of_many_words seed 0 pgd linf 8 over 255"


def running() -> Course:
    clock = Clock()
    course = Course([Part(41), Part(59)], clock)
    with course.part(0):
        clock.now += 41
    course.enter(1)
    return course


def test_a_line_of_a_log_says_share_end_and_work():
    line = one_line(Bar("attack lnet hybrid pgd linf 8/255", 1000, 320), running())
    share, end, rest = line.split("  ", 2)
    assert share == "41 %"
    assert end.startswith("ends ")
    datetime.strptime(end, "ends %H:%M")
    assert rest == "attack lnet hybrid pgd linf 8/255 [320/1000]"


@pytest.mark.parametrize("width", [20, 40, 60, 80])
@pytest.mark.parametrize("dots", ["…", "..."])
def test_lines_fit(width, dots):
    line = one_line(Bar(LONG, 1000, 320, note="epoch 3, step 200 of 312, loss 0.123, accuracy 0.456, and so on"), running(), width, dots)
    assert len(line) <= width
    assert len(shortened(LONG, width, dots)) == width
    assert len(cut(LONG, width, dots)) <= width
    if width == 80:
        assert line.startswith("41 %  ends ")
        assert "attack lnet " in line
        assert "255 [320/1000]" in line


def test_a_line_of_a_part_without_a_bar_names_the_cell():
    assert one_line(None, Course([Part(1), Part(1)])) == "0 %  cell 1 of 2"
    assert one_line(Bar("fetch gtsrb", 10, 3), None) == "fetch gtsrb [3/10]"
    assert one_line(None, None) == ""


@pytest.mark.parametrize("width", [80, 100, 50])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_screen_fits(width, encoding):
    from rich.console import Console as Terminal

    file = stream(encoding)
    bars = [Bar(LONG, 1000, 320, note="epoch 3, step 200 of 312, loss 0.123, accuracy 0.456")]
    Terminal(file=file, width=width, force_terminal=True, color_system=None, legacy_windows=False).print(Screen(bars, running(), "..."))
    file.flush()
    lines = file.buffer.getvalue().decode(encoding).splitlines()
    assert len(lines) == 3
    assert all(len(line.rstrip()) <= width for line in lines)
    assert lines[0].startswith(" 41 % ")
    assert lines[1].startswith(" 32 % ")
    if width >= 80:
        assert "cell 2 of 2, 0:41 so far, ends " in lines[0]
        assert "255 [320/1000]" in lines[1]


def test_a_log_is_told_now_and_then_even_within_one_step(capsys, monkeypatch):
    monkeypatch.setattr(speak, "PLAIN_SECONDS", 0.05)
    console, course = Console(), Course([Part(1), Part(1)])
    with console.live(course), course.part(0), console.bar("attack a b", 4) as bar:
        bar.advance(1)
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert set(lines) == {"0 %  attack a b [1/4]"}


def test_programs_are_told_the_share_and_the_end(capsys, monkeypatch):
    monkeypatch.setattr(speak, "PLAIN_SECONDS", 0.05)
    console, course = Console(as_json=True), Course([Part(1), Part(1)])
    with console.live(course):
        with course.part(0):
            time.sleep(0.01)
        with course.part(1), console.bar("attack a b", 4):
            time.sleep(0.2)
    event = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (event["event"], event["label"], event["done"], event["total"]) == ("progress", "attack a b", 0, 4)
    assert 0 < event["share"] <= 0.99
    datetime.fromisoformat(event["ends"])


# Warnings --------------------------------------------------------------------------------------------------------------


def warn_of_everything() -> None:
    logging.getLogger("advrun").warning("no image shows class %s", 3)
    logging.getLogger("advrun").info("fitting asked for 3 queries")
    logging.getLogger("absl").warning("You are saving your model as an HDF5 file")
    logging.getLogger("matplotlib.font_manager").warning("findfont: no such font")
    warnings.warn("its outputs are squashed", stacklevel=1)
    warnings.warn("its outputs are squashed", stacklevel=1)
    warnings.warn("old", DeprecationWarning, stacklevel=1)
    warnings.warn_explicit("its labels are guessed", UserWarning, "/home/me/keras/my_model.py", 1)
    warnings.warn_explicit("glyph 20013 missing", UserWarning, "/lib/python3.11/site-packages/matplotlib/text.py", 1)


OURS = ["no image shows class 3", "its outputs are squashed", "its labels are guessed"]


def heard(console: Console) -> list[tuple[str, str]]:
    """What a log is told while everything warns."""
    told: list[tuple[str, str]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with console.listening(lambda kind, text, source: told.append((kind, text))):
            warn_of_everything()
    return told


def test_warnings_of_ours_are_said_once_and_the_noise_of_libraries_is_logged(capsys):
    told = heard(Console())
    assert capsys.readouterr().err.splitlines() == [f"warning: {text}" for text in OURS]
    assert {kind for kind, _ in told} == {"warning"}
    texts = [text for _, text in told]
    assert {*OURS, "You are saving your model as an HDF5 file", "findfont: no such font", "old", "glyph 20013 missing"} == set(texts)


def test_quiet_is_quiet_and_verbose_is_not(capsys):
    assert heard(Console(quiet=True))
    assert capsys.readouterr() == ("", "")
    heard(Console(verbose=True))
    said = capsys.readouterr().err
    assert "findfont" in said
    assert "fitting asked for 3 queries" in said


def test_warnings_are_events_for_programs(capsys):
    heard(Console(as_json=True))
    shown = capsys.readouterr()
    assert [json.loads(line) for line in shown.out.splitlines()] == [{"event": "warning", "text": text} for text in OURS]
    assert shown.err == ""


def test_listening_leaves_everything_as_it_was(capsys):
    before = logging.getLogger().handlers[:], warnings.showwarning, logging.getLogger("advrun").level
    heard(Console())
    assert (logging.getLogger().handlers, warnings.showwarning, logging.getLogger("advrun").level) == before


def test_a_line_is_written_whole(capsys):
    write("a\nb")
    write("c", err=True)
    assert capsys.readouterr() == ("a\nb\n", "c\n")
