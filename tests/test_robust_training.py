"""The defences that train, by their closed forms: losses, updates, and the view with another loss."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from advrun import Classifier, Linf, engine, registry
from advrun.attack import Attack, bind
from advrun.bounds._intervals import around, margins
from advrun.config.entries import settings_of
from advrun.contract import defenses as contract
from advrun.contract import victims
from advrun.defenses import awp, distillation, mart, trades
from advrun.defenses._attacked import mixture, on_pairs
from advrun.defenses._learner import against, divergence, one_step
from advrun.engine import Progress, Rng, TrainStep, keras, ops
from advrun.losses import cross_entropy
from advrun.system.climbing import Climbing
from advrun.system.copies import same_copy

ROWS = np.random.default_rng(5)
CLEAN, ATTACKED = (ROWS.normal(size=(7, 4)).astype(np.float32) * 2 for _ in range(2))
Y = np.array([0, 1, 2, 3, 0, 1, 2], np.int32)


def probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(-1, keepdims=True)


class Caught:
    """Takes what a defence would train on 40 images, in batches of 16, instead of training it."""

    def __init__(self) -> None:
        self.calls = []
        self.settings = SimpleNamespace(batch_size=16)
        self.data = SimpleNamespace(y_train=np.zeros(40, np.int32))

    def __call__(self, network, objective, **options):
        self.calls.append((network, objective, options))
        return network


def caught(name: str, **given):
    """The network, the objective and the options that a defence hands to `fit`, last call."""
    plugin, fit = registry.get("defenses", name), Caught()
    settings = settings_of(plugin, given)
    plugin.function(contract.undefended(), fit, **{key: bind(v) if plugin.settings[key].is_attack else v for key, v in settings.items()})
    return fit.calls[-1]


def batch(data, size: int = 16):
    return data.x_test[::5][:size] / np.float32(255), data.y_test[::5][:size]


# Losses --------------------------------------------------------------------------------------------------------------


def test_trades_without_its_divergence_is_cross_entropy():
    np.testing.assert_array_equal(np.asarray(trades.trades_loss(CLEAN, ATTACKED, Y, 0.0)), np.asarray(cross_entropy(CLEAN, Y)))


def test_divergence_and_cross_entropy_against_probabilities():
    p, q = probabilities(CLEAN), probabilities(ATTACKED)
    np.testing.assert_allclose(np.asarray(divergence(ATTACKED, CLEAN)), (p * np.log(p / q)).sum(-1), rtol=1e-4)
    np.testing.assert_allclose(np.asarray(divergence(CLEAN, CLEAN)), 0, atol=1e-6)
    np.testing.assert_allclose(np.asarray(against(ATTACKED, p.astype(np.float32))), -(p * np.log(q)).sum(-1), rtol=1e-4)
    expected = -np.log(p[range(7), Y]) + 6 * (p * np.log(p / q)).sum(-1)
    np.testing.assert_allclose(np.asarray(trades.trades_loss(CLEAN, ATTACKED, Y, 6.0)), expected, rtol=1e-4)


def test_mart_as_in_its_equation():
    p, q = probabilities(CLEAN), probabilities(ATTACKED)
    own, rest = q[range(7), Y], np.where(np.eye(4)[Y] > 0, 0, q).max(-1)
    expected = -np.log(own) - np.log(1.0001 - rest) + 5 * (p * np.log(p / q)).sum(-1) * (1 - p[range(7), Y])
    np.testing.assert_allclose(np.asarray(mart.mart_loss(CLEAN, ATTACKED, Y, 5.0)), expected, rtol=1e-4)


def test_distillation_at_temperature_one_from_labels_is_plain(toy_data):
    x, y = batch(toy_data)
    network = contract.undefended()
    values = distillation.softened(network, 1.0)(x, y, Rng.from_seed(0), training=False)
    np.testing.assert_allclose(np.asarray(values["loss"]), np.asarray(cross_entropy(network(x), y)), rtol=1e-4, atol=1e-6)


def test_distillation_learns_the_teachers_probabilities_at_its_temperature(toy_data):
    x, y = batch(toy_data)
    teacher, student = contract.undefended(), caught("distillation", temperature=5.0)[0]
    values = distillation.softened(student, 5.0, teacher)(x, y, Rng.from_seed(0), training=False)
    p, q = (probabilities(np.asarray(network(x)) / 5) for network in (teacher, student))
    np.testing.assert_allclose(np.asarray(values["loss"]), -(p * np.log(q)).sum(-1), rtol=1e-4)


def test_distillation_begins_with_probabilities_as_without_a_temperature(toy_data):
    """softmax(T z / T): the logits of the networks that it trains are T times those of fresh ones."""
    x, _ = batch(toy_data)
    kernel = caught("distillation", temperature=20.0)[0].layers[-1].kernel.numpy()
    assert 0.8 * 20 < np.abs(kernel).max() / np.sqrt(6 / sum(kernel.shape)) <= 20  # Glorot and Bengio's bound of fresh weights
    given = contract.undefended()
    np.testing.assert_allclose(np.asarray(distillation.enlarged(same_copy(given), 3.0)(x)), 3 * np.asarray(given(x)), rtol=1e-4)


@pytest.mark.parametrize(("name", "given"), [("label_smoothing", {"smoothing": 0.0}), ("gaussian_augmentation", {"sigma": 0.0})])
def test_without_its_strength_a_defence_is_plain_training(toy_data, name, given):
    x, y = batch(toy_data)
    network, objective, _ = caught(name, **given)
    expected = np.asarray(cross_entropy(network(x), y))
    np.testing.assert_allclose(np.asarray(objective(x, y, Rng.from_seed(0), training=False)["loss"]), expected, rtol=1e-4, atol=1e-6)


def test_smoothed_labels_and_noise(toy_data):
    x, y = batch(toy_data)
    network, objective, _ = caught("label_smoothing", smoothing=0.2)
    p = probabilities(np.asarray(network(x)))
    targets = 0.8 * np.eye(4)[y] + 0.05
    expected = -(targets * np.log(p)).sum(-1)
    np.testing.assert_allclose(np.asarray(objective(x, y, Rng.from_seed(0), training=False)["loss"]), expected, rtol=1e-4)
    network, objective, _ = caught("gaussian_augmentation", sigma=0.3, ratio=0.25, clip=True)
    noisy = np.clip(x + 0.3 * np.asarray(Rng.from_seed(1).normal(x.shape)), 0, 1)
    expected = 0.75 * np.asarray(cross_entropy(network(x), y)) + 0.25 * np.asarray(cross_entropy(network(noisy), y))
    np.testing.assert_allclose(np.asarray(objective(x, y, Rng.from_seed(1), training=False)["loss"]), expected, rtol=1e-4)


# A view with another loss ----------------------------------------------------------------------------------------------


def away(model: Classifier, x: np.ndarray) -> Climbing:
    return Climbing(model, lambda logits, _, reference: divergence(logits, reference), model.forward(x))


def test_the_gradient_of_the_divergence_numerically(linear, images):
    """By central differences of the divergence itself, along random directions."""
    x, y = images, victims.labels().astype(np.int32)
    view, rng = away(linear, x), np.random.default_rng(3)
    point = x + rng.normal(0, 0.02, x.shape).astype(np.float32)
    gradient = np.asarray(view.gradient(cross_entropy, point, y))
    reference = linear.forward(x)
    for _ in range(3):
        direction = rng.choice([-1.0, 1.0], x.shape).astype(np.float32)
        up, down = (np.asarray(divergence(linear.forward(point + h * direction), reference), np.float64) for h in (2e-3, -2e-3))
        slopes = (gradient * direction).sum((1, 2, 3))
        np.testing.assert_allclose((up - down) / 4e-3, slopes, rtol=0.03, atol=0.03 * np.abs(slopes).max())


def test_a_part_of_the_view_is_about_its_images(network, images):
    x, y, rows = images, victims.labels().astype(np.int32), np.array([7, 2, 5], np.int32)
    point = (x + 0.02).astype(np.float32)
    whole, part = away(network, x), away(network, x).part(rows)
    np.testing.assert_allclose(
        part.gradient(None, point[rows], y[rows]), np.asarray(whole.gradient(None, point, y))[rows], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(
        np.argsort(part.lead(network.forward(point[rows]), y[rows])),
        np.argsort(divergence(network.forward(point[rows]), network.forward(x[rows]))),
    )


def test_pgd_climbs_the_divergence_as_far_as_it_can_and_never_stops_early(network, images):
    """The labels mean nothing to it: with others the images are the same."""
    pgd, x = registry.get("attacks", "pgd"), images
    made = []
    for y, early in ((victims.labels(), False), (np.zeros(len(x)), False), (victims.labels(), True)):
        attack = Attack(pgd, Linf(8 / 255), settings_of(pgd, {"steps": 4, "step_size": 0.5, "early_stop": early}))
        made.append(np.asarray(attack(away(network, x), x, y.astype(np.int32), Rng.from_seed(1))))
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[0], made[2])
    reference = network.forward(x)
    start = Linf(8 / 255).sample(x, Rng.from_seed(1))
    assert (
        np.asarray(divergence(network.forward(made[0]), reference)).mean()
        > 2 * np.asarray(divergence(network.forward(start), reference)).mean()
    )
    assert np.abs(made[0] - x).max() <= 8 / 255 + 1e-6
    assert not np.asarray(away(network, x).succeeds(made[0], victims.labels().astype(np.int32))).any()


@pytest.mark.parametrize("name", ["trades", "awp"])
def test_the_best_epoch_is_chosen_under_an_attack_away_from_the_label(toy_data, name):
    """The training's own attack knows no label: what it makes of a wrong answer may be right."""
    x, y = batch(toy_data)
    x = np.clip(x + np.random.default_rng(0).normal(0, 0.2, x.shape), 0, 1).astype(np.float32)
    network, objective, _ = caught(name, attack={"name": "fgsm", "eps": 24 / 255}, beta=6.0, start="trained")
    seen = np.asarray(objective(x, y, Rng.from_seed(0), training=False)["adversarial_accuracy"])
    model = Classifier(network)
    fgsm = Attack(registry.get("attacks", "fgsm"), Linf(24 / 255), {})
    under = [np.asarray(model.labels(fgsm(view, x, y, Rng.from_seed(0)))) == y for view in (model, away(model, x))]
    np.testing.assert_array_equal(seen, under[0])
    assert (under[0] != under[1]).any()


class Watching:
    """Stands in for an attack that learns nothing, and keeps what it was shown."""

    plugin = registry.get("attacks", "fgsm")

    def __init__(self) -> None:
        self.met = []

    def __call__(self, model, x, y, rng, eps=None, fitted=None):
        self.met.append(model)
        return x


@pytest.mark.parametrize("name", ["trades", "awp"])
def test_in_training_the_attack_climbs_the_divergence(toy_data, name):
    x, y = batch(toy_data)
    plugin, fit, attack = registry.get("defenses", name), Caught(), Watching()
    plugin.function(contract.undefended(), fit, **{**settings_of(plugin, {"beta": 6.0}), "attack": attack})
    for training in (True, False):
        fit.calls[-1][1](x, y, Rng.from_seed(0), training=training)
    assert [isinstance(model, Climbing) for model in attack.met] == [True, False]


def test_the_mixture_of_clean_and_attacked_images():
    """(1 - r) J(x, y) + r J(x_adv, y)."""
    parts = [np.asarray(cross_entropy(logits, Y)) for logits in (CLEAN, ATTACKED)]
    np.testing.assert_allclose(np.asarray(mixture(0.2)(CLEAN, ATTACKED, Y)), 0.8 * parts[0] + 0.2 * parts[1], rtol=1e-6)


def test_pairs_are_of_the_images_and_of_what_was_crafted_from_them(toy_data):
    x, y = batch(toy_data)
    network = contract.undefended()
    objective = on_pairs(network, lambda x, y, rng, training: 1 - x, lambda clean, adversarial, y: clean[:, 0] - adversarial[:, 1])
    values = objective(x, y, Rng.from_seed(0), training=False)
    clean, turned = (np.asarray(network(images)) for images in (x, 1 - x))
    np.testing.assert_allclose(np.asarray(values["loss"]), clean[:, 0] - turned[:, 1], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(values["accuracy"]), clean.argmax(-1) == y)
    np.testing.assert_array_equal(np.asarray(values["adversarial_accuracy"]), turned.argmax(-1) == y)


def test_interval_bounds_come_to_their_weight_and_eps_step_by_step(toy_data):
    """For `warm_up` steps cross-entropy alone; at the end of `ramp` the mean of it and that of the worst logits within eps."""
    x, y = batch(toy_data)
    network, objective, options = caught("ibp_training", eps=0.01, warm_up=2, ramp=4)
    assert options["memory"] == {"steps": 0}
    memory = {"steps": keras.Variable(0.0, trainable=False)}
    for step in range(8):
        loss = np.asarray(objective(x, y, Rng.from_seed(0), training=True, memory=memory)["loss"])
        share = min(max((step - 2) / 4, 0), 1)
        worst = np.asarray(cross_entropy(-margins(network, around(x, share * 0.01), y).lower, y))
        plain = np.asarray(cross_entropy(network(x, training=True), y))
        np.testing.assert_allclose(loss, (1 - share / 2) * plain + share / 2 * worst, rtol=1e-4, atol=1e-6)
    assert float(memory["steps"]) == 8
    held = np.asarray(objective(x, y, Rng.from_seed(0), training=False, memory=memory)["loss"])
    worst = np.asarray(cross_entropy(-margins(network, around(x, 0.01), y).lower, y))
    np.testing.assert_allclose(held, (np.asarray(cross_entropy(network(x), y)) + worst) / 2, rtol=1e-4)


# Updates ---------------------------------------------------------------------------------------------------------------


def stepping(name: str, learning_rate: float, **given):
    """(network, compiled step) of a defence, under plain gradient descent."""
    engine.start(0)
    network, objective, options = caught(name, **given)
    optimizer = keras.optimizers.SGD(learning_rate)
    return network, TrainStep(network, objective, optimizer, update=options.get("update"), memory=options.get("memory"))


def test_free_meets_a_batch_so_often_and_moves_the_images_with_it(toy_data):
    """At rest, the change after m replays is m clipped steps along gradient signs, made here one by one; it waits for the next batch."""
    x, y = batch(toy_data)
    eps, replays = 8 / 255, 3
    network, step = stepping("free", 0.0, eps=eps, replays=replays, start="trained")
    step.train(x, y, Rng.from_seed(0).key)
    assert int(step.optimizer.iterations) == replays
    # What batch normalisation sees is the batch: the gradient is that of the network in training.
    change = np.zeros_like(x)
    for _ in range(replays):
        value = lambda images: (cross_entropy(network(images, training=True), y), None)  # noqa: E731
        gradient = np.asarray(engine.value_and_gradient(value, np.clip(x + change, 0, 1))[2])
        change = np.clip(change + eps * np.sign(gradient), -eps, eps)
    same = np.abs(np.asarray(step.memory["delta"].value) - change) < 1e-6
    assert same.mean() > 0.99  # signs of gradients near 0 are rounded in another way in a graph
    assert np.abs(change).max() == pytest.approx(eps)


@pytest.mark.parametrize("prior", ["batch", "epoch"])
def test_a_step_begins_where_an_earlier_one_ended(toy_data, prior):
    """At rest: from the second epoch on, what was kept of the image, or of the batch before, and eps along the gradient's sign there."""
    (x, y), eps = batch(toy_data), 8 / 255
    x, ball = np.clip(x, 0.1, 0.9), Linf(eps)
    network, step = stepping("fast", 0.0, eps=eps, step_size=0.5, prior=prior, start="trained")
    rows = [np.arange(16), np.arange(16)[::-1] + 20]
    kept = lambda: step.memory["change"].numpy().astype(np.float32)  # noqa: E731
    for epoch in (0, 1):
        for i, mine in enumerate(rows):
            before, places = kept(), mine if prior == "epoch" else np.arange(16)
            begun = x + before[places]
            made = ball.project(begun + 0.5 * eps * np.sign(descent_of_images(network, begun, y)), x) - x
            step.train(x, y, Rng.from_seed(epoch, i).key, Progress.at(epoch, i, 2, 2, mine))
            if epoch:
                assert (np.abs(kept()[places] - made) < 1e-4).mean() > 0.98  # gradients near 0; and halves have 11 bits
            others = np.setdiff1d(np.arange(len(before)), places)
            np.testing.assert_array_equal(kept()[others], before[others])
            assert 0.9 * eps < np.abs(kept()[places]).max() < 1.001 * eps
    assert len(kept()) == {"batch": 16, "epoch": 40}[prior]


def descent_of_images(network, x, y):
    return np.asarray(engine.value_and_gradient(lambda images: (cross_entropy(network(images, training=False), y), None), x)[2])


def test_awp_perturbs_by_a_share_of_each_kernel():
    kernel, bias = (keras.Variable(np.arange(1.0, 1 + np.prod(shape)).reshape(shape), dtype="float32") for shape in ((2, 3), (3,)))
    before = [variable.numpy().copy() for variable in (kernel, bias)]
    gradients = [np.ones((2, 3), np.float32), np.ones(3, np.float32)]
    awp.perturb([kernel, bias], gradients, 0.01)
    moved = kernel.numpy() - before[0]
    assert np.linalg.norm(moved) / np.linalg.norm(before[0]) == pytest.approx(0.01, rel=1e-4)
    np.testing.assert_allclose(moved, moved[0, 0], rtol=1e-3)  # along the gradient
    np.testing.assert_array_equal(bias.numpy(), before[1])


def test_awp_is_undone_and_its_gradient_is_taken_where_the_weights_were_moved(toy_data):
    """After a step of length 1 the weights are what they were, less the gradient at the moved ones; that at rest is another."""
    x, y = batch(toy_data)
    network, step = stepping("awp", 1.0, attack={"name": "fgsm", "eps": 8 / 255}, gamma=0.2, start="trained")
    start, before = network.get_weights(), flattened(network.trainable_variables)
    x_adv = bind_fgsm()(Classifier(network), x, y, Rng.from_seed(0).fold(1))
    step.train(x, y, Rng.from_seed(0).key)
    fallen = before - flattened(network.trainable_variables)
    network.set_weights(start)
    resting = descent(network, x_adv, y)
    awp.perturb(network.trainable_variables, resting, 0.2)
    moved = flattened(descent(network, x_adv, y))
    np.testing.assert_allclose(fallen, moved, atol=2e-3 * np.abs(moved).max())
    assert np.linalg.norm(moved - flattened(resting)) > 0.1 * np.linalg.norm(moved)


def flattened(values) -> np.ndarray:
    return np.concatenate([np.asarray(value).ravel() for value in values])


def bind_fgsm() -> Attack:
    return Attack(registry.get("attacks", "fgsm"), Linf(8 / 255), {})


def descent(network, x, y):
    """The gradient of the mean cross-entropy in training, with respect to all trainable weights."""
    with engine.tf.GradientTape() as tape:
        loss = ops.mean(cross_entropy(network(x, training=True), y))
    return tape.gradient(loss, [weight.value for weight in network.trainable_variables])


def test_one_step_from_a_random_start(network, images):
    """Twice eps brings every pixel to the side that the gradient at the start says; less leaves it inside."""
    ball, y = Linf(8 / 255), victims.labels().astype(np.int32)
    start = ball.sample(images, Rng.from_seed(4))
    gradient = np.asarray(network.gradient(cross_entropy, start, y))
    far = np.asarray(one_step(network, images, y, start, ball, 2.0))
    same = np.abs(far - ball.project(images + ball.eps * np.sign(gradient), images)) < 1e-6
    assert same.mean() > 0.99
    near = np.asarray(one_step(network, images, y, start, ball, 0.25))
    assert np.abs(near - images).max() <= ball.eps + 1e-6
    assert (np.abs(near - images) < 0.9 * ball.eps).mean() > 0.5


def test_a_step_and_its_noise_may_leave_the_ball(network, images):
    """N-FGSM: x + eta + eps sgn(g), eta from a cube of twice eps; only the image box holds it."""
    ball, y = Linf(8 / 255), victims.labels().astype(np.int32)
    start = np.asarray(Linf(16 / 255).sample(images, Rng.from_seed(4)))
    gradient = np.asarray(network.gradient(cross_entropy, start, y))
    x_adv = np.asarray(one_step(network, images, y, start, ball, 1.0, project=False))
    same = np.abs(x_adv - np.clip(start + ball.eps * np.sign(gradient), 0, 1)) < 1e-6
    assert same.mean() > 0.99
    moved = np.abs(x_adv - images)
    assert 2.5 * ball.eps < moved.max() <= 3 * ball.eps + 1e-6
    assert (moved > ball.eps).mean() > 0.3


@pytest.mark.parametrize("name", ["adversarial_training", "fast", "trades"])
def test_a_defence_may_begin_with_the_trained_weights(name):
    given = contract.undefended()
    for start, same in (("trained", True), ("fresh", False)):
        network = caught(name, start=start)[0]
        assert network is not given
        pairs = zip(network.trainable_variables, given.trainable_variables, strict=True)
        assert all(np.array_equal(new.numpy(), old.numpy()) for new, old in pairs) is same
