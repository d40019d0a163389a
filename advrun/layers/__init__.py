"""Keras layers of one's own, one file each, in folders given by `--plugins`; advrun has none itself.

A file registers its class with `@keras.saving.register_keras_serializable(package="...")`, and is imported before a model file is read.
"""
