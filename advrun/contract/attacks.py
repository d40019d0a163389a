"""What every attack promises. A promise is tried with an `Attack` (a norm, an eps, brief settings) on the models of `victims.py`.

That an attack finds the true distance to a boundary is tried in `distances.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from unittest.mock import patch

import numpy as np

from advrun import attacks, engine
from advrun.attack import Attack
from advrun.config.entries import settings_of
from advrun.contract import distances, victims
from advrun.contract.promise import Inapplicable, Promise, documented, exceptions, hold, names_its_source
from advrun.contract.victims import CLASSES
from advrun.craft import Crafted, craft
from advrun.engine import Rng
from advrun.errors import AdvrunError, ConfigError, DataError
from advrun.geometry import GEOMETRIES
from advrun.registry import Plugin
from advrun.system import Blind

EPS = {"linf": 0.06, "l2": 0.6, "l1": 6.0, "l0": 12.0}
BATCH = 5
"""With 8 images to attack: a full batch, and a ragged one."""


def cases(plugin: Plugin, given: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Promise, ...], Attack]]:
    """(name of the norm, promises, attack) in every norm."""
    for norm in plugin.norms or ("",):
        yield norm, (*PROMISES, distances.true_distance), bound(plugin, norm, given)


def bound(plugin: Plugin, norm: str, given: Mapping[str, Any] | None = None) -> Attack:
    """The attack in one norm, with few queries, or the settings that its file's CONTRACT gives for a trial."""
    brief = exceptions(plugin).get("settings", {"queries": 400} if "queries" in plugin.settings else {})
    ball = GEOMETRIES[norm] if norm else None
    geometry = None if ball is None else ball(EPS[norm]) if plugin.needs_eps else ball()
    return Attack(plugin, geometry, settings_of(plugin, {**brief, **(given or {})}))


def run(attack: Attack, classifier: Any = None, x: Any = None, y: Any = None, **options: Any) -> Crafted:
    """Craft on the network of the victims, in batches that are not all full."""
    x, y = victims.images() if x is None else x, victims.labels() if y is None else y
    return craft(classifier or victims.network(), attack, x, y, **{"batch_size": BATCH, **options})


def changed(attack: Attack, **settings: Any) -> Attack:
    """The attack with some of those settings that it has changed."""
    settings = {name: value for name, value in settings.items() if name in attack.settings}
    return Attack(attack.plugin, attack.geometry, {**attack.settings, **settings})


def resized(attack: Attack, factor: float) -> Attack:
    """The attack in a larger or smaller ball, of the next radius that there is: in L0, one value at least."""
    if not attack.plugin.needs_eps or attack.geometry is None:
        return attack
    radius = float(attack.geometry.possible(factor * attack.eps, victims.images()))
    return Attack(attack.plugin, attack.geometry.resized(radius), attack.settings)


def needs_more_images(attack: Attack) -> bool:
    """True for attacks that train a model of their own: ten images do not make one."""
    return bool(exceptions(attack.plugin).get("surrogate", False))


# Images ---------------------------------------------------------------------------------------------------------------


def box_ball_and_numbers(attack: Attack) -> None:
    """`craft` raises where an attack leaves the box or the ball, or gives NaN; images at the box's corners try it too."""
    images = victims.images()
    x = np.concatenate([images, np.zeros_like(images[:2]), np.ones_like(images[:2])])
    y = np.concatenate([victims.labels(), victims.network().predict(x[-4:]).argmax(-1)])
    x_adv = run(attack, x=x, y=y).x_adv
    hold(x_adv.dtype == np.float32 and x_adv.shape == x.shape, f"images came back as {x_adv.dtype} {x_adv.shape}; expected {x.shape}")


def it_fools_the_model(attack: Attack) -> None:
    """Fewer images are right than before."""
    if needs_more_images(attack):
        raise Inapplicable("ten images do not make a surrogate")
    network, y = victims.network(), victims.labels()
    before, after = (network.accuracy(x, y) for x in (victims.images(), run(attack).x_adv))
    hold(after < before, f"{after:.0%} are right after it and {before:.0%} before it: it fooled the model on no image")


def misclassified_images_are_left_alone(attack: Attack) -> None:
    """What is wrong already comes back as it was, unless all images are asked for."""
    x_adv = run(attack).x_adv
    hold((x_adv[:2] == victims.images()[:2]).all(), "images that were misclassified before it were changed")
    hold(run(attack, only_correct=False).attacked.all(), "with only_correct=False some images were left out")


def a_single_image_works(attack: Attack) -> None:
    """A batch of one."""
    x = victims.images()[2:3]
    hold(run(attack, x=x, y=victims.labels()[2:3]).x_adv.shape == x.shape, "a batch of one image came back in another shape")


def the_same_seed_gives_the_same_images(attack: Attack) -> None:
    """All randomness is drawn from `rng`."""
    first, second = (run(attack, seed=4).x_adv for _ in range(2))
    hold((first == second).all(), "two runs with one seed differ: draw everything random from `rng`")


def two_classes_are_enough(attack: Attack) -> None:
    """A model that tells two classes apart."""
    two, x = victims.linear_classifier(2, seed=8), victims.images()
    y = two.predict(x).argmax(-1)
    fooled = two.accuracy(run(attack, two, x, y).x_adv, y) < 1
    hold(fooled or attack.plugin.access == "blind" or needs_more_images(attack), "it fools no image of a model with two classes")


def zero_gradients_and_flat_images_give_no_nan(attack: Attack) -> None:
    """A model behind a step function: `craft` would refuse NaN, and images outside of box or ball."""
    images, blind = victims.images(), victims.blind()
    x = np.concatenate([images[:3], np.full_like(images[:1], 0.5), np.zeros_like(images[:1])])
    y = blind.predict(x).argmax(-1)
    hold(run(attack, blind, x, y).attacked.all(), "some images were not attacked")


def the_targeted_form_reaches_its_target(attack: Attack) -> None:
    """In a ball four times as wide half of the images reach the second class; of an attack that its file calls a heuristic, a quarter."""
    plugin = attack.plugin
    if not plugin.can_target:
        refused(ConfigError, "targeted", attack, target="second")
        return
    if needs_more_images(attack):
        raise Inapplicable("ten images do not make a surrogate")
    crafted, network = run(resized(attack, 4), target="second"), victims.network()
    before, after = ((network.predict(x).argmax(-1) == crafted.target)[crafted.attacked].mean() for x in (victims.images(), crafted.x_adv))
    hold(before == 0, "images that were of the target class already were attacked")
    enough = 0.25 if "ratio" in exceptions(plugin) else 0.5
    hold(after >= enough, f"{after:.0%} of the images reached their target; expected {enough:.0%}")


# The graph ------------------------------------------------------------------------------------------------------------


def compiled_it_equals_what_it_is_eagerly(attack: Attack) -> None:
    """As one graph and operation by operation: the same images."""
    plugin = attack.plugin
    if plugin.is_cascade:
        raise Inapplicable("its stages are tried one by one")
    tolerance = exceptions(plugin).get("rounding", 2e-5)
    if tolerance is None:
        raise Inapplicable("rounding decides which of its iterates succeed, as CONTRACT says")
    few = changed(attack, **{name: 2 for name in plugin.settings if "steps" in name}, queries=20)
    fitted = few.fit(victims.network(), victims.images(), victims.labels(), 0)

    def call(x: Any, y: Any, key: Any) -> Any:
        return few(victims.network(), x, y, Rng(key).of(x), fitted=fitted)

    key = Rng.from_seed(0).key
    x, y = engine.tf.constant(victims.images()[2:6]), engine.tf.constant(victims.labels()[2:6].astype(np.int32))
    apart = float(np.abs(np.asarray(call(x, y, key)) - np.asarray(engine.compiled(call)(x, y, key))).max())
    hold(apart <= tolerance, f"compiled it differs by {apart:g}: is all randomness from `rng`, and drawn from `rng.fold(i)` inside loops?")


def one_graph_serves_all_batches_and_every_eps(attack: Attack) -> None:
    """It is traced once."""
    if attack.plugin.is_cascade:
        raise Inapplicable("its stages are tried one by one")
    fresh = victims.linear_classifier(CLASSES, seed=5)
    y = fresh.predict(victims.images()).argmax(-1)
    for each in (attack, resized(attack, 0.5)):
        run(each, fresh, y=y, batch_size=4)
    traces = engine.traces(fresh._runs[(attack.key, 1.0)])
    hold(traces == 1, f"it was traced {traces} times: Python must not depend on ball.eps, nor on the number of images")


# What is asked --------------------------------------------------------------------------------------------------------


class _Narrow:
    """A classifier that answers only what the annotation of `model` allows, and only when told which images are meant."""

    def __init__(self, classifier: Any, allowed: set[str], images: int) -> None:
        self.classifier, self.allowed, self.images = classifier, allowed, images

    def __getattr__(self, name: str) -> Any:
        hold(name in self.allowed, f"`model` is annotated with less than `{name}`: see advrun/system/classifier.py")
        value = getattr(self.classifier, name)
        if name not in ("logits", "labels", "succeeds", "value_and_gradient", "gradient", "jacobian"):
            return value

        def ask(*arguments: Any, **named: Any) -> Any:
            x = next(each for each in arguments if hasattr(each, "shape"))
            n, meant = x.shape[0], self.images  # None within a compiled `repeat_undecided`
            fits = n is meant if None in (n, meant) else n % meant == 0
            hold(fits, f"{n} images for {meant}: inside `repeat_undecided` ask `model.part(rows)`")
            return value(*arguments, **named)

        return ask

    def part(self, rows: Any) -> _Narrow:
        return _Narrow(self.classifier.part(rows), self.allowed, rows.shape[0])


def it_asks_what_its_view_allows_and_says_which_images_are_meant(attack: Attack) -> None:
    """Batches of undecided images shrink to one here, of unknown and of known sizes; what is asked for them must be counted for them."""
    plugin = attack.plugin
    if plugin.is_cascade or plugin.fit:
        raise Inapplicable("asks nothing itself")
    view = plugin.arguments["model"]
    allowed = {name for kind in view.__mro__ for name in (*vars(kind), *getattr(kind, "__annotations__", ()))}
    few = changed(attack, queries=20)

    def call(x: Any, y: Any, key: Any) -> Any:
        return few(_Narrow(victims.network(), allowed, x.shape[0]), x, y, Rng(key).of(x))

    x, y = engine.tf.constant(victims.images()[2:8]), engine.tf.constant(victims.labels()[2:8].astype(np.int32))
    for jit in ("off", "on"):
        with patch.object(engine.loops, "SMALLEST_BATCH", 1), patch.object(engine.backend, "_xla", jit):
            graph: Any = engine.compiled(call, xla=False)
            graph.get_concrete_function(x, y, Rng.from_seed(0).key)


def an_image_costs_the_same_whatever_the_others_cost(attack: Attack) -> None:
    """What is done is asked about no more, however long the rest of the batch takes, and moves no more."""
    plugin = attack.plugin
    if plugin.is_cascade or plugin.fit:
        raise Inapplicable("its stages are tried one by one, or it learns from others")
    if attack.settings.get("abort_early") or plugin.in_python or "starts" in plugin.arguments:
        raise Inapplicable(
            "rounding, other in other batches, decides when a loss stalls, a line search ends, or on which side an image lies"
        )
    few = changed(attack, queries=60)
    most = plugin.cost(few.settings)
    for share in (1, 0.3, 0.01) if plugin.needs_eps else (1,):  # soon, later, never
        brief = resized(few, share)
        together, alone = (run(brief, batch_size=size) for size in (len(victims.images()), 1))
        same = (together.gradients == alone.gradients) & (together.queries == alone.queries)
        if plugin.needs_eps:  # without, Adam makes steps of what rounding leaves of a gradient of zero
            same &= np.abs(together.x_adv - alone.x_adv).max((1, 2, 3)) < 1e-3
        agree = same[together.attacked].mean()  # batches of other sizes round differently, which moves one image at most
        hold(agree > 0.8, f"in {brief.geometry} only {agree:.0%} of the images cost and became in a batch what they do alone")
        within = together.gradients.max() <= most.gradients and together.queries.max() <= most.queries
        hold(within, f"it asked more than the {most} that it announces")


def what_it_asks_is_counted_and_announced(attack: Attack) -> None:
    """The file's function `cost`, or its setting `queries`, says what it asks for one image, at most."""
    plugin, crafted = attack.plugin, run(attack)
    asked, most, total = crafted.attacked, plugin.cost(attack.settings), crafted.gradients + crafted.queries
    if plugin.fit and plugin.arguments["model"] is Blind:
        hold(not total.any(), "what fitting asks is asked once, not for each image")
        return
    uses = bool((crafted.gradients[asked] >= 1).all())
    hold(uses == (plugin.access == "gradients"), f"`model` is annotated with {plugin.access}; gradients asked: {uses}")
    announced = f"it announces {most or 'nothing'} for an image, and asked up to"
    hold(crafted.gradients.max() <= most.gradients, f"{announced} {crafted.gradients.max()} gradients: its function `cost` says so")
    hold(crafted.queries.max() <= most.queries, f"{announced} {crafted.queries.max()} queries: its function `cost` says so")
    hold(not total[~asked].any(), "it asked about images that were not attacked")
    hold(total[asked].all() == (plugin.access != "blind"), "it asked nothing about some of the images")


def the_query_budget_is_never_exceeded(attack: Attack) -> None:
    """A setting called `queries` is a hard limit for each image."""
    if "queries" not in attack.plugin.settings:
        raise Inapplicable("has no query budget")
    for queries in (1, 7, 60):
        crafted = run(changed(attack, queries=queries))
        hold(crafted.queries.max() <= queries, f"with queries={queries} it asked {crafted.queries.max()}")
        hold(crafted.queries[crafted.attacked].min() >= 1, f"with queries={queries} it asked nothing about some of the images")


# Words ----------------------------------------------------------------------------------------------------------------


def refused(kind: type[AdvrunError], part: str, attack: Attack, /, **options: Any) -> None:
    """Broken unless the call from Python is refused by an error of this kind that says `part`."""
    public = getattr(attacks, attack.plugin.name)
    try:
        public(victims.network(), victims.images(), victims.labels(), attack.geometry, **options)
    except kind as error:
        hold(part in str(error), f"{options} is refused without saying {part!r}: {error}")
    else:
        hold(False, f"{options} is not refused")


def bad_input_is_refused(attack: Attack) -> None:
    """Images, labels and settings that cannot be meant."""
    images, labels = victims.images(), victims.labels()
    for what, x, y in (
        ("NaN", images * np.nan, labels),
        ("pixels above 1", images + 1, labels),
        ("no images", images[:0], labels[:0]),
        ("classes that are not there", images, labels + CLASSES),
        ("too few labels", images, labels[:3]),
    ):
        try:
            run(attack, x=x, y=y)
        except DataError:
            continue
        hold(False, f"{what} were not refused")
    refused(ConfigError, "unknown setting", attack, no_such_setting=1)
    for setting in (name for name, each in attack.plugin.settings.items() if each.annotation is not str and not each.is_file):
        refused(ConfigError, f"{setting}: got 'many'", attack, **{setting: "many"})
    if attack.plugin.can_target:
        refused(ConfigError, "target", attack, target=CLASSES)


def it_is_documented(attack: Attack) -> None:
    """The file names its paper, every setting is explained and has a default, and the presets fit the signature."""
    names_its_source(attack.plugin)
    documented(attack.plugin)
    for setting in attack.plugin.settings.values():
        hold(not setting.required, f"setting {setting.name!r} has no default")


PROMISES: tuple[Promise, ...] = (
    it_is_documented,
    box_ball_and_numbers,
    it_fools_the_model,
    misclassified_images_are_left_alone,
    a_single_image_works,
    the_same_seed_gives_the_same_images,
    compiled_it_equals_what_it_is_eagerly,
    it_asks_what_its_view_allows_and_says_which_images_are_meant,
    one_graph_serves_all_batches_and_every_eps,
    the_targeted_form_reaches_its_target,
    an_image_costs_the_same_whatever_the_others_cost,
    what_it_asks_is_counted_and_announced,
    the_query_budget_is_never_exceeded,
    bad_input_is_refused,
    two_classes_are_enough,
    zero_gradients_and_flat_images_give_no_nan,
)
