"""The page as a person uses it, in Chromium. Not part of `make test`: `python -m pytest -m browser tests/page`."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from advrun.config import load
from advrun.picture import pixels, server
from advrun.picture.bench import Bench, open_bench
from advrun.runs.runner import run
from tests.page.chromium import MARKS, sized, started

pytestmark = MARKS
SECONDS = 30


class Page:
    """The page in a browser."""

    def __init__(self, address: str, downloads: Path) -> None:
        self.driver = started({"download.default_directory": str(downloads)})
        self.address, self.downloads = address, downloads

    def open(self, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        sized(self.driver, width, height, dark=dark)
        self.driver.get(self.address)
        self.until(lambda: self.text("said"))
        return self

    def find(self, id: str):
        return self.driver.find_element(By.ID, id)

    def text(self, id: str) -> str:
        return self.find(id).text

    def until(self, holds: Callable[[], object]) -> float:
        """Wait until it holds; returns the seconds."""
        start = time.monotonic()
        while not holds():
            assert time.monotonic() - start < SECONDS, self.text("problem") or "it never held"
            time.sleep(0.01)
        return time.monotonic() - start

    def change(self, act: Callable[[], object]) -> float:
        """Do something that attacks anew, and wait for its answer; returns the seconds."""
        self.driver.execute_script("state.result = null")
        act()
        return self.until(lambda: self.driver.execute_script("return Boolean(state.result) && !state.busy && !state.again"))

    def choose(self, id: str, value: str) -> None:
        Select(self.find(id)).select_by_value(value)

    def image(self, name: str, shape: tuple[int, int, int]) -> np.ndarray:
        """What is shown, as it came."""
        return pixels.from_url(self.driver.find_element(By.CSS_SELECTOR, f"#{name} img").get_attribute("src"), shape)

    def answer(self, name: str) -> str:
        return self.driver.find_element(By.CSS_SELECTOR, f"#{name} .answer").text


def serving(bench: Bench) -> str:
    """The address of a page that lives as long as the tests."""
    said: queue.Queue[str] = queue.Queue()
    threading.Thread(target=server.serve, args=(bench, 0, said.put), daemon=True).start()
    return said.get(timeout=SECONDS).split()[0]


@pytest.fixture(scope="module")
def browser(bench, tmp_path_factory) -> Iterator[Page]:
    page = Page(serving(bench), tmp_path_factory.mktemp("downloads"))
    yield page
    page.driver.quit()


@pytest.fixture
def page(browser) -> Page:
    return browser.open()


@pytest.fixture(scope="module")
def photograph(tmp_path_factory) -> Path:
    """Bright above on the left, as the class "top left" is; larger than the model's images, and not square."""
    picture = Image.new("RGB", (640, 480), (90, 90, 90))
    ImageDraw.Draw(picture).rectangle((80, 0, 320, 240), fill=(150, 150, 150))
    path = tmp_path_factory.mktemp("photographs") / "mine.jpg"
    picture.save(path)
    return path


def test_a_photograph_is_uploaded_attacked_and_defended(page, photograph):
    page.change(lambda: page.find("file").send_keys(str(photograph)))
    assert page.answer("original") == "✓ top left"
    assert "which is taken as true" in page.text("said")
    assert page.text("defended").endswith("no defence is chosen")
    assert "✗" in page.answer("attacked")
    original, attacked = page.image("original", (8, 8, 3)), page.image("attacked", (8, 8, 3))
    assert (original[:3, :3] > 140).all()
    assert np.abs(original.astype(int) - attacked).max() == 32
    page.change(lambda: page.choose("defense", "gaussian_blur"))
    assert "With gaussian_blur the answer is" in page.text("said")
    assert page.answer("defended")
    shares = [bar.get_attribute("style") for bar in page.driver.find_elements(By.CSS_SELECTOR, "#defended .track i")]
    assert len(shares) == 3
    assert all(share.startswith("width: ") for share in shares)
    page.change(page.find("adaptive").click)
    assert "which knows gaussian_blur" in page.text("said")


def test_the_slider_moves_by_keys_and_the_picture_follows(page):
    page.change(lambda: page.find("eps").send_keys(Keys.HOME))
    assert page.text("eps-text") == "L∞ 1/255"
    change = page.image("attacked", (8, 8, 3)).astype(int) - page.image("original", (8, 8, 3))
    assert np.abs(change).max() == 1
    assert "L∞ 1/255" in page.text("said")
    page.driver.execute_script("window.sent = 0; const old = fetch; fetch = (...given) => { sent += 1; return old(...given); }")
    page.change(lambda: page.find("eps").send_keys(*[Keys.ARROW_RIGHT] * 20))
    assert page.text("eps-text") == "L∞ 21/255"
    assert "21/255" in page.text("said")
    assert page.driver.execute_script("return sent") < 10  # not one for each step


def test_another_test_image_and_an_attack_without_a_ball(page, toy_data):
    page.change(lambda: page.driver.find_elements(By.CSS_SELECTOR, "#thumbs button")[3].click())
    number = int(page.find("number").get_attribute("value"))
    assert np.array_equal(page.image("original", (8, 8, 3)), toy_data.x_test[number])
    page.change(lambda: page.choose("attack", "ddn"))
    assert not page.find("eps").is_enabled()
    assert "as near as possible" in page.text("eps-field")
    assert "L2 " in page.text("change")
    page.change(lambda: page.find("number").send_keys(Keys.CONTROL, "a", Keys.NULL, "7", Keys.ENTER))
    assert np.array_equal(page.image("original", (8, 8, 3)), toy_data.x_test[7])


def test_a_slow_attack_shows_where_it_is(page):
    page.driver.execute_script("state.result = null")
    page.choose("attack", "boundary")
    page.until(lambda: "of its budget" in page.text("doing"))
    assert 0 < float(page.find("progress").get_attribute("value")) < 1
    page.until(lambda: page.driver.execute_script("return Boolean(state.result) && !state.busy"))
    assert not page.find("progress").is_displayed()
    assert "queries" in page.text("change")


def test_a_damaged_file_and_one_that_is_too_large(page, tmp_path, photograph):
    (tmp_path / "cut.jpg").write_bytes(photograph.read_bytes()[:900])
    before = page.text("said")
    page.find("file").send_keys(str(tmp_path / "cut.jpg"))
    page.until(lambda: page.text("problem"))
    assert page.text("problem").startswith("cut.jpg: no photograph that can be read")
    (tmp_path / "large.jpg").write_bytes(photograph.read_bytes() + b"\0" * pixels.MOST_BYTES)
    page.find("file").send_keys(str(tmp_path / "large.jpg"))
    page.until(lambda: "large.jpg is too large: 10.0 MB; at most 10 MB are read." in page.text("problem"))
    assert page.text("said") == before
    page.change(lambda: page.find("file").send_keys(str(photograph)))
    assert not page.find("problem").is_displayed()


def test_the_download_is_a_picture_of_it_all(page):
    page.change(lambda: page.choose("defense", "gaussian_blur"))
    page.find("save").click()
    page.until(lambda: list(page.downloads.glob("*.png")))
    (path,) = page.downloads.glob("*.png")
    assert path.name.startswith("toy-pgd-L-")
    with Image.open(path) as picture:
        assert picture.width > 4 * 320
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert (colours == (0x00, 0x72, 0xB2)).all(-1).sum() > 500  # bars of the true class


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)])
def test_it_fits_and_every_control_is_reached_by_keys(browser, width, height, dark):
    page = browser.open(width, height, dark)
    assert page.driver.execute_script("return document.documentElement.scrollWidth") == width
    paper = page.find("said").find_element(By.XPATH, "/html/body").value_of_css_property("background-color")
    assert (sum(map(int, paper.removeprefix("rgba(").split(",")[:3])) < 200) == dark
    wanted = {"others", "number", "file", "eps", "attack", "defense", "save"}
    reached = set()
    for _ in range(40):
        webdriver.ActionChains(page.driver).send_keys(Keys.TAB).perform()
        reached.add(page.driver.switch_to.active_element.get_attribute("id"))
    assert wanted <= reached


def test_nothing_is_asked_of_any_other_machine(browser):
    """And nothing on the page is refused by its own policy."""
    page = browser.open()
    entries = page.driver.execute_script("return performance.getEntriesByType('resource').map(each => each.name)")
    assert entries
    assert all(name.startswith((page.address, "data:")) for name in entries)
    assert [entry for entry in page.driver.get_log("browser") if "favicon" not in entry["message"] and "400" not in entry["message"]] == []


CONFIG = """
data: {{name: arrays, path: {folder}/images.npz}}
models: [{{name: file, path: {folder}/lnet.keras}}]
attacks: [{{name: fgsm, eps: 8/255}}, {{name: pgd, eps: 8/255, steps: 40}}]
results: {results}
"""


def test_the_first_answer_on_an_lnet_takes_less_than_a_second(reference_folder, tmp_path):
    config = tmp_path / "lnet.yaml"
    config.write_text(CONFIG.format(folder=reference_folder, results=tmp_path))
    experiment = load(config)
    run(experiment, upto="train")
    page = Page(serving(open_bench(experiment, config)), tmp_path)
    try:
        page.open()
        time.sleep(8)  # what is quick is compiled meanwhile
        first = page.change(lambda: page.driver.find_elements(By.CSS_SELECTOR, "#thumbs button")[5].click())
        forty = page.change(lambda: page.choose("attack", "pgd"))
        slid = page.change(lambda: page.find("eps").send_keys(Keys.ARROW_LEFT))
        print(f"test image and FGSM {first:.2f} s, PGD-40 {forty:.2f} s, another eps {slid:.2f} s")
        assert max(first, forty, slid) < 1
    finally:
        page.driver.quit()
