"""The contract of every attack in the registry: a new file in advrun/attacks/ is tested here without another edit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from advrun import Classifier, attacks, engine, registry
from advrun.attack import Attack
from advrun.config.entries import settings_of
from advrun.craft import craft
from advrun.engine import Rng
from advrun.errors import ConfigError, DataError
from advrun.geometry import GEOMETRIES

from .conftest import CLASSES, IMAGE_SHAPE, boundary_distances, linear_classifier

EPS = {"linf": 0.06, "l2": 0.6, "l1": 6.0, "l0": 12.0}
BATCH = 5  # with 8 images to attack: a full batch, and a ragged one
BRIEF: dict[str, dict[str, Any]] = {
    "zoo": {"queries": 3000},
    "substitute": {"rounds": 1, "epochs": 2},
    "transfer": {"epochs": 2},
    "patch": {"steps": 50, "share": 0.4},
}
SURROGATES = ("transfer", "substitute")  # what they craft must work on another model: that is tested in tests/attacks/test_transfer.py
ATTACKS = [(name, norm) for name in registry.names("attacks") for norm in registry.get("attacks", name).norms or ("",)]


def geometry(name: str, norm: str):
    if not norm:
        return None
    return GEOMETRIES[norm](EPS[norm]) if registry.get("attacks", name).needs_eps else GEOMETRIES[norm]()


def bound(name: str, norm: str) -> Attack:
    plugin = registry.get("attacks", name)
    brief = BRIEF.get(name, {"queries": 400} if "queries" in plugin.settings else {})
    return Attack(plugin, geometry(name, norm), settings_of(plugin, brief))


def contract_cases():
    """Every attack in its first norm; in its other norms when there is time. The closed forms below are always tried in all norms."""
    for name, norm in ATTACKS:
        marks = () if norm in registry.get("attacks", name).norms[:1] or not norm else (pytest.mark.slow,)
        yield pytest.param((name, norm), id="-".join(filter(None, (name, norm))), marks=marks)


@pytest.fixture(params=contract_cases())
def attack(request) -> Attack:
    return bound(*request.param)


@pytest.fixture
def labels(network, images):
    """True classes as the network sees them, but for the first two images, which it gets wrong."""
    y = network.predict(images).argmax(-1)
    y[:2] = (y[:2] + 1) % CLASSES
    return y


@pytest.fixture(scope="module")
def blind(network):
    """The network with its input rounded to eleven grey levels: every gradient is zero."""
    inputs = engine.keras.Input(IMAGE_SHAPE)
    return Classifier(engine.keras.Model(inputs, network.model(engine.ops.round(inputs * 10) / 10)))


class View:
    """A classifier that answers only what the annotation of `model` allows, and only when told which images are meant."""

    def __init__(self, classifier: Any, allowed: set[str], images: int) -> None:
        self.classifier, self.allowed, self.images = classifier, allowed, images

    def __getattr__(self, name: str) -> Any:
        assert name in self.allowed, f"`model` is annotated with less than `{name}`: see advrun/system/classifier.py"
        value = getattr(self.classifier, name)
        if name not in ("logits", "labels", "succeeds", "value_and_gradient", "gradient", "jacobian"):
            return value

        def ask(*arguments, **named):
            x = next(each for each in arguments if hasattr(each, "shape"))
            n, meant = x.shape[0], self.images  # None within a compiled `repeat_undecided`
            fits = n is meant if None in (n, meant) else n % meant == 0
            assert fits, f"{n} images for {meant}: inside `repeat_undecided` ask `model.part(rows)`"
            return value(*arguments, **named)

        return ask

    def part(self, rows):
        return View(self.classifier.part(rows), self.allowed, rows.shape[0])


def run(attack: Attack, classifier, x, y, **options):
    return craft(classifier, attack, x, y, **{"batch_size": BATCH, **options}).x_adv


def test_box_ball_and_numbers(attack, network, images, labels):
    """`craft` raises when an attack leaves the box or the ball; here images at the box's corners try it."""
    x = np.concatenate([images, np.zeros_like(images[:2]), np.ones_like(images[:2])])
    y = np.concatenate([labels, network.predict(x[-4:]).argmax(-1)])
    x_adv = run(attack, network, x, y)
    assert x_adv.dtype == np.float32
    assert x_adv.shape == x.shape
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1


def test_it_attacks(attack, network, images, labels):
    if attack.plugin.name in SURROGATES:
        pytest.skip("ten images do not make a surrogate")
    assert network.accuracy(run(attack, network, images, labels), labels) < network.accuracy(images, labels)


def test_misclassified_images_are_left_alone(attack, network, images, labels):
    x_adv = run(attack, network, images, labels)
    np.testing.assert_array_equal(x_adv[:2], images[:2])
    everything = craft(network, attack, images, labels, batch_size=BATCH, only_correct=False)
    assert everything.attacked.all()


def test_one_image(attack, network, images, labels):
    assert run(attack, network, images[2:3], labels[2:3]).shape == images[2:3].shape


def test_same_seed_same_images(attack, network, images, labels):
    np.testing.assert_array_equal(*(run(attack, network, images, labels, seed=4) for _ in range(2)))


def test_eager_equals_compiled(attack, network, images, labels):
    if attack.plugin.is_cascade:
        pytest.skip("its stages are tested one by one")
    if attack.plugin.name == "brendel_bethge":
        pytest.skip("iterates lie on the boundary: rounding decides which succeed; a step is tested in tests/attacks/test_library.py")
    x, y = images[2:6], labels[2:6].astype(np.int32)
    few = {name: 2 for name in attack.plugin.settings if "steps" in name} | {
        name: 20 for name in attack.plugin.settings if name == "queries"
    }
    brief = Attack(attack.plugin, attack.geometry, {**attack.settings, **few})
    fitted = brief.fit(network, images, labels, 0)

    def call(x, y, key):
        return brief(network, x, y, Rng(key), fitted=fitted)

    key = Rng.from_seed(0).key
    x, y = engine.tf.constant(x), engine.tf.constant(y)
    # FAB ends on the boundary itself: which of its last points still counts as beyond it is a matter of rounding.
    tolerance = 5e-4 if attack.plugin.name == "fab" else 2e-5
    message = "compiled it differs from what it is eagerly: is all randomness from `rng`, and drawn from `rng.fold(i)` inside loops?"
    np.testing.assert_allclose(call(x, y, key), engine.compiled(call)(x, y, key), atol=tolerance, err_msg=message)


@pytest.mark.parametrize("jit", ["off", "on"])
def test_it_asks_what_its_view_allows_and_says_which_images_are_meant(attack, network, images, labels, jit, monkeypatch):
    """Batches of undecided images shrink to one here, of unknown and of known sizes; what is asked for them must be counted for them."""
    if attack.plugin.is_cascade or attack.plugin.fit:
        pytest.skip("asks nothing itself")
    monkeypatch.setattr(engine.loops, "SMALLEST_BATCH", 1)
    monkeypatch.setattr(engine.backend, "_xla", jit)
    view = attack.plugin.arguments["model"]
    allowed = {name for kind in view.__mro__ for name in (*vars(kind), *getattr(kind, "__annotations__", ()))}
    few = {"queries": 20} if "queries" in attack.plugin.settings else {}
    brief = Attack(attack.plugin, attack.geometry, {**attack.settings, **few})

    def call(x, y, key):
        return brief(View(network, allowed, x.shape[0]), x, y, Rng(key))

    x, y = engine.tf.constant(images[2:8]), engine.tf.constant(labels[2:8].astype(np.int32))
    engine.compiled(call, xla=False).get_concrete_function(x, y, Rng.from_seed(0).key)


def test_one_trace_for_all_batches_and_every_eps(attack, images):
    if attack.plugin.is_cascade:
        pytest.skip("its stages are tested one by one")
    fresh = linear_classifier(CLASSES, seed=5)
    y = fresh.predict(images).argmax(-1)
    run(attack, fresh, images, y, batch_size=4)
    if attack.plugin.needs_eps:
        run(Attack(attack.plugin, type(attack.geometry)(attack.eps / 2), attack.settings), fresh, images, y, batch_size=4)
    compiled = fresh._runs[(attack.key, 1.0)]
    assert engine.traces(compiled) == 1


def test_targeted_form_reaches_the_target(attack, network, images, labels):
    if not attack.plugin.can_target:
        with pytest.raises(ConfigError, match="targeted"):
            getattr(attacks, attack.plugin.name)(network, images, labels, attack.geometry, target="second")
        return
    if attack.plugin.name in SURROGATES:
        pytest.skip("ten images do not make a surrogate")
    wide = attack if not attack.plugin.needs_eps else Attack(attack.plugin, type(attack.geometry)(4 * attack.eps), attack.settings)
    crafted = craft(network, wide, images, labels, batch_size=BATCH, target="second")
    before = (network.predict(images).argmax(-1) == crafted.target)[crafted.attacked]
    after = (network.predict(crafted.x_adv).argmax(-1) == crafted.target)[crafted.attacked]
    assert not before.any()
    assert after.mean() >= (0.25 if attack.plugin.name in HEURISTICS else 0.5)


@pytest.fixture
def one_chance_for_all(monkeypatch):
    """Random numbers that are the same for every image, so that an image meets its own in any batch."""

    def for_one(draw):
        def drawn(rng, shape, *arguments):
            n, *rest = shape
            return engine.ops.repeat(draw(rng, (1, *rest), *arguments), n, axis=0)

        return drawn

    for name in ("uniform", "normal", "integers"):
        monkeypatch.setattr(Rng, name, for_one(getattr(Rng, name)))
    from_seed = Rng.from_seed
    monkeypatch.setattr(Rng, "from_seed", lambda seed, *numbers: from_seed(seed))  # numbers: the first image of a batch


@pytest.mark.usefixtures("one_chance_for_all")
def test_an_image_costs_the_same_whatever_the_others_cost(attack, network, images, labels):
    """What is done is asked about no more, however long the rest of the batch takes, and moves no more."""
    plugin = attack.plugin
    if plugin.is_cascade or plugin.fit or "starts" in plugin.arguments:
        pytest.skip("takes another way in another batch, or learns from others")
    if attack.settings.get("abort_early") or plugin.in_python:
        pytest.skip("ends when the batch's loss stalls, or when rounding lets SciPy's line search end")
    few = {"queries": 60} if "queries" in plugin.settings else {}
    most = plugin.cost({**attack.settings, **few})
    soon_later_never = [type(attack.geometry)(share * attack.eps) for share in (1, 0.3, 0.01)] if plugin.needs_eps else [attack.geometry]
    for ball in soon_later_never:
        brief = Attack(plugin, ball, {**attack.settings, **few})
        together, alone = (craft(network, brief, images, labels, batch_size=size) for size in (len(images), 1))
        same = (together.gradients == alone.gradients) & (together.queries == alone.queries)
        if plugin.needs_eps:  # without, Adam makes steps of what rounding leaves of a gradient of zero
            same &= np.abs(together.x_adv - alone.x_adv).max((1, 2, 3)) < 1e-3
        assert same[together.attacked].mean() > 0.8, f"in {ball}; batches of other sizes round differently, which moves one image at most"
        assert together.gradients.max() <= most.gradients
        assert together.queries.max() <= most.queries


def test_what_it_asks_of_the_model_is_counted_and_announced(attack, network, images, labels):
    crafted = craft(network, attack, images, labels, batch_size=BATCH)
    asked, most = crafted.attacked, attack.plugin.cost(attack.settings)
    if attack.plugin.fit:  # what fitting asks is asked once, not for each image
        assert not (crafted.gradients + crafted.queries).any()
        return
    announced = "the file's function `cost`, or its setting `queries`, says what it asks for one image, at most"
    uses = (crafted.gradients[asked] >= 1).all()
    assert uses == (attack.plugin.access == "gradients"), f"`model` is annotated with {attack.plugin.access}; gradients asked: {uses}"
    assert crafted.gradients.max() <= most.gradients, announced
    assert crafted.queries.max() <= most.queries, announced
    assert not (crafted.gradients + crafted.queries)[~asked].any()
    assert (crafted.gradients + crafted.queries)[asked].all() == (attack.plugin.access != "blind")


@pytest.mark.parametrize("queries", [1, 7, 60])
def test_the_query_budget_is_never_exceeded(attack, network, images, labels, queries):
    if "queries" not in attack.plugin.settings:
        pytest.skip("has no query budget")
    brief = Attack(attack.plugin, attack.geometry, {**attack.settings, "queries": queries})
    crafted = craft(network, brief, images, labels, batch_size=BATCH)
    assert crafted.queries.max() <= queries
    assert crafted.queries[crafted.attacked].min() >= 1


def test_bad_input_is_refused(attack, network, images, labels):
    for x, y in (
        (images * np.nan, labels),
        (images + 1, labels),
        (images[:0], labels[:0]),
        (images, labels + CLASSES),
        (images, labels[:3]),
    ):
        with pytest.raises(DataError):
            run(attack, network, x, y)
    public = getattr(attacks, attack.plugin.name)
    with pytest.raises(ConfigError, match="unknown setting"):
        public(network, images, labels, attack.geometry, no_such_setting=1)
    for setting in (name for name, each in attack.plugin.settings.items() if each.annotation is not str):
        with pytest.raises(ConfigError, match=f"{setting}: got 'many'"):
            public(network, images, labels, attack.geometry, **{setting: "many"})
    if attack.plugin.can_target:
        with pytest.raises(ConfigError, match="target"):
            public(network, images, labels, attack.geometry, target=CLASSES)


def test_it_works_with_two_classes(attack, images):
    two = linear_classifier(2, seed=8)
    y = two.predict(images).argmax(-1)
    x_adv = run(attack, two, images, y)
    assert two.accuracy(x_adv, y) < 1 or attack.plugin.access == "blind" or attack.plugin.name in SURROGATES


def test_zero_gradients_and_flat_images_give_no_nan(attack, blind, images):
    """A model behind a step function: `craft` would refuse NaN, and images outside box or ball."""
    x = np.concatenate([images[:3], np.full_like(images[:1], 0.5), np.zeros_like(images[:1])])
    y = blind.predict(x).argmax(-1)
    assert craft(blind, attack, x, y, batch_size=BATCH).attacked.all()


def test_documentation(attack):
    """The file names its paper, every setting is explained, and the presets fit the signature."""
    source = attack.plugin.path.read_text()
    assert "arXiv:" in source or "doi:" in source, f"{attack.plugin.path} names no paper: arXiv:NUMBER or doi:NUMBER"
    for setting in attack.plugin.settings.values():
        assert setting.help, f"setting {setting.name!r} has no line under Args: in the docstring"
        assert not setting.required, f"setting {setting.name!r} has no default"
    for preset in attack.plugin.presets:
        settings_of(attack.plugin, {"preset": preset})


# Closed form: a linear classifier, whose distances are known ---------------------------------------------------------


HEURISTICS: dict[str, float] = {
    "newtonfool": 1.05,  # goes down the probability of the true class, not towards the nearest boundary
    "ead": 1.4,  # minimises the elastic net, at the paper's beta far from L1 alone
    "lbfgs": 1.05,  # goes to the likeliest class, not to the nearest
    "tifgsm": 3.0,  # blurs the gradient, here of weights that are noise
}
"""Attacks whose paper does not promise the nearest boundary, and the ratio that they reach with two classes: one boundary."""
EVERY_FREQUENCY = {"geoda": {"frequencies": 1.0}}  # it looks at low ones by default; the weights of the linear victim are noise
WHITE_BOX = [pair for pair in ATTACKS if registry.get("attacks", pair[0]).access == "gradients"]
INSIDE_A_BALL = [pair for pair in WHITE_BOX if registry.get("attacks", pair[0]).needs_eps and not registry.get("attacks", pair[0]).fit]
MINIMAL_NORM = [pair for pair in WHITE_BOX if pair[1] and not registry.get("attacks", pair[0]).needs_eps]
BY_DECISIONS = [pair for pair in ATTACKS if pair[1] and registry.get("attacks", pair[0]).access == "decisions"]
DECISIONS = [pair for pair in BY_DECISIONS if "queries" in registry.get("attacks", pair[0]).settings]


def well_inside(classifier, images):
    """Images near mid-grey, moved into their class: far from every boundary, which lies far inside the box."""
    x = 0.5 + (images - 0.5) * 0.2
    weights = classifier.model.layers[-1].get_weights()[0]
    own = weights[:, classifier.predict(x).argmax(-1)] - weights.mean(1, keepdims=True)
    return (x + 0.6 * (own / np.linalg.norm(own, axis=0)).T.reshape(x.shape)).astype(np.float32)


@pytest.mark.parametrize(("name", "norm"), INSIDE_A_BALL)
def test_ball_attacks_succeed_from_the_true_distance_on(name, norm, images):
    """With two classes the gradient points at the only boundary: 2 % less than the distance must fail, 5 % more succeed."""
    enough = HEURISTICS.get(name, 1.05)
    two = linear_classifier(2, seed=8)
    grey = well_inside(two, images)
    y = two.predict(grey).argmax(-1)
    distances = boundary_distances(two, grey, GEOMETRIES[norm].order)
    for x, label, distance in zip(grey, y, distances, strict=True):
        for factor, accuracy in ((0.98, 1), (enough, 0)):
            x_adv = getattr(attacks, name)(two, x[None], label[None], GEOMETRIES[norm](float(distance * factor)))
            assert two.accuracy(x_adv, label[None]) == accuracy


@pytest.mark.parametrize(("name", "norm"), MINIMAL_NORM)
def test_minimal_norm_attacks_find_the_true_distance(name, norm, linear, images):
    victim = linear_classifier(2, seed=8) if name in HEURISTICS else linear
    found, true = distances_found(name, norm, victim, images)
    assert (found / true).min() >= 0.999
    ratio = HEURISTICS.get(name, 1.05)
    assert (found <= np.maximum(ratio * true, true + (norm == "l0"))).all()  # L0 counts: one value more is the next number


@pytest.mark.parametrize(("name", "norm"), DECISIONS)
def test_decision_based_attacks_come_near_the_true_distance(name, norm, linear, images):
    found, true = distances_found(name, norm, linear, images, queries=5000, **EVERY_FREQUENCY.get(name, {}))
    assert (found / true).min() >= 0.999
    assert (found / true).max() <= 1.25


def distances_found(name, norm, victim, images, **settings):
    """Distances (n,) of the adversarial images of an attack, which must all succeed, and the true ones."""
    grey = well_inside(victim, images)
    y = victim.predict(grey).argmax(-1)
    x_adv = getattr(attacks, name)(victim, grey, y, GEOMETRIES[norm](), **settings)
    assert victim.accuracy(x_adv, y) == 0
    return np.asarray(GEOMETRIES[norm].distance(x_adv, grey)), boundary_distances(victim, grey, GEOMETRIES[norm].order)
