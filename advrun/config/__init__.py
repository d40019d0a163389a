"""From a YAML file to a typed, frozen `Experiment`: `load("my.yaml")`. Nothing here needs TensorFlow."""

from advrun.config.chains import Sweep
from advrun.config.entries import AttackEntry, BoundEntry, DataEntry, DefenseEntry, ModelEntry, ThreatEntry, Training
from advrun.config.experiment import Compute, Experiment, as_written, load, loads, schema

__all__ = [
    "AttackEntry",
    "BoundEntry",
    "Compute",
    "DataEntry",
    "DefenseEntry",
    "Experiment",
    "ModelEntry",
    "Sweep",
    "ThreatEntry",
    "Training",
    "as_written",
    "load",
    "loads",
    "schema",
]
