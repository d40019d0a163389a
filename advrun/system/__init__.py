"""What is under attack: Keras models as files, and the views of them that attacks ask."""

from advrun.system.classifier import Blind, Classifier, Decisions, Gradients, Loss, Scores, Through

__all__ = ["Blind", "Classifier", "Decisions", "Gradients", "Loss", "Scores", "Through"]
