"""From a YAML file to a typed, frozen `Experiment`: `load("my.yaml")`. Nothing here needs TensorFlow."""

from advrun.config.entries import AttackEntry, DataEntry, DefenseEntry, ModelEntry, ThreatEntry, Training
from advrun.config.experiment import Compute, Experiment, load, loads, schema

__all__ = [
    "AttackEntry",
    "Compute",
    "DataEntry",
    "DefenseEntry",
    "Experiment",
    "ModelEntry",
    "ThreatEntry",
    "Training",
    "load",
    "loads",
    "schema",
]
