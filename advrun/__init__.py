"""advrun: adversarial robustness of Keras classifiers, from a YAML file to an accuracy table you can trust."""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["attacks"],
    submod_attrs={
        "system": ["Classifier", "Oracle"],
        "config": ["load"],
        "folders": ["plugins"],
        "geometry": ["L0", "L1", "L2", "Linf"],
        "masked": ["Masked"],
        "runs.runner": ["run"],
    },
)
