"""What the README prints as code works when it is typed."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from advrun import Linf, attacks, registry
from advrun.attack import Attack
from advrun.craft import craft

README = (Path(__file__).parent.parent / "README.md").read_text()


def plugin(name: str, monkeypatch) -> registry.Plugin:
    """The attack that the README shows, as if its lines stood in advrun/attacks/NAME.py."""
    blocks = re.findall(r"(?:^(?: {4}.*)?\n)+", README, re.MULTILINE)
    (code,) = (block for block in blocks if f"def {name}(" in block)
    module = types.ModuleType(f"advrun.attacks.{name}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(re.sub(r"^ {4}", "", code, flags=re.MULTILINE), vars(module))
    monkeypatch.setattr(registry, "names", lambda kind: [name])
    monkeypatch.setattr(registry, "load", lambda kind, name: getattr(module, name))
    return registry.get.__wrapped__("attacks", name)


@pytest.mark.parametrize("name", ["fgsm", "walk"])
def test_attacks(name, monkeypatch, network, images):
    shown = plugin(name, monkeypatch)
    y = network.predict(images).argmax(-1)
    attack = Attack(shown, Linf(0.06), {setting.name: setting.default for setting in shown.settings.values()})
    crafted = craft(network, attack, images, y, batch_size=4)
    assert network.accuracy(crafted.x_adv, y) < 1
    most = shown.cost(attack.settings)
    assert 0 < crafted.queries.max() + crafted.gradients.max() <= most.queries + most.gradients
    if name == "fgsm":
        np.testing.assert_array_equal(crafted.x_adv, attacks.fgsm(network, images, y, Linf(0.06), batch_size=4))
