"""Defences: `NAME(model, fit, *, settings)` returns the defended system, a Keras model from images in [0, 1] to logits.

`model` is the undefended, trained Keras model; `fit` is `train.Fit`. A purifier in front of a classifier is a layer named
"purifier" of the system, so adaptive attacks go through it and `Classifier.purify` shows what it does.
"""
