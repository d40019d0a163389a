"""Shared victims and data. Everything here is real: small models, trained or built by hand, on real tensors."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from advrun import Classifier, folders, registry
from advrun.attacks import _surrogate
from advrun.contract import victims
from advrun.contract.victims import CLASSES, IMAGE_SHAPE, boundary_distances, linear_classifier
from advrun.data import Dataset
from advrun.system import classifier as classifiers
from tests._finished import finished

__all__ = ["CLASSES", "IMAGE_SHAPE", "boundary_distances", "linear_classifier"]

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # several processes test at once: each leaves the others their cores
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max((os.cpu_count() or 1) // int(workers), 1)))
os.environ.pop("GITHUB_STEP_SUMMARY", None)  # what tests run is no result of the job that they are part of
classifiers.KEPT_GRAPHS = 64  # the victims of the tests are few, and meet every attack: none shall be compiled twice

EXAMPLE = re.compile(r"^```python\n# FOLDER/(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory) -> Path:
    """A folder with the files that the READMEs of the plugin folders show, as a stranger types them."""
    folder = tmp_path_factory.mktemp("own")
    for readme in sorted(folders.PACKAGE.glob("*/README.md")):
        for path, code in EXAMPLE.findall(readme.read_text()):
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(code)
    return folder


@contextmanager
def adding(folder: Path) -> Iterator[None]:
    """A folder of one's own, added to this process, and taken out again."""
    folders.plugins(folder)
    yield
    folder = folder.resolve()
    folders._added.remove(folder)
    for kind in (*folders.KINDS, folders.LAYERS):
        if (folder / kind).is_dir():
            sys.modules[f"advrun.{kind}"].__path__.remove(str(folder / kind))
        for file in (folder / kind).glob("*.py"):
            sys.modules.pop(f"advrun.{kind}.{file.stem}", None)
    registry.get.cache_clear()


@pytest.fixture(scope="module")
def added(own_folder) -> Iterator[Path]:
    """The folder of the READMEs, added to this process."""
    with adding(own_folder):
        yield own_folder


def shared(variable: str, default: str, holds: str) -> Path:
    """A file or folder of data that are not in the repository: skipped where it is missing, and a failure in CI."""
    place = Path(os.environ.get(variable, default))
    if not place.exists():
        reason = f"nothing at {place}; set {variable} to {holds}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return place


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    """The folder of the reference model and its images."""
    return shared("ADVRUN_REFERENCE", "data/reference", "the folder of lnet.keras and images.npz")


@pytest.fixture(scope="session")
def gtsrb_file() -> Path:
    """The prepared GTSRB file."""
    return shared("ADVRUN_GTSRB", "data/gtsrb/gtsrb32.h5", "the prepared HDF5 file of GTSRB")


@pytest.fixture(scope="session")
def imagenet_folder() -> Path:
    """The folder of two real classifiers and twenty photographs."""
    return shared("ADVRUN_IMAGENET", "data/imagenet", "the folder of squeezenet.keras, efficientnet_lite0.keras and photos")


@pytest.fixture(scope="session")
def linear() -> Classifier:
    """logits = W x + b: the distance of every image to every decision boundary is known in closed form."""
    return victims.linear()


@pytest.fixture(scope="session")
def network() -> Classifier:
    """A small convolutional network with random weights: nothing about it is linear."""
    return victims.network()


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Ten images away from the corners of the box."""
    return victims.images()


@pytest.fixture(scope="session")
def toy_data() -> Dataset:
    """Four classes of 8 x 8 images told apart by where they are bright; ten tracks of six frames each."""
    return victims.toy_data()


@pytest.fixture(scope="session")
def victim(toy_data: Dataset) -> Classifier:
    """A network trained on the toy data, in which attacks that learn or transfer have no part."""
    classifier = _surrogate.network("victim of the tests", toy_data.x_train.shape[1:], 4)
    _surrogate.Student(classifier, np.array([1, 2])).learn(toy_data.x_train / np.float32(255), toy_data.y_train, epochs=12)
    assert classifier.accuracy(toy_data.x_test, toy_data.y_test) > 0.9
    return classifier


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory, victim: Classifier, toy_data: Dataset) -> Path:
    """The configuration of a small finished run; tests copy its results before they touch them."""
    return finished(tmp_path_factory.mktemp("toy"), victim, toy_data)
