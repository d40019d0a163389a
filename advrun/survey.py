"""What an attack that has learnt something shows of it, beyond one image for each image: by its file's function `survey`.

    survey(model, x, y, rng, fitted, *, SETTINGS) -> {name: array}

model is the classifier, or its targeted view; x the attacked images, (n, h, w, c) float32, y their targets, or true classes; fitted is
what `fit` made; of the settings it is handed those that it names. The arrays are kept beside the examples.
"""

from __future__ import annotations

import numpy as np

from advrun import engine, registry
from advrun.attack import Attack
from advrun.craft import Crafted
from advrun.engine import Rng
from advrun.errors import PluginError
from advrun.system import Classifier


def surveyed(classifier: Classifier, attack: Attack, crafted: Crafted, x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """The arrays of an attack's survey; {} where it has none, or nothing was attacked. Raises PluginError for anything but arrays."""
    survey = attack.plugin.survey
    if survey is None or crafted.fitted is None:
        return {}
    view = classifier if crafted.target is None else classifier.toward()
    rows = np.flatnonzero(crafted.attacked)
    labels = (y if crafted.target is None else crafted.target)[rows].astype(np.int32)
    wanted = registry.parameters(survey)
    settings = {name: value for name, value in attack.settings.items() if name in wanted}
    view.counter.start()
    arrays = survey(view, engine.to_unit(x[rows]), labels, Rng.from_seed(seed, 0x5E7), crafted.fitted, **settings)
    if not isinstance(arrays, dict) or not all(isinstance(each, np.ndarray) and not each.dtype.hasobject for each in arrays.values()):
        raise PluginError(f"{registry.place('attacks', attack.plugin.name)}: survey returned {type(arrays).__name__}; expected arrays by name")
    return arrays
