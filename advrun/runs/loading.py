"""The images of an experiment."""

from __future__ import annotations

from advrun import registry
from advrun.config import Experiment
from advrun.data import Dataset
from advrun.images import Images
from advrun.runs.needs import learns


def load_data(experiment: Experiment, *, training: bool | None = None) -> Dataset:
    """The experiment's data set. Raises DataError.

    Args:
        experiment: from `config.load`.
        training: False for test images alone; None reads training images where something of the experiment learns from them.
    """
    settings = experiment.data
    plugin = registry.get("datasets", settings.name)
    handed = {"training": learns(experiment) if training is None else training}
    handed = {name: value for name, value in handed.items() if name in plugin.arguments}
    data: Dataset = plugin.function(**handed, **settings.settings)
    if settings.train_limit or settings.test_limit:
        data = data.limited(settings.train_limit, settings.test_limit)
    return data


def room(data: Dataset) -> int:
    """Bytes of its images that lie in memory."""
    return sum(images.nbytes for images in (data.x_train, data.x_test) if not isinstance(images, Images))
