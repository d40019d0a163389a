"""An oracle under attack: on the grid of 8 bits, inside the ball, asked about nothing that is not wanted, and with no gradients."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from advrun import L2, Linf, Oracle, attacks, registry
from advrun.attack import Attack
from advrun.config.entries import settings_of
from advrun.craft import Crafted, craft
from advrun.errors import ConfigError, DataError, ModelError
from advrun.models.tf_serving import tf_serving
from advrun.serve import Served, serving
from advrun.system import BlackBox
from advrun.system.oracle import Limits
from advrun.system.vocabulary import OTHER, of_clean_answers, of_labels


def attack(name: str, geometry=None, **settings) -> Attack:
    plugin = registry.get("attacks", name)
    return Attack(plugin, geometry, settings_of(plugin, settings))


SOME = [
    attack("square", Linf(24 / 255), queries=12),
    attack("noise", Linf(0.07), queries=4),  # 17.85 grey levels: rounded to the nearest, 18, an image would leave the ball
    attack("noise", L2(0.9), queries=4),
    attack("impulse", queries=5),
    attack("hopskipjump", L2(), queries=40, initial_samples=5),
]


def label(each: Attack) -> str:
    return f"{each.plugin.name} {each.geometry}"


@pytest.fixture(scope="session")
def remote(served):
    """The same classifier, served over TensorFlow Serving's protocol."""
    with serving(served) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def local(served: Served, seen: list | None = None, **given) -> Oracle:
    def ask(images: np.ndarray) -> np.ndarray:
        if seen is not None:
            seen.append(images)
        return served.predict(images)

    return Oracle((8, 8, 3), 4, ask, **given)


def crafted(box: BlackBox, each: Attack, data, n: int = 6) -> Crafted:
    return craft(box, each, data.x_test[:n], data.y_test[:n], train=(data.x_train, data.y_train))


@pytest.mark.parametrize("each", SOME, ids=label)
def test_what_is_scored_is_what_was_sent(each, served, toy_data):
    seen: list[np.ndarray] = []
    box = BlackBox(local(served, seen))
    found = crafted(box, each, toy_data)
    before = box.ledger.spent
    logits = box.predict(found.x_adv)
    assert box.ledger.spent == before  # every image that comes out was asked about
    levels = np.rint(found.x_adv * 255).astype(np.uint8)
    assert np.array_equal(levels.astype(np.float32) / np.float32(255), found.x_adv)
    assert all(images.dtype == np.uint8 for images in seen)
    if each.plugin.needs_eps:
        assert (np.asarray(each.geometry.distance(found.x_adv, toy_data.x_test[:6] / np.float32(255))) <= each.geometry.reach).all()
    assert found.queries.sum() + 6 >= before  # an image that was asked about before is not sent again
    assert logits.shape == (6, 4)


def test_served_and_in_process_it_is_the_same_attack(served, remote, toy_data):
    """The same images, labels and counts of queries: the wire adds nothing and loses nothing."""
    each = SOME[0]
    here, there = BlackBox(local(served)), BlackBox(tf_serving(url=remote))
    one, another = crafted(here, each, toy_data), crafted(there, each, toy_data)
    assert np.array_equal(one.x_adv, another.x_adv)
    assert np.array_equal(one.queries, another.queries)
    assert np.array_equal(here.predict(one.x_adv), there.predict(another.x_adv))
    assert here.ledger.spent == there.ledger.spent


@pytest.mark.slow
def test_a_classifier_on_the_grid_meets_the_same_attack(served, victim, toy_data):
    """Where rounding changes nothing (square's images lie on the grid), the oracle is the Keras model itself."""
    each = SOME[0]
    one, another = crafted(BlackBox(local(served)), each, toy_data), crafted(victim, each, toy_data)
    assert np.array_equal(one.queries, another.queries)
    assert np.allclose(one.x_adv, another.x_adv, atol=1e-6)


def test_only_what_is_asked_is_sent(served, toy_data):
    seen: list[np.ndarray] = []
    box = BlackBox(local(served, seen))
    x = toy_data.x_test[:4] / np.float32(255)
    rows = np.asarray(box.logits(x, asked=np.array([True, False, True, False])))
    (sent,) = seen
    assert np.array_equal(sent, toy_data.x_test[[0, 2]])
    assert not rows[[1, 3]].any()
    assert rows[[0, 2]].any()


@pytest.mark.parametrize("name", ["pgd", "deepfool", "autoattack"])
def test_gradients_are_refused_in_one_line(name, served, toy_data):
    with pytest.raises(
        ConfigError, match=f"attack {name!r} needs gradients, and model 'oracle' gives scores and no gradients; take square"
    ):
        getattr(attacks, name)(local(served), toy_data.x_test[:2], toy_data.y_test[:2], *([] if name == "deepfool" else [Linf(8 / 255)]))


def test_scores_are_refused_where_there_are_none(served, toy_data):
    decides = Oracle((8, 8, 3), 4, lambda images: served.predict(images).argmax(-1), gives="decisions")
    with pytest.raises(ConfigError, match="needs scores, and model 'oracle' gives classes alone; take hopskipjump or boundary"):
        attacks.square(decides, toy_data.x_test[:2], toy_data.y_test[:2], Linf(8 / 255))
    x_adv = attacks.impulse(decides, toy_data.x_test[:4], toy_data.y_test[:4], queries=5, density=0.9)
    assert (served.predict(x_adv).argmax(-1) != toy_data.y_test[:4]).any()


def test_images_off_the_grid_are_refused(served, toy_data):
    x = toy_data.x_test[:2] / np.float32(255) * 0.999
    with pytest.raises(DataError, match="are no multiples of 1/255; round them, or give uint8"):
        attacks.impulse(local(served), x, toy_data.y_test[:2])


def test_an_error_in_the_middle_of_a_graph_is_itself(served, toy_data):
    box = BlackBox(local(served, limits=Limits(budget=9)))
    with pytest.raises(ModelError, match="the budget of 9 images is spent"):
        crafted(box, SOME[3], toy_data)
    assert box.ledger.spent <= 9


ANSWERS = [
    [["Stop", 0.9], ["Sign", 0.8], ["Red", 0.1]],
    [["Sign", 0.7], ["Stop", 0.6]],
    [["Cat", 0.9], ["Dog", 0.8], ["stop", 0.7]],
    [["Cat", 0.9]],
    [],
]


def labelled(first: int, *labels: str) -> Oracle:
    return Oracle((None, None, None), None, lambda images: ANSWERS, labels=labels, first=first)


@pytest.mark.parametrize(("first", "right"), [(1, [True, False, False, False, False]), (2, [True, True, False, False, False])])
def test_the_label_is_among_the_first(first, right):
    """Also where an answer names fewer labels than that: what is not named is not among them."""
    oracle = labelled(first, "stop = halt", "sign = 1")
    box = BlackBox(oracle, image_shape=(8, 8, 3), vocabulary=of_labels(oracle, ("go", "board", "halt")))
    logits = box._ask(np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(192, -1).reshape(5, 8, 8, 3))
    y = np.full(5, 2, np.int32)
    assert box.right(logits, y).tolist() == right
    assert (np.asarray(box.lead(logits, y)) > 0).tolist() == [not each for each in right]
    assert box.classes == 3 + first


def test_labels_mean_themselves_where_nobody_says_what_they_mean():
    vocabulary, y = of_clean_answers(labelled(1), ANSWERS)
    assert vocabulary.names == ("cat", "dog", "red", "sign", "stop", OTHER)
    assert [vocabulary.names[number] for number in y] == ["stop", "sign", "cat", "cat", OTHER]
    assert vocabulary.row([["Bus", 0.4]]).argmax() == 5
    assert vocabulary.row([["Bus", 0.4], ["DOG", 0.5]]).argmax() == 1


@pytest.mark.parametrize(
    ("entry", "text"), [("stop", "expected LABEL = CLASS"), ("stop = 7", "has no class '7'"), ("= 1", "expected LABEL")]
)
def test_labels_that_mean_nothing(entry, text):
    with pytest.raises(ConfigError, match=text):
        of_labels(labelled(1, entry), ("go", "board", "halt"))
