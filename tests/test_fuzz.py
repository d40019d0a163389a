"""Damaged files of every format that advrun reads give one line or success: no traceback, no crash, no memory beyond reason."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.fuzzing import FORMATS


def faults(name: str, count: int) -> list[str]:
    """What went wrong. A process that died is started again behind the file that ended it."""
    found, first = [], 0
    while first < count:
        command = [sys.executable, "-m", "tests.fuzzing", name, str(first), str(count - first)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = run.stdout.splitlines()
        found += [line for line in lines if line.startswith("{")]
        numbers = [int(line) for line in lines if not line.startswith("{")]
        if run.returncode == 0:
            assert numbers[-1] == count - 1
            break
        assert numbers, run.stderr
        assert numbers[-1] >= 0, run.stderr
        found.append(json.dumps({"number": numbers[-1], "error": f"the process ended with {run.returncode}"}))
        first = numbers[-1] + 1
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_damage_gives_one_line(name):
    assert faults(name, 25) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_a_thousand_damages_give_one_line(name):
    assert faults(name, 1000) == []
