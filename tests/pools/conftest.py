"""Data for small runs, and what one process makes of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from ._runs import LARGER, SMALL, command, config, here


@pytest.fixture(scope="session")
def data(tmp_path_factory, toy_data) -> Path:
    file = tmp_path_factory.mktemp("pools") / "toy.npz"
    arrays = {name: getattr(toy_data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(file, group_train=toy_data.group, class_names=np.array(toy_data.class_names), **arrays)
    return file


@pytest.fixture(scope="session")
def alone(data) -> Path:
    """The results of one process."""
    here("run", config(data, "alone", SMALL), "-q")
    return data.parent / "alone/toy"


@pytest.fixture(scope="session")
def larger(data) -> Path:
    """Those of one process, with a defence."""
    subprocess.run(command("run", config(data, "larger", LARGER), "-q"), check=True)
    return data.parent / "larger/toy"
