"""Defences: `NAME(system, *, settings)` puts purifiers in front of a system, `NAME(system, fit, *, settings)` sets a detector beside it,
`NAME(model, fit, *, settings)` trains; see README.md.

`system` is a `Chain` of stages, `model` the same as one Keras model, `fit` is `train.Fit`. What comes back is a chain or a Keras model
from images in [0, 1] to logits. Adaptive attacks go through all of it, and `Classifier.purify` shows what is in front of the network.
"""
