"""The purifiers that are networks, `unet` and `defense_gan`, by their closed forms; and lists of attacks as a setting."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from advrun import Classifier, Linf, attacks, dcgan, defend, engine, registry
from advrun.attack import Attack, bind
from advrun.checkpoints import Checkpoints
from advrun.config import loads
from advrun.config.entries import settings_of
from advrun.contract import defenses as contract
from advrun.contract.systems import fit_on
from advrun.defenses import defense_gan as gan
from advrun.defenses import unet
from advrun.defenses._attacked import Repertoire
from advrun.engine import Rng, TrainStep, keras, ops
from advrun.errors import ConfigError
from advrun.losses import cross_entropy
from advrun.npz import unpack
from advrun.runs import keys
from advrun.system import Chain

SHAPE = (6, 6, 3)
SIZE = 108
EPS = 16 / 255


@pytest.fixture(scope="module")
def undefended():
    return contract.undefended()


@pytest.fixture(scope="module")
def linear_generator():
    """G(z) = A z + b with orthonormal A: what it can make is a plane, and the nearest image a projection."""
    rng = np.random.default_rng(4)
    basis = np.linalg.qr(rng.normal(size=(SIZE, 5)))[0].astype(np.float32)
    middle = rng.uniform(0.4, 0.6, SIZE).astype(np.float32)
    return basis, middle, lambda z: ops.reshape(ops.matmul(z, basis.T) + middle, (-1, *SHAPE))


def batch(data, size: int = 16):
    return data.x_test[::5][:size] / np.float32(255), data.y_test[::5][:size]


# Defense-GAN: the descent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_the_nearest_image_of_a_linear_generator_is_the_projection(linear_generator, images, momentum):
    """Whatever z it began with; compiled as eager."""
    basis, middle, generator = linear_generator
    start = np.random.default_rng(1).normal(size=(len(images), 3, 5)).astype(np.float32)
    expected = ((images.reshape(-1, SIZE) - middle) @ basis @ basis.T + middle).reshape(images.shape)
    for run in (gan.nearest, engine.compiled(lambda g, x, z, *given: gan.nearest(generator, x, z, *given))):
        found = np.asarray(run(generator if run is gan.nearest else 0, images, start, 80, 15.0, momentum))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_two_steps_by_hand(linear_generator, images):
    """v <- 0.7 v - rate dE/dz, z <- z + v, with E the mean square over the image."""
    basis, middle, generator = linear_generator
    z, v = np.random.default_rng(2).normal(size=(len(images), 5)), 0.0
    start = z.astype(np.float32)[:, None]
    for _ in range(2):
        v = 0.7 * v - 9.0 * 2 / SIZE * (z @ basis.T + middle - images.reshape(-1, SIZE)) @ basis
        z = z + v
    found = np.asarray(gan.nearest(generator, images, start, 2, 9.0, 0.7))
    np.testing.assert_allclose(found.reshape(-1, SIZE), z @ basis.T + middle, atol=1e-4)


def test_of_several_descents_the_best_is_kept(images):
    """This generator paints max(z, 0) everywhere, and has no slope below 0: who begins there is stuck at black."""

    def generator(z):
        return ops.relu(z)[:, :, None, None] * np.ones((1, *SHAPE), np.float32)

    start = np.full((len(images), 4, 1), -1.0, np.float32)
    start[np.arange(len(images)), np.arange(len(images)) % 4] = 0.2
    found = np.asarray(gan.nearest(generator, images, start, 100, 0.2, 0.5))
    np.testing.assert_allclose(found, np.broadcast_to(images.mean((1, 2, 3), keepdims=True), images.shape), atol=1e-3)


# Defense-GAN: the GAN ------------------------------------------------------------------------------------------------


def test_the_loss_of_a_linear_critic(images):
    """f(x) = <w, x> has the gradient w everywhere."""
    w = np.random.default_rng(3).normal(size=SIZE).astype(np.float32) / 5
    made = images[::-1].copy()
    values = gan.wasserstein(lambda x: ops.sum(engine.flat(x) * w, axis=1), *map(ops.convert_to_tensor, (images, made)), 0.3, 10.0)
    gap = (images - made).reshape(len(images), -1) @ w
    np.testing.assert_allclose(np.asarray(values["gap"]), gap, atol=1e-5)
    np.testing.assert_allclose(np.asarray(values["steepness"]), np.linalg.norm(w), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(values["loss"]), 10 * (np.linalg.norm(w) - 1) ** 2 - gap, rtol=1e-4, atol=1e-5)


def test_the_penalty_is_taken_between_a_real_image_and_a_made_one(images):
    """f(x) = |x|^2 / 2 has the gradient x: at share s it is s real + (1 - s) made."""
    real, made = images[:4], images[4:8]
    share = np.array([0.0, 0.2, 0.9, 1.0], np.float32).reshape(-1, 1, 1, 1)
    values = gan.wasserstein(lambda x: engine.total(ops.square(x)) / 2, *map(ops.convert_to_tensor, (real, made, share)), 1.0)
    expected = np.sqrt(((share * real + (1 - share) * made) ** 2).sum((1, 2, 3)))
    np.testing.assert_allclose(np.asarray(values["steepness"]), expected, rtol=1e-5)


class Watched:
    """Takes the players of a game, and plays none."""

    def game(self, model, players, **_):
        self.players = players
        return model


def test_the_critic_takes_several_steps_of_its_own_parts_of_the_batch(toy_data):
    fit = Watched()
    generator = gan.trained_generator(fit, (8, 8, 3), 4, 4, 5, 10.0)
    critic, painter = fit.players["critic"], fit.players[""]
    assert painter.network is generator
    x, y = batch(toy_data, 12)
    steps = {name: TrainStep(p.network, p.objective, engine.adam(1e-3, p.momentum), update=p.update) for name, p in fit.players.items()}
    seen, backward = [], steps["critic"].backward
    steps["critic"].backward = lambda x, *rest, **given: seen.append(np.asarray(x)) or backward(x, *rest, **given)
    weights = [weight.numpy() for weight in generator.weights]
    steps["critic"].step(x, y, np.array([1, 2], np.int32))
    np.testing.assert_array_equal(np.concatenate(seen), x)
    assert int(steps["critic"].optimizer.iterations) == len(seen) == 5
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(weights, generator.weights, strict=True))
    steps[""].step(x, y, np.array([1, 2], np.int32))
    assert any((old != new.numpy()).any() for old, new in zip(weights, generator.weights, strict=True))
    assert int(steps["critic"].optimizer.iterations) == 5
    assert critic.network.output_shape == (None, 1)


# Defense-GAN: the stage ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def painted(undefended):
    """The stage, with a generator that has learnt nothing: what is drawn, and how gradients pass, does not depend on it."""
    engine.start(0)
    return gan.defense_gan(Chain(undefended), Watched(), restarts=2, steps=5, latent=4, width=4)


def test_an_image_is_purified_alike_alone_and_in_a_batch(painted, toy_data):
    """Its z are its own, by its pixels and the key; by another key they are others."""
    x, _ = batch(toy_data, 6)
    together = np.asarray(painted.purify(x))
    alone = np.concatenate([np.asarray(painted.purify(image[None])) for image in x])
    backwards = np.asarray(painted.purify(x[::-1]))[::-1]
    np.testing.assert_allclose(alone, together, atol=1e-4)
    np.testing.assert_allclose(backwards, together, atol=1e-4)
    with engine.drawing(Rng.from_seed(7)):
        other = np.asarray(painted.purify(x))
    assert np.abs(other - together).max() > 1e-3
    assert painted.random


def test_attacks_pass_the_last_steps_of_the_descent(linear_generator, images):
    """Of G(z) = A z + b four steps leave (1 - 2 rate / d)^4 of what was apart: backward they are A A', the projection, times the rest."""
    basis, _, generator = linear_generator
    start = np.random.default_rng(1).normal(size=(len(images), 2, 5)).astype(np.float32)
    weights = np.random.default_rng(6).normal(size=images.shape).astype(np.float32)

    def seen(x):
        return engine.total(weights * gan.nearest(generator, x, start, 10, 15.0, 0.7)), None

    slope = np.asarray(engine.value_and_gradient(seen, images)[2]).reshape(-1, SIZE)
    share = 1 - (1 - 2 * 15.0 / SIZE) ** gan.UNROLLED
    np.testing.assert_allclose(slope, share * weights.reshape(-1, SIZE) @ basis @ basis.T, atol=1e-4)


def test_attacks_see_a_gradient_through_the_stage(painted, toy_data):
    """Of every image, though it is painted anew."""
    x, y = batch(toy_data, 6)
    system = Classifier(painted, draws=1)
    slope = np.asarray(system.gradient(cross_entropy, x, y))
    assert np.isfinite(slope).all()
    assert (np.abs(slope).max((1, 2, 3)) > 0).all()
    assert np.abs(system.purify(x) - x).max() > 0.1


def test_networks_that_play_have_no_averages_and_no_robust_epoch(toy_data, tmp_path):
    fit = fit_on(toy_data, Checkpoints(tmp_path), 2)
    for options, said in (({"ema": 0.9}, "ema: 0.9"), ({"monitor": "robust_accuracy"}, "monitor: robust_accuracy")):
        asked = replace(fit, settings=fit.settings.model_copy(update=options))
        with pytest.raises(ConfigError, match=said):
            asked.game(None, {})


@pytest.mark.slow
def test_killed_and_read_again_it_is_the_same_generator(undefended, toy_data, tmp_path):
    """Two epochs, and then two more by another process, are four; and the file of the system gives the same images."""
    made = []
    for parts in ((4,), (2, 4)):
        for epochs in parts:
            engine.start(0)
            folder = tmp_path / str(parts)
            folder.mkdir(exist_ok=True)
            fit = fit_on(toy_data, Checkpoints(folder), epochs)
            system = gan.defense_gan(Chain(undefended), fit, restarts=2, steps=5, latent=4, width=4)
            fit.checkpoints.flush()
        made.append((fit.fitted[0], system))
    assert all(map(np.array_equal, made[0][0], made[1][0]))
    again = defend.Fitted([made[0][0]])
    x, _ = batch(toy_data, 6)
    read = gan.defense_gan(Chain(undefended), again, restarts=2, steps=5, latent=4, width=4)
    np.testing.assert_allclose(np.asarray(read.purify(x)), np.asarray(made[0][1].purify(x)), atol=1e-5)


def test_a_painter_paints_images_of_any_size():
    for shape in ((8, 8, 3), (9, 7, 1)):
        made = np.asarray(dcgan.painter(shape, 3, 4)(np.zeros((2, 3), np.float32)))
        assert made.shape == (2, *shape)
        assert 0 <= made.min() <= made.max() <= 1


# The U-net -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(8, 8, 3), (9, 7, 1)])
def test_before_it_learns_the_unet_changes_nothing(shape):
    x = np.random.default_rng(0).uniform(size=(3, *shape)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(unet.dunet(shape, 4, 3)(x)), x, atol=1e-6)


def test_the_unet_of_the_paper():
    """64, 128, 256, 256, 256 channels on the way down and 256, 256, 128, 64 up, in C2 and C3; each with batch normalisation."""
    layers = unet.dunet((32, 32, 3), **registry.get("defenses", "unet").presets["paper"]).layers
    convolutions = [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]
    down, up = ((64, 2), (128, 3), (256, 3), (256, 3), (256, 3)), ((256, 3), (256, 3), (128, 3), (64, 2))
    assert [each.filters for each in convolutions] == [*(filters for filters, count in down + up for _ in range(count)), 3]
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in layers) == len(convolutions) - 1
    sizes = [layer.output.shape[1] for layer in convolutions]
    assert sizes == [32] * 2 + [16] * 3 + [8] * 3 + [4] * 3 + [2] * 3 + [4] * 3 + [8] * 3 + [16] * 3 + [32] * 3


def test_levels_that_leave_nothing_to_halve_are_refused():
    with pytest.raises(ConfigError, match=r"levels is 4; images of 8 x 8 pixels can be halved 3 times"):
        unet.dunet((8, 8, 3), 4, 4)


class Caught:
    """Takes what a defence would train, instead of training it."""

    def __call__(self, network, objective, **options):
        self.network, self.objective, self.options = network, objective, options
        return network


@pytest.mark.parametrize("guidance", ["pixels", "features", "logits", "labels"])
def test_what_guides_the_denoiser(undefended, toy_data, guidance):
    """Before it learns the denoiser changes nothing: the loss is how far the attacked images are from the clean ones for the guide."""
    plugin, fit = registry.get("defenses", "unet"), Caught()
    chosen = ({"name": "fgsm", "eps": EPS}, {"name": "bim", "eps": EPS, "steps": 2})
    settings = settings_of(plugin, {"guidance": guidance, "attacks": chosen, "width": 4, "levels": 1})
    plugin.function(undefended, fit, **{**settings, "attacks": tuple(map(bind, settings["attacks"]))})
    (x, y), rng = batch(toy_data, 8), Rng.from_seed(3)
    x_adv = np.asarray(Repertoire(tuple(map(bind, settings["attacks"])), Classifier(undefended), 1 / 16)(x, y, Rng.from_seed(3)))
    values = fit.objective(x, y, rng, False)
    plain = Classifier(undefended)
    last = next(layer for layer in reversed(undefended.layers) if isinstance(layer, keras.layers.Dense))
    before = keras.Model(undefended.inputs, last.input)
    guides = {"pixels": lambda x: x.reshape(len(x), -1), "logits": plain.predict, "features": before.predict_on_batch}
    if guidance == "labels":
        expected = np.asarray(cross_entropy(plain.predict(x_adv), y))
    else:
        expected = np.abs(guides[guidance](x_adv) - guides[guidance](x)).mean(1)
    np.testing.assert_allclose(np.asarray(values["loss"]), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(values["accuracy"]), plain.predict(x_adv).argmax(1) == y)


@pytest.mark.slow
def test_the_unet_is_strong_when_static_and_falls_to_who_knows_it(undefended, toy_data, tmp_path):
    engine.start(0)
    trial = contract.Defended(registry.get("defenses", "unet"), {"width": 8, "levels": 1})
    fit = fit_on(toy_data, Checkpoints(tmp_path), 60)
    system = Classifier(defend.applied(trial.plugin, Chain(undefended), fit, trial.settings))
    plain, x, y = Classifier(undefended), toy_data.x_test, toy_data.y_test
    replayed, adaptive = (attacks.pgd(model, x, y, Linf(24 / 255), steps=10) for model in (plain, system))
    assert system.accuracy(replayed, y) > plain.accuracy(replayed, y) + 0.1
    assert system.accuracy(adaptive, y) < system.accuracy(replayed, y) - 0.05


# Lists of attacks ----------------------------------------------------------------------------------------------------


def repertoire(undefended, *names, weakest=1.0, **given):
    made = tuple(Attack(registry.get("attacks", name), Linf(EPS) if name != "deepfool" else None, given.get(name, {})) for name in names)
    return made, Repertoire(made, Classifier(undefended), weakest)


def test_each_attack_has_its_share_of_a_batch(undefended, toy_data):
    """In the batch's order, as it would attack those images alone; of ten images three attacks have three, four and three."""
    x, y = batch(toy_data, 10)
    _, opponent = repertoire(undefended, "fgsm", "bim", "fgsm", bim={"steps": 2, "step_size": 0.5})
    found = np.asarray(opponent(x, y, Rng.from_seed(0)))
    plain = Classifier(undefended)
    expected = [
        attacks.fgsm(plain, x[:3], y[:3], Linf(EPS)),
        attacks.bim(plain, x[3:7], y[3:7], Linf(EPS), steps=2, step_size=0.5),
        attacks.fgsm(plain, x[7:], y[7:], Linf(EPS)),
    ]
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-5)


def test_each_image_has_a_strength_of_its_own(undefended, toy_data):
    """Between the weakest and the whole; another batch has others."""
    x, y = toy_data.x_test[:40] / np.float32(255), toy_data.y_test[:40]
    _, opponent = repertoire(undefended, "fgsm", "fgsm", weakest=0.25)
    sizes = [np.abs(np.asarray(opponent(x, y, Rng.from_seed(seed))) - x).max((1, 2, 3)) / EPS for seed in (0, 1)]
    for each in sizes:
        assert 0.25 - 1e-4 <= each.min() < 0.45
        assert 0.8 < each.max() <= 1 + 1e-4
        assert len(np.unique(each.round(4))) > 30
    assert np.abs(sizes[0] - sizes[1]).max() > 0.1


def test_a_cascade_is_refused(undefended):
    with pytest.raises(ConfigError, match="'autoattack' cannot run inside adversarial training"):
        repertoire(undefended, "fgsm", "autoattack")


TEXT = "models: [{name: lnet}]\ndefenses: [{name: unet, attacks: %s}]"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{name: fgsm, eps: 8/255}", r"attacks: got .*; expected a list, each an attack, such as"),
        ("[]", r"attacks: got .*expected a list, each an attack"),
        ("[{name: fgsm, eps: 8/255}, {name: bim, epz: 1}]", r"attacks\[1\]\.epz: unknown setting 'epz'.*did you mean 'eps'"),
        ("[{name: fgsm, eps: 8}]", r"attacks\[0\]\.eps: eps is 8; images are in \[0, 1\], so write 8/255"),
        ("[{name: fgms, eps: 8/255}]", r"attacks\[0\]\.name: no attack named 'fgms'; did you mean 'fgsm'"),
    ],
)
def test_a_list_of_attacks_is_checked_item_by_item(written, said):
    with pytest.raises(ConfigError, match=said):
        loads(TEXT % written)


def test_a_list_of_attacks_is_written_and_identified_as_it_is():
    """Every attack of it is in the key, with its settings and its code; its file gives it back."""
    one = loads(TEXT % "[{name: fgsm, eps: 8/255}, {name: pgd, eps: 4/255, steps: 3}]")
    assert loads(one.to_yaml()) == one
    other = loads(TEXT % "[{name: fgsm, eps: 8/255}, {name: pgd, eps: 4/255, steps: 4}]")
    said = [keys.described("defenses", "unet", each.defenses[0].settings) for each in (one, other)]
    assert said[0]["attacks"][1] == keys.inner(one.defenses[0].settings["attacks"][1])
    assert said[0] != said[1]


def test_a_list_of_attacks_is_read_again_from_the_file_of_a_system(tmp_path):
    """As lists of mappings, which JSON has."""
    plugin = registry.get("defenses", "unet")
    settings = settings_of(plugin, {})
    (tmp_path / "system.npz").write_bytes(defend.packed("unet", settings, "undefended.keras", []))
    content = json.loads(str(unpack(tmp_path / "system.npz", 1 << 20)["system"]))
    given = {key: defend._tuples(value) for key, value in content["defense"].items() if key != "name"}
    assert settings_of(plugin, given) == settings
