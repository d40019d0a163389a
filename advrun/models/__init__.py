"""Model builders: `NAME(image_shape, classes, *, settings)` returns a Keras model from images in [0, 1] to logits."""
