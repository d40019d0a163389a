"""What is under attack: Keras models as files, oracles that are only asked, and the views of them that attacks ask."""

from advrun.system.blackbox import BlackBox
from advrun.system.classifier import Blind, Classifier, Decisions, Gradients, Loss, Scores, Through
from advrun.system.detectors import Detector
from advrun.system.oracle import Oracle
from advrun.system.stages import Chain, Purifier

__all__ = [
    "BlackBox",
    "Blind",
    "Chain",
    "Classifier",
    "Decisions",
    "Detector",
    "Gradients",
    "Loss",
    "Oracle",
    "Purifier",
    "Scores",
    "Through",
]
