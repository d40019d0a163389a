"""A run refuses purifiers that do not make images, each of its own alone; what rounds, draws, or is noise by design, it does not."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from advrun import Classifier
from advrun.cli import main
from advrun.engine import ops
from advrun.errors import ModelError
from advrun.runs.work.train import refuse_no_images
from advrun.system import Chain, Purifier


def behind(network, forward, **said) -> Classifier:
    return Classifier(Chain(network.model, (Purifier(forward, **said),)))


def the_mean(x, rng):
    return ops.clip(x + 0.01 * (ops.mean(x, axis=0, keepdims=True) - 0.5), 0.0, 1.0)


REFUSED = [
    (lambda x, rng: 1.5 * x + 0.1, "clip them: ops.clip(x, 0.0, 1.0)"),
    (lambda x, rng: x - ops.min(x, axis=(1, 2, 3), keepdims=True) - 0.001, "it makes pixels from -0.001"),
    (the_mean, "with other images in the batch it makes another of an image, by 0.00"),
    (lambda x, rng: ops.roll(x, 1, axis=0), "with other images in the batch"),
    (lambda x, rng: ops.sort(x, axis=0), "purify each by itself: no mean, order or index over the first axis"),
    (lambda x, rng: x * ops.linspace(0.9, 1.0, x.shape[0])[:, None, None, None], "with other images in the batch"),
]


@pytest.mark.parametrize(("forward", "said"), REFUSED)
def test_what_leaves_the_box_or_looks_at_its_neighbours_is_refused(network, images, forward, said):
    with pytest.raises(ModelError) as refused:
        refuse_no_images("defence 'mine'", behind(network, forward), images)
    assert str(refused.value).startswith("defence 'mine': ")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (lambda x, rng: x + 5e-5, {}),
        (lambda x, rng: ops.round(x * 7) / 7, {}),
        pytest.param(lambda x, rng: ops.clip(x + rng.uniform(x.shape, -1.0, 1.0), 0.0, 1.0), {"random": True}, marks=pytest.mark.slow),
        (lambda x, rng: x + 2 * rng.uniform(x.shape, -1.0, 1.0), {"random": True, "sigma": 2.0}),
    ],
)
def test_rounding_draws_and_noise_that_says_so_are_not(network, images, forward, said):
    """White images and black ones, which rounding may lead out of the box by a little."""
    refuse_no_images("defence 'mine'", behind(network, forward, **said), np.concatenate([images, 0 * images[:3], 0 * images[:3] + 1]))
    refuse_no_images("defence 'mine'", behind(network, forward, **said), images[:1])


MINE = """\"\"\"A purifier of half an idea.\"\"\"
from advrun.engine import ops
from advrun.system import Chain, Purifier


def mine(system: Chain) -> Chain:
    \"\"\"Nearer to the mean image.\"\"\"
    return system.behind(Purifier(lambda x, rng: 0.9 * x + 0.1 * ops.mean(x, axis=0, keepdims=True)))
"""


@pytest.mark.slow
def test_a_run_refuses_it_before_it_attacks(tmp_path, toy_data):
    """The contract says the same of it."""
    arrays = {name: getattr(toy_data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(tmp_path / "toy.npz", **arrays)
    (tmp_path / "defenses").mkdir()
    (tmp_path / "defenses/mine.py").write_text(MINE)
    (tmp_path / "toy.yaml").write_text(
        f"data: {{name: arrays, path: {tmp_path}/toy.npz}}\nmodels: [{{name: cnn, width: 4, blocks: 1}}]\ntrain: {{epochs: 1}}\n"
        f"attacks: [{{name: fgsm, eps: 8/255}}]\ndefenses: [{{name: mine}}]\nresults: {tmp_path}/results\n"
    )
    run = CliRunner().invoke(main, ["run", str(tmp_path / "toy.yaml"), "--plugins", str(tmp_path)])
    assert run.exit_code == 8, run.output
    assert "defence 'mine': with other images in the batch it makes another of an image" in run.output
    assert not list((tmp_path / "results/toy/examples").glob("*mine*"))
