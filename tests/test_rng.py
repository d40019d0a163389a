"""Random numbers of each image's own: Philox as its authors and TensorFlow have it, the same wherever an image stands, and good ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from advrun import engine
from advrun.engine import EachImage, Rng, ops, philox, repeat_undecided, tf
from advrun.errors import ModelError

KEY = Rng.from_seed(11).key
LEAST = 1e-4
"""A test with fixed numbers fails at this p-value, or never."""


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    """Images that differ by 1/4096 in one pixel."""
    x = np.zeros((500, 8, 8, 1), np.float32)
    x.reshape(500, 64)[np.arange(500), np.arange(500) % 64] = (1 + np.arange(500) // 64) / 4096
    return x


@pytest.fixture(scope="module")
def drawn(many) -> dict[str, np.ndarray]:
    """(500, 1000) of each kind."""
    return {kind: np.asarray(getattr(Rng(KEY).of(many), kind)((500, 1000))) for kind in ("uniform", "normal")}


# The cipher ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers_of_the_authors(counter, key, expected):
    """Of Random123, philox4x32, 10 rounds."""
    words = philox.philox([tf.constant([word], tf.uint32) for word in counter], [tf.constant([word], tf.uint32) for word in key])
    assert tuple(int(word[0]) for word in words) == expected


@pytest.mark.parametrize(("kind", "size"), [("uniform", 37), ("uniform", 300), ("normal", 37), ("normal", 300)])
def test_they_are_the_numbers_of_tensorflows_own_kernel(images, kind, size):
    """For each image's key, in turn; normal numbers but for the rounding of sine, cosine and logarithm."""
    rng = Rng(KEY).of(images)
    rng.uniform((10, 1))  # so that it is the second draw
    found = np.asarray(getattr(rng, kind)((10, size)))
    draw = {"uniform": tf.raw_ops.StatelessRandomUniformV2, "normal": tf.raw_ops.StatelessRandomNormalV2}[kind]
    low, high = np.asarray(rng.images).astype(np.uint64).T
    shared = KEY.view(np.uint32).astype(np.uint64)
    counter = np.array([2 << 32, shared[0] | shared[1] << np.uint64(32)], np.uint64)
    keys = (low | high << np.uint64(32))[:, None]
    blocks = -(-size // 16) * 4
    made = np.stack([np.asarray(draw(shape=(4 * blocks,), key=key, counter=counter, alg=1)) for key in keys])
    expected = made.reshape(10, blocks, 4).swapaxes(1, 2).reshape(10, -1)[:, :size]  # the first words of all blocks come first
    if kind == "uniform":
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_uniform_numbers_become_float_exactly(images):
    """Multiples of 2^-23 below 1: what is added to them and taken away again is exact."""
    found = np.asarray(Rng(KEY).of(images).uniform((10, 5000))).astype(np.float64)
    assert found.min() >= 0
    assert found.max() < 1
    np.testing.assert_array_equal(found * 2**23, np.rint(found * 2**23))


# Whose they are ------------------------------------------------------------------------------------------------------

KINDS = {
    "uniform": lambda rng, n: rng.uniform((n, 5), -1.0, 2.0),
    "normal": lambda rng, n: rng.normal((n, 4, 4, 3)),
    "few normal": lambda rng, n: rng.normal((n, 1)),
    "integers": lambda rng, n: rng.integers((n,), 3, 1000),
}


@pytest.mark.parametrize("draw", KINDS.values(), ids=KINDS)
def test_an_image_has_the_same_numbers_wherever_it_stands(images, draw):
    among = np.asarray(draw(Rng(KEY).of(images).fold(5), 10))
    order = np.random.default_rng(0).permutation(10)
    np.testing.assert_array_equal(draw(Rng(KEY).of(images[order]).fold(5), 10), among[order])
    for rows in ([3], [8, 2, 5], range(7)):
        part = np.asarray(list(rows))
        np.testing.assert_array_equal(draw(Rng(KEY).of(images[part]).fold(5), len(part)), among[part])
        np.testing.assert_array_equal(draw(Rng(KEY).of(images).part(part).fold(5), len(part)), among[part])
    compiled = engine.compiled(lambda x: draw(Rng(KEY).of(x).fold(5), x.shape[0]))
    np.testing.assert_array_equal(compiled(images), among)
    assert len(np.unique(among, axis=0)) == len(among)


def test_an_iteration_has_the_same_numbers_whoever_is_done_before(images):
    """The count is the loop's: a neighbour that drops out draws nothing, and changes nothing."""
    rng = Rng(KEY).of(images)

    def drawing_until(last):
        def step(i, rows, state):
            last, seen, count = state
            new = rng.part(rows).fold(i).uniform((ops.shape(seen)[0], 2))
            going = count < last
            return last, ops.where(going[:, None], seen + new, seen), count + ops.cast(going, "int32")

        start = (ops.convert_to_tensor(last), ops.zeros((10, 2)), ops.zeros((10,), "int32"))
        return np.asarray(repeat_undecided(step, 30, start, decided=lambda state: state[2] >= state[0])[1])

    early, late = np.full(10, 30, np.int32), np.full(10, 30, np.int32)
    early[:8] = 2
    np.testing.assert_array_equal(drawing_until(early)[8:], drawing_until(late)[8:])


def test_variants_of_an_image_have_numbers_of_their_own_and_of_it(images):
    """As random stages draw: by what they are shown, and by what has been asked about the image so far."""
    asked = EachImage(KEY, images=tf.constant([[7, 0], [9, 0]], tf.uint32))
    both = np.concatenate([images[:2], images[4:6]])
    found = np.asarray(asked.of(both).uniform((4, 3)))
    np.testing.assert_array_equal(asked.part(tf.constant([1])).of(images[5:6]).uniform((1, 3))[0], found[3])
    other = np.asarray(EachImage(KEY, images=tf.constant([[8, 0], [9, 0]], tf.uint32)).of(both).uniform((4, 3)))
    assert (found[[0, 2]] != other[[0, 2]]).all()
    np.testing.assert_array_equal(found[[1, 3]], other[[1, 3]])


def test_however_8_bit_pixels_were_made_float_they_have_the_same_numbers():
    """A graph may multiply where it should divide, and be off by the last bit."""
    levels = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)
    made = levels / np.float32(255), levels * np.float32(1 / 255)
    assert (made[0] != made[1]).any()
    np.testing.assert_array_equal(*(np.asarray(Rng(KEY).of(x).images) for x in made))


def test_the_first_axis_of_what_is_drawn_is_the_images(images):
    for shape in ((), (3,), (7, 6, 6, 3)):
        with pytest.raises(ModelError, match="the first axis is the images"):
            Rng(KEY).of(images).uniform(shape)


def test_a_loop_that_leaves_images_out_must_say_which(images):
    rng = Rng(KEY).of(images)

    def forgetful(x):
        def step(i, rows, state):
            return (rng.fold(i).uniform(ops.shape(state[0])),)

        return repeat_undecided(step, 3, (x,), decided=lambda state: state[0][:, 0, 0, 0] > 0.5)

    with pytest.raises(ModelError, match=r"draw from rng\.part\(rows\)"):
        engine.compiled(forgetful)(images)


# How good they are ---------------------------------------------------------------------------------------------------


def test_images_that_hardly_differ_have_keys_that_do(many):
    keys = np.asarray(Rng(KEY).of(many).images)
    assert len(np.unique(keys[:, 0])) == len(np.unique(keys[:, 1])) == 500
    ones = np.unpackbits(keys.view(np.uint8), axis=1).mean(0)
    np.testing.assert_allclose(ones, 0.5, atol=5 * 0.5 / 500**0.5)


def test_distributions(drawn):
    assert stats.kstest(drawn["uniform"].ravel(), "uniform").pvalue > LEAST
    assert stats.kstest(drawn["normal"].ravel(), "norm").pvalue > LEAST
    each = [stats.kstest(row, "norm").pvalue for row in drawn["normal"][::10]]  # p-values of good numbers are uniform themselves
    assert stats.kstest(each, "uniform").pvalue > LEAST
    cells = np.floor(drawn["uniform"] * 256).astype(int)
    assert stats.chisquare(np.bincount(cells.ravel(), minlength=256)).pvalue > LEAST
    pairs = cells[:, ::2] // 16 * 16 + cells[:, 1::2] // 16
    assert stats.chisquare(np.bincount(pairs.ravel(), minlength=256)).pvalue > LEAST
    assert np.abs(drawn["normal"]).max() > 4


def test_signs_and_integers_are_even(many):
    rng = Rng(KEY).of(many)
    signs = np.asarray(rng.signs((500, 1000)))
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.mean()) < 4 / signs.size**0.5
    whole = np.asarray(rng.integers((500, 1000), 3, 10)) - 3
    assert stats.chisquare(np.bincount(whole.ravel(), minlength=7)).pvalue > LEAST


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_neighbours_have_nothing_to_do_with_each_other(many, drawn, kind):
    """Images, elements, draws, steps, steps of steps and seeds that come one after the other."""
    rng, first = Rng(KEY).of(many), drawn[kind]
    shape = first.shape
    getattr(rng, kind)(shape)

    def draw(rng):
        return np.asarray(getattr(rng, kind)(shape))

    others = {
        "the next image": np.roll(first, 1, axis=0),
        "the next element": np.roll(first, 1, axis=1),
        "the next block": np.roll(first, 4, axis=1),
        "the next draw": draw(rng),
        "a step": draw(Rng(KEY).of(many).fold(0)),
        "a step of a step": draw(Rng(KEY).of(many).fold(0).fold(0)),
        "the next seed": draw(Rng(Rng.from_seed(12).key).of(many)),
    }
    for what, other in others.items():
        correlation = np.corrcoef(first.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 4.5 / first.size**0.5, f"{what}: {correlation:g}"
    one, following = (draw(Rng(KEY).of(many).fold(i)) for i in (1, 2))
    assert abs(np.corrcoef(one.ravel(), following.ravel())[0, 1]) < 4.5 / first.size**0.5
