"""A model that is read otherwise than its author meant is noticed, and the right reading named; nothing is said of a right one."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from advrun import Classifier, Linf, attacks
from advrun.cli import main
from advrun.data import Dataset
from advrun.engine import keras
from advrun.errors import AdvrunWarning, DataError, ModelError
from advrun.system.foreign import Foreign
from advrun.system.inputs import ModelInput
from advrun.system.readings import examine, in_a_row

layers = keras.layers
CLASSES, SIDE = 12, 8
ALPHABETICAL = sorted(range(CLASSES), key=str)
CAFFE, MEAN, STD = (103.939, 116.779, 123.68), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def prototypes() -> np.ndarray:
    """One image for each class, some brighter than others; all have more red than blue."""
    rng = np.random.default_rng(5)
    drawn = rng.uniform(0.35, 0.55, (CLASSES, SIDE, SIDE, 3)) + rng.permutation(np.linspace(-0.15, 0.15, CLASSES))[:, None, None, None]
    return (drawn + np.array([0.15, 0.0, -0.15])).astype(np.float32)


@pytest.fixture(scope="module")
def data(prototypes) -> tuple[np.ndarray, np.ndarray]:
    """Prototypes with noise, which the nearest prototype tells apart nearly always."""
    rng = np.random.default_rng(6)
    y = rng.integers(0, CLASSES, 600).astype(np.int32)
    x = prototypes[y] + rng.normal(0, 0.27, (600, SIDE, SIDE, 3))
    return np.rint(x.clip(0, 1) * 255).astype(np.uint8), y


def nearest(prototypes: np.ndarray, *before: keras.layers.Layer, order=None) -> keras.Model:
    """logits = t x - t t / 2 for each prototype t, behind what undoes an author's preparation; `order`: the class of each output."""
    flat = prototypes.reshape(len(prototypes), -1)[list(range(len(prototypes))) if order is None else order]
    dense = layers.Dense(len(flat))
    model = keras.Sequential([keras.Input(prototypes.shape[1:]), *before, layers.Flatten(), dense], name="nearest")
    dense.set_weights([flat.T, -(flat**2).sum(1) / 2])
    return model


def reversal() -> keras.layers.Layer:
    layer = layers.Conv2D(3, 1, use_bias=False)
    layer.build((None, None, None, 3))
    layer.set_weights([np.eye(3, dtype=np.float32)[::-1][None, None]])
    return layer


def scaled(scale, offset=0.0) -> keras.layers.Layer:
    return layers.Rescaling(scale, offset)


MEANT = {
    "bgr": (lambda: [reversal()], None, "with the channels reversed", "write input: {channels: bgr}"),
    "255": (lambda: [scaled(1 / 255)], None, "with pixels from 0 to 255", "write input: {scale: 255}"),
    "-1 to 1": (lambda: [scaled(0.5, 0.5)], None, "with pixels from -1 to 1", "write input: {mean: 0.5, std: 0.5}"),
    "half": (lambda: [scaled(1.0, 0.5)], None, "with pixels from -0.5 to 0.5", "write input: {mean: 0.5}"),
    "both": (
        lambda: [scaled(1 / 255), reversal()],
        None,
        "with the channels reversed and pixels from 0 to 255",
        "write input: {channels: bgr, scale: 255}",
    ),
    "imagenet": (
        lambda: [scaled(list(STD), list(MEAN))],
        None,
        "with pixels standardised as for ImageNet",
        "write input: {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}",
    ),
    "caffe": (
        lambda: [scaled(1 / 255, [value / 255 for value in CAFFE]), reversal()],
        None,
        "with the channels reversed and pixels from 0 to 255 less ImageNet's mean",
        "write input: {channels: bgr, scale: 255, mean: [103.939, 116.779, 123.68]}",
    ),
    "order": (list, ALPHABETICAL, "with the labels in alphabetical order", "write classes: alphabetical"),
    "all": (
        lambda: [scaled(1 / 255), reversal()],
        ALPHABETICAL,
        "with the labels in alphabetical order, the channels reversed and pixels from 0 to 255",
        "write input: {channels: bgr, scale: 255} and classes: alphabetical",
    ),
}


@pytest.mark.parametrize("case", MEANT)
def test_the_reading_that_the_author_meant_is_named(case, prototypes, data):
    before, order, words, remedy = MEANT[case]
    plain = nearest(prototypes)
    meant = (plain.predict(data[0] / np.float32(255), verbose=0).argmax(-1) == data[1])[:512].mean()
    assert 0.8 < meant < 1
    found = examine(Foreign(nearest(prototypes, *before(), order=order)), *data)
    assert found.accuracy < meant - 0.1
    assert found.note == f"{words} {100 * meant:.1f} % would be right (as it is: {100 * found.accuracy:.1f} %; n = 512); {remedy}"


def test_nothing_is_said_of_a_model_that_is_read_as_it_was_meant(prototypes, data):
    assert examine(Foreign(nearest(prototypes)), *data).note == ""
    meant = Foreign(nearest(prototypes, scaled(1 / 255), reversal()), ModelInput(channels="bgr", scale=255.0))
    assert examine(meant, *data).note == ""


def test_a_reading_that_was_said_wrongly_is_to_be_left_out(prototypes, data):
    note = examine(Foreign(nearest(prototypes), ModelInput(channels="bgr"), "alphabetical"), *data).note
    assert note.endswith("leave input out, and leave classes out")


def test_nothing_is_said_of_chance(prototypes, data):
    """A model that knows nothing is right for some image in every reading; six images say little of one that knows something."""
    keras.utils.set_random_seed(0)
    empty = keras.Sequential([keras.Input((SIDE, SIDE, 3)), layers.Flatten(), layers.Dense(CLASSES)])
    assert examine(Foreign(empty), *data).note == ""
    assert examine(Foreign(nearest(prototypes, scaled(1.0, 0.5))), data[0][:6], data[1][:6]).note == ""


def test_words_in_a_row():
    assert [in_a_row(words) for words in (("a",), ("a", "b"), ("a", "b", "c"))] == ["a", "a and b", "a, b and c"]


# The author's own accuracy --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("claim", "missed"), [(0.5, False), (0.85, False), (0.99, True)])
def test_an_accuracy_that_is_missed_by_more_than_chance_is_refused(claim, missed, prototypes, data):
    found = examine(Foreign(nearest(prototypes), claim=claim), *data)
    assert (found.n, found.accuracy > 0.85) == (600, True)
    if not missed:
        return found.check()
    with pytest.raises(
        ModelError,
        match=rf"{100 * found.accuracy:.1f} % of 600 clean images are right .*expect says 99 %.*none of the [0-9]+ other readings.* nearer",
    ):
        found.check()
    return None


def test_the_refusal_names_the_reading_that_comes_nearer(prototypes, data):
    with pytest.raises(
        ModelError, match=r"expect says 93 %: nothing is attacked; with the channels reversed .* write input: {channels: bgr}"
    ):
        examine(Foreign(nearest(prototypes, reversal()), claim=0.93), *data).check()


# Classes --------------------------------------------------------------------------------------------------------------


def some(names: tuple[str, ...], *, by_name: bool) -> Dataset:
    x = np.zeros((len(names), 4, 4, 3), np.uint8)
    y = np.arange(len(names), dtype=np.int32)
    return Dataset("some", x[:0], y[:0], x, y, names, by_name=by_name)


@pytest.mark.parametrize(
    ("names", "by_name", "of_model", "labels", "all_names"),
    [
        (("0", "1", "2"), False, (), [0, 1, 2], ("0", "1", "2", "3", "4")),  # arrays
        (("a", "b"), False, (), [0, 1], ("a", "b", "2", "3", "4")),
        (("00003", "1"), True, (), [3, 1], ("0", "1", "2", "3", "4")),  # folders named by numbers
        (("go", "stop"), True, ("stop", "a", "go", "b", "c"), [2, 0], ("stop", "a", "go", "b", "c")),
        (("0", "1", "2", "3", "4"), False, ("0", "1", "10", "11", "2"), [0, 1, 2, 3, 4], ("0", "1", "10", "11", "2")),
        (("a", "b", "c", "d", "e"), True, ("E ", "d", "C", "b", "a"), [4, 3, 2, 1, 0], ("E ", "d", "C", "b", "a")),
        (("00000", "00001", "00002"), True, ("2", "1", "0", "a", "b"), [2, 1, 0], ("2", "1", "0", "a", "b")),
        (("a", "b", "c", "d", "e"), True, ("0", "1", "2", "3", "4"), [0, 1, 2, 3, 4], ("0", "1", "2", "3", "4")),
        (("a", "b", "c", "d", "e"), True, (), [0, 1, 2, 3, 4], ("a", "b", "c", "d", "e")),
    ],
)
def test_images_of_some_classes_are_found_among_those_of_the_model(names, by_name, of_model, labels, all_names):
    data = some(names, by_name=by_name)
    wider = data.with_classes(5, of_model)
    assert wider.y_test.tolist() == labels
    assert wider.class_names == all_names
    assert wider.fingerprint == data.fingerprint


def test_what_cannot_be_told_apart_is_refused():
    with pytest.raises(DataError, match="shows 2 of the model's 5 classes, and nothing says which 'go' is"):
        some(("go", "stop"), by_name=True).with_classes(5)
    with pytest.raises(DataError, match=r"nothing says which '-1' is; name the folders, or labels, by class numbers"):
        some(("3", "-1"), by_name=True).with_classes(5)
    with pytest.raises(DataError, match=r"has the classes cats, dogs, but the model's class_names are dog, cat; name them alike$"):
        some(("cats", "dogs"), by_name=True).with_classes(2, ("dog", "cat"))
    with pytest.raises(DataError, match=r"are f, g, h, i, j, k and 1 more; name them alike$"):
        some(tuple("abcdefg"), by_name=True).with_classes(7, tuple("fghijkl"))
    with pytest.raises(DataError, match="more than 1"):
        some(("go", "stop"), by_name=True).with_classes(1)


# In a run, in check, and from Python ----------------------------------------------------------------------------------


@pytest.fixture
def case(tmp_path, prototypes, data):
    """Writes a configuration for a model, and runs a command on it."""
    np.savez(tmp_path / "data.npz", x=data[0], y=data[1])

    def run(model: keras.Model, command: str = "run", entry: str = "", **more: str):
        model.save(tmp_path / "m.keras")
        lines = {
            "data": f"{{name: arrays, path: {tmp_path}/data.npz}}",
            "models": f"[{{name: file, path: {tmp_path}/m.keras{entry}}}]",
            "attacks": "[{name: fgsm, eps: 8/255, examples: 20}]",
            "results": str(tmp_path / "results"),
        }
        (tmp_path / "c.yaml").write_text("\n".join(f"{key}: {value}" for key, value in {**lines, **more}.items()))
        return CliRunner().invoke(main, [command, str(tmp_path / "c.yaml"), *(["--json"] if command == "check" else [])])

    return run


def rows(folder: Path) -> dict[str, float]:
    return {row["attack"]: row["accuracy"] for row in json.loads((folder / "results/c/tables/accuracy.json").read_text())}


@pytest.mark.slow
def test_a_run_says_which_reading_is_better_and_gives_plain_keras_accuracy_when_told(case, prototypes, data, tmp_path):
    model = nearest(prototypes, scaled(1 / 255), reversal(), order=ALPHABETICAL)
    first = case(model)
    assert first.exit_code == 0, first.output
    assert "write input: {channels: bgr, scale: 255} and classes: alphabetical" in first.output
    assert "write input: {channels: bgr, scale: 255}" in (tmp_path / "results/c/report.html").read_text()
    told = case(model, entry=", input: {channels: bgr, scale: 255}, classes: alphabetical, expect: 0.9")
    assert told.exit_code == 0, told.output
    assert "would be right" not in told.output
    expected = model.predict(data[0][..., ::-1].astype(np.float32), verbose=0).argmax(-1)
    assert rows(tmp_path)["clean"] == (np.asarray(ALPHABETICAL)[expected] == data[1]).mean()


def test_nothing_is_attacked_where_the_authors_accuracy_is_missed(case, prototypes, tmp_path):
    run = case(nearest(prototypes, reversal()), entry=", expect: 0.93")
    assert (run.exit_code, "nothing is attacked" in run.output) == (5, True), run.output
    assert not list((tmp_path / "results").rglob("*.h5"))


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((10, 10, 3), "takes images of 10 x 10, data set arrays has 8 x 8; write input: {size: 10}"),
        ((8, 8, 1), "takes 1 channel, data set arrays has 3; write input: {channels: gray}"),
        ((8, 8, 4), "takes 4 channels, data set arrays has 3; no input makes them fit"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_remedy(command, shape, message, case):
    model = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(CLASSES)])
    run = case(model, command)
    assert run.exit_code == 5, run.output
    assert message in run.output
    if command == "check":
        fitting = case(keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(3)]), command)
        assert (fitting.exit_code, "m.keras: model 'file' has 3 classes, data set arrays has 12; give" in fitting.output) == (5, True), (
            fitting.output
        )


def test_images_with_an_alpha_channel_are_refused_with_the_remedy():
    model = Foreign(keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(CLASSES)]))
    with pytest.raises(ModelError, match=r"takes 3 channels, data set arrays has 4; drop the alpha channel of the images: x\[\.\.\., :3\]"):
        model.refuse((8, 8, 4), "arrays")


def test_the_data_set_is_asked_for_the_models_size(case):
    model = keras.Sequential([keras.Input((20, 20, 3)), layers.Flatten(), layers.Dense(43)])
    run = case(model, "check", data="{name: signs, train: 43, test: 43}")
    assert "set data.image_size: 20, or write input: {size: 20}" in run.output
    assert case(model, "check", data="{name: signs, train: 43, test: 43, image_size: 20}").exit_code == 0


def test_check_says_what_it_found(case, prototypes):
    run = case(nearest(prototypes, reversal()), "check")
    found = json.loads(run.output)["models"]["file"]
    assert found["input"] == "8 x 8, 3 channels"
    assert found["classes"] == CLASSES
    assert found["ending"] == "logits"
    assert found["written by"] == f"Keras {keras.__version__}"
    assert "write input: {channels: bgr}" in found["note"]


def test_models_of_different_classes_are_two_configurations(case, prototypes, tmp_path):
    nearest(prototypes[:11]).save(tmp_path / "other.keras")
    run = case(
        nearest(prototypes), models=f"[{{name: file, path: {tmp_path}/m.keras}}, {{name: file, label: b, path: {tmp_path}/other.keras}}]"
    )
    assert (run.exit_code, "'b' has 11 classes, data set arrays has 12" in run.output) == (5, True), run.output


def test_one_class_alone_is_measured(case, prototypes, data, tmp_path):
    x, y = data
    np.savez(tmp_path / "one.npz", x=x[y == 3], y=y[y == 3])
    model = nearest(prototypes)
    run = case(model, data=f"{{name: arrays, path: {tmp_path}/one.npz}}")
    assert run.exit_code == 0, run.output
    expected = model.predict(x[y == 3] / np.float32(255), verbose=0).argmax(-1)
    assert rows(tmp_path)["clean"] == (expected == 3).mean()


@pytest.mark.slow
def test_python_warns_where_a_table_would_flag(prototypes, data):
    x, y = data
    guessing = Classifier(nearest(prototypes, order=ALPHABETICAL))
    with pytest.warns(AdvrunWarning, match=r"than by naming the commonest class; with .* write classes: alphabetical") as said:
        guessing.accuracy(x, y)
    warning = str(said[0].message)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*commonest class", AdvrunWarning)  # said once
        guessing.accuracy(x, y)
        attacks.fgsm(guessing, x[:40], y[:40], Linf(8 / 255))
    assert len(re.findall(r"as it is: [\d.]+ %; n = \d+", warning)) == 1
    assert warning.count(" %") == 2  # as it is, and as it is meant
    chance = keras.Sequential([keras.Input((SIDE, SIDE, 3)), layers.Flatten(), layers.Dense(CLASSES, kernel_initializer="zeros")])
    with pytest.warns(
        AdvrunWarning, match=rf"commonest class \({100 * (y == 0).mean():.1f} %; n = {len(y)}\); its largest outputs are equal on 100 %"
    ):
        Classifier(chance).accuracy(x, y)
    unit = x[:40] / np.float32(255)
    saturated = keras.Sequential(
        [keras.Input((SIDE, SIDE, 3)), scaled(1e6, -5e5), layers.Flatten(), layers.Dense(8, activation="tanh"), layers.Dense(2)]
    )
    answers = saturated.predict(unit, verbose=0).argmax(-1)
    with pytest.warns(AdvrunWarning, match="the gradient of 100.0 % of the images is zero"):
        attacks.fgsm(saturated, unit, answers, Linf(8 / 255))
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdvrunWarning)
        right = Classifier(nearest(prototypes))
        adversarial = attacks.pgd(right, unit, y[:40], Linf(0.3), steps=5)
        assert right.accuracy(adversarial, y[:40]) < 0.2


@pytest.mark.parametrize("shape", [lambda y: y[:, None], lambda y: np.eye(CLASSES)[y], lambda y: y.astype(float)])
def test_labels_may_be_a_column_or_one_hot(shape, prototypes, data):
    model = Classifier(nearest(prototypes))
    assert model.accuracy(data[0], shape(data[1])) == model.accuracy(*data)


# A real network -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["as it is", "-1 to 1"])
def test_a_trained_network(name, reference_folder):
    """L-net of GTSRB, as it is and made for pixels from -1 to 1: 239 of 256 images are right when it is read as it is meant."""
    with np.load(reference_folder / "images.npz") as arrays:
        x, y = arrays["x"], arrays["y"].astype(np.int32)
    network = keras.models.load_model(reference_folder / "lnet.keras")
    if name == "as it is":
        assert examine(Foreign(network), x, y).note == ""
        return
    moved = keras.Sequential([keras.Input((32, 32, 3)), scaled(0.5, 0.5), network])
    assert "with pixels from -1 to 1 93.4 % would be right" in examine(Foreign(moved), x, y).note
    told = Classifier(moved, input={"mean": 0.5, "std": 0.5})
    assert told.accuracy(x, y) == 239 / 256


def test_a_network_that_knows_nothing_has_no_better_reading():
    """Its answers depend on colours: in one reading a class or two are right by chance, with every image of them."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.integers(60, 196, (6, 1, 1, 3)), 60, axis=0) + rng.normal(0, 60, (360, 1, 1, 3)) * np.ones((1, 8, 8, 1))
    x = x.clip(0, 255).astype(np.uint8)
    y = np.repeat(np.arange(6), 60).astype(np.int32)
    order = np.random.default_rng(1).permutation(len(y))
    for seed in range(5):
        keras.utils.set_random_seed(seed)
        net = keras.Sequential(
            [keras.Input((8, 8, 3)), layers.Conv2D(8, 3, activation="relu"), layers.GlobalMaxPooling2D(), layers.Dense(6)]
        )
        assert not examine(Foreign(net), x[order], y[order]).note


# Inputs and outputs of other shapes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [lambda x: {"scores": x}, pytest.param(lambda x: [x], marks=pytest.mark.slow)])
def test_one_output_in_a_dictionary_or_list_is_checked_and_run(ends, case, prototypes):
    plain = nearest(prototypes)
    model = keras.Model(plain.inputs, ends(plain.outputs[0]))
    found = case(model, "check")
    assert found.exit_code == 0, found.output
    assert json.loads(found.output)["models"]["file"]["classes"] == CLASSES
    run = case(model)
    assert run.exit_code == 0, run.output


def test_two_outputs_are_refused_with_the_file_and_a_remedy(case, prototypes):
    plain = nearest(prototypes)
    run = case(keras.Model(plain.inputs, [plain.outputs[0]] * 2, name="both"), "check")
    assert (run.exit_code, "m.keras: model 'both' has 1 input and 2 outputs; expected one" in run.output) == (5, True), run.output
    assert "save keras.Model(model.inputs[0], model.outputs[i])" in run.output


def test_answers_are_those_of_logits_where_a_softmax_saturates(prototypes, data):
    """All sigmoids are 1, and argmax of them is 0; their inputs tell the classes apart."""
    plain = nearest(prototypes)
    model = keras.Sequential([*plain.layers, layers.Rescaling(1.0, 1000.0), layers.Activation("sigmoid")])
    model.build((None, SIDE, SIDE, 3))
    assert examine(Foreign(model), *data).accuracy == examine(Foreign(plain), *data).accuracy > 0.8


# Orders of classes, and scores that are cut off -----------------------------------------------------------------------


def test_labels_that_were_counted_from_one_are_found(prototypes, data):
    """Output 0 of 13 is of no class."""
    unused = np.concatenate([prototypes[:1] * 0 - 9, prototypes])
    note = examine(Foreign(nearest(unused)), *data).note
    assert note.startswith("with the labels counted from 1 9"), note
    assert note.endswith("write classes: [12, 0, 1, 2, 3, 4, 5, 6, 7, 8, ..., 11]"), note


def test_two_classes_exchanged_are_found(prototypes, data):
    two = data[1] < 2
    note = examine(Foreign(nearest(prototypes[:2], order=[1, 0])), data[0][two], data[1][two]).note
    assert note.startswith("with the two classes exchanged"), note
    assert note.endswith("write classes: [1, 0]"), note


def test_an_order_like_no_other_is_found_from_half_of_the_images(prototypes, data):
    order = np.random.default_rng(2).permutation(CLASSES).tolist()
    note = examine(Foreign(nearest(prototypes, order=order)), *data).note
    assert note.startswith("with the labels in an order found from 256 other images 9"), note
    assert note.endswith(f"n = 256); write classes: {order}"), note
    assert not examine(Foreign(nearest(prototypes)), *data).note


def test_equal_scores_are_said_to_be_cut_off(prototypes, data):
    """Scores below are cut at a bound that many of them pass."""
    plain = nearest(prototypes)
    scores = plain.predict(data[0] / np.float32(255), verbose=0)
    bound = float(np.quantile(np.sort(scores)[:, -2], 0.5))
    cut = keras.Model(plain.inputs, keras.ops.minimum(plain.outputs[0], bound))
    share = (scores[:512] >= bound).sum(-1) > 1
    note = examine(Foreign(cut), *data).note
    assert note == f"its largest outputs are equal on {100 * share.mean():.0f} % of the images: something cuts its scores off"
