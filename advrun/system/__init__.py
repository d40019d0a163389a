"""What is under attack: Keras models as files, and the views of them that attacks ask."""

from advrun.system.classifier import Blind, Classifier, Decisions, Gradients, Loss, Scores, Through
from advrun.system.stages import Chain, Purifier

__all__ = ["Blind", "Chain", "Classifier", "Decisions", "Gradients", "Loss", "Purifier", "Scores", "Through"]
