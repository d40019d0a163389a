"""`advrun try`: one picture against every finished system, as a person types it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from advrun.cli import main
from advrun.config import load
from advrun.errors import AdvrunError, DataError
from advrun.geometry import Linf
from advrun.picture import answers, pixels, study
from advrun.picture.bench import open_bench
from advrun.picture.commands import NAMES, hanging, in_title, the_subject

PIXELS = np.arange(12 * 8 * 3, dtype=np.uint8).reshape(12, 8, 3)


def advrun(*arguments: object):
    return CliRunner().invoke(main, list(map(str, arguments)))


ATTACKS = "attacks=[{name: pgd, eps: [4/255, 32/255], steps: 10}, {name: universal, eps: 8/255}]"


@pytest.fixture(scope="module")
def tried(toy_config, right_row, tmp_path_factory) -> tuple[dict, str]:
    """What `--json` says, and the messages."""
    png = tmp_path_factory.mktemp("out") / "tried.png"
    done = advrun("try", f"test:{right_row}", "--config", toy_config, "--set", ATTACKS, "--json", "--out", png)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), done.stderr


def test_a_long_label_leaves_the_columns_beside_it_their_room():
    """Sixty letters without a space, as labels are; the later lines hang."""
    label = "a_label_that_somebody_wrote_who_wanted_to_say_all_of_it_0060"
    lines = hanging(label, "  ").split("\n")
    assert max(map(len, lines)) <= NAMES
    assert "".join(line.strip() for line in lines) == label
    assert [len(line) - len(line.lstrip()) for line in lines] == [2, 4]
    assert hanging("as it is") == "as it is"


def test_every_system_meets_every_attack(tried):
    told = [(line["defense"], line["threat"], line["attack"]) for line in tried[0]["answers"]]
    assert told == [
        ("none", "none", "clean"),
        ("gaussian_blur", "none", "clean"),
        ("none", "adaptive", "pgd"),
        ("gaussian_blur", "static", "pgd"),
        ("gaussian_blur", "adaptive", "pgd"),
    ]


def test_the_answers_are_those_of_the_attack_itself(tried, bench, toy_data, right_row):
    """The static line is the undefended model's example, shown to the defence."""
    from advrun import attacks

    plain, blurred = (bench.classifier(bench.system("victim", name)) for name in ("none", "gaussian_blur"))
    x, y = toy_data.x_test[[right_row]], toy_data.y_test[[right_row]]
    x_adv = attacks.pgd(plain, x, y, Linf(32 / 255), steps=10, batch_size=1, train=bench.pool)
    by_place = {(line["defense"], line["threat"], line["attack"]): line for line in tried[0]["answers"]}
    for classifier, place in ((plain, ("none", "adaptive", "pgd")), (blurred, ("gaussian_blur", "static", "pgd"))):
        logits = classifier.predict(x_adv)[0]
        assert by_place[place]["predicted"] == logits.argmax()
        assert by_place[place]["confidence"] == pytest.approx(np.exp(logits).max() / np.exp(logits).sum(), abs=1e-4)
    line = by_place["none", "adaptive", "pgd"]
    assert line["eps"] == "32/255"
    assert line["distance"] == pytest.approx(32 / 255, abs=1e-5)
    assert (line["gradients"], line["right"]) == (10, False)


def test_with_json_what_is_missing_is_in_it(tried, toy_config):
    told, messages = tried
    assert told["missing"] == ["victim / adversarial_training"]
    assert list(told["omitted"]) == ["universal"]
    assert not messages.strip()


def test_the_picture_shows_all_of_it(tried):
    with Image.open(tried[0]["png"]) as picture:
        assert picture.format == "PNG"
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert picture.height > 2 * 200  # a row for the image as it is, and one for the attack
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (np.abs(colours.astype(int) - colour).max(-1) < 8).sum() > 50


def test_a_photograph_is_turned_cut_and_made_small(tmp_path):
    """A camera that was held upright: its file lies on the side, and EXIF says so."""
    upright = np.zeros((60, 40, 3), np.uint8)
    upright[:10], upright[10:30], upright[30:] = (255, 255, 255), (200, 0, 0), (0, 0, 200)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright)).save(tmp_path / "photo.png", exif=exif)
    fitted = pixels.fitted(tmp_path / "photo.png", (8, 8, 3))
    assert fitted.shape == (8, 8, 3)
    assert (fitted[1:3] == (200, 0, 0)).all()  # white above is cut off
    assert (fitted[5:] == (0, 0, 200)).all()
    grey = pixels.fitted((tmp_path / "photo.png").read_bytes(), (8, 8, 1))
    assert grey.shape == (8, 8, 1)
    assert grey[2, 0, 0] == 60  # 0.299 * 200


def test_what_is_transparent_lies_on_white(tmp_path):
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (pixels.fitted(tmp_path / "clear.png", (8, 8, 3)) == 255).all()


@pytest.mark.parametrize(("shape", "image"), [((12, 8, 3), PIXELS), ((12, 8, 1), PIXELS[..., :1])])
def test_images_travel_without_loss(shape, image):
    assert np.array_equal(pixels.from_url(pixels.url(image), shape), image)


def test_a_label_is_a_name_or_a_number_or_the_models_own(bench):
    assert (bench.label("top LEFT"), bench.label("3")) == (0, 3)
    with pytest.raises(DataError, match="there is no class 'top lift'; did you mean 'top left'"):
        bench.label("top lift")
    x = np.full((8, 8, 3), 90, np.uint8)
    told = study.of_photo(bench, x, "photo", None, "victim")
    assert told.assumed
    assert told.label == study.reply(bench, bench.system("victim"), x).predicted
    assert not study.of_photo(bench, x, "photo", 2, "victim").assumed


def test_a_picture_that_is_wrong_already_is_left_alone(bench, toy_data, right_row):
    wrong = study.Subject(toy_data.x_test[right_row], int(1 - min(toy_data.y_test[right_row], 1)), "wrong")
    shot = study.shoot(bench, bench.attack("pgd"), None, bench.system("victim"), wrong)
    assert shot.left == "victim is wrong without an attack"
    assert np.array_equal(shot.x_adv, wrong.image)


def test_the_slider_goes_through_the_radius_of_the_configuration(bench):
    slider = answers.slider(bench.attack("pgd"))
    assert slider["radii"][slider["at"]] == 32 / 255
    assert slider["texts"][slider["at"]] == "32/255"
    assert (slider["texts"][0], slider["texts"][-1]) == ("1/255", "64/255")
    assert answers.slider(bench.attack("ddn")) is None


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("missing.jpg",), 4, "missing.jpg: no such file; give a photograph, or test:NUMBER"),
        (("test:80",), 4, "test:80: arrays has the test images 0 to 79"),
        (("test:x",), 4, "expected the number of a test image"),
        (("test:0", "--label", "top left"), 4, "leave --label out"),
        (("test:0", "--model", "victor"), 5, "there is no system 'victor'; did you mean 'victim'?"),
        (("test:0", "--set", "results=elsewhere"), 5, "elsewhere/toy: no system is trained yet; make them by: advrun run "),
        (("test:0", "--set", "attacks=[]"), 3, "it has no attack for one picture; add one"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, code, text, toy_config):
    done = advrun("try", *arguments, "--config", toy_config)
    assert done.exit_code == code
    assert text in done.stderr
    assert len([line for line in done.stderr.splitlines() if not line.startswith("warning: ")]) == 1


def test_a_photograph_without_a_label(toy_config, bench, tmp_path):
    """In words: what is missing, with its remedy, and whose word is taken for what it shows."""
    path = tmp_path / "mine.png"
    Image.fromarray(PIXELS.repeat(10, 0).repeat(10, 1)).save(path)
    attacks = "attacks=[{name: noise, eps: 4/255}, {name: universal, eps: 8/255}]"
    done = advrun("try", path, "--config", toy_config, "--set", attacks)
    assert done.exit_code == 0, done.output
    assert f"not built yet, and left out: victim / adversarial_training; advrun run {toy_config} builds it" in done.stderr
    assert "universal is left out: it learns from many images before it attacks the first" in done.stderr
    first, second, *lines, last = done.stdout.splitlines()
    assert re.fullmatch(r"mine: .+, says the undefended model", first)
    assert second == "nobody said what it shows: its answer is taken as true; --label NAME says otherwise"
    assert "noise, L∞ 4/255" in "\n".join(lines)
    assert last.endswith("results/toy/figures/try-mine.png")
    named = the_subject(bench, str(path), "top right", "victim")
    assert (in_title(bench, named), named.assumed) == ("Top right", False)


def test_a_damaged_photograph_is_one_line(toy_config, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 and then nothing")
    done = advrun("try", tmp_path / "cut.jpg", "--config", toy_config)
    assert done.exit_code == 4
    assert "cut.jpg: no photograph that can be read" in done.stderr


def test_models_that_can_only_be_asked_are_refused(toy_config):
    with pytest.raises(AdvrunError, match="model 'tf_serving' can only be asked, and each answer may cost"):
        open_bench(load(toy_config, ["models=[{name: tf_serving}]"]), toy_config)
