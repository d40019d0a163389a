"""report.html as a person uses it, in Chromium: with scripts and without, at 1280 and 390 pixels, in light and dark."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from advrun.report import page, summarise
from advrun.report.style import picture
from tests.page import axe
from tests.page.chromium import MARKS, saved, sized, started
from tests.report._large import large, pictures
from tests.report._sample import EPS, findings, gallery
from tests.report.test_tables import HOSTILE, hostile_findings

pytestmark = MARKS
SECONDS = 30


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    driver = started()
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three pages: a small one with a figure, one of 500 rows whose figures are more than it takes, and one with hostile names."""
    from matplotlib.figure import Figure

    folder = tmp_path_factory.mktemp("pages")
    found = findings()
    drawn = picture(lambda: (Figure(figsize=(7, 2)), "lnet under pgd."), "examples-lnet", "gallery")
    hostile = hostile_findings()
    awkward = replace(
        hostile,
        class_names=("</script><b>bold</b>", *found.class_names[1:], "停止", "‮קדימה"),
        config_yaml="</pre><script>alert(1)</script>",
    )
    for name, what, figures in (("small", found, [drawn]), ("large", large(), pictures()), ("hostile", awkward, [])):
        (folder / f"{name}.html").write_text(page.html(what, summarise(what.results), figures), encoding="utf-8")
    return folder


def opened(
    driver: webdriver.Chrome, file: Path, width: int = 1280, *, dark: bool = False, scripts: bool = True, at: str = ""
) -> webdriver.Chrome:
    sized(driver, width, dark=dark)
    driver.get_log("browser")
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    driver.get("about:blank")
    driver.get(saved(file) + at)
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    if scripts:
        until(lambda: all_of(driver, "#looking .chosen a") and (all_of(driver, "#looking canvas") or "hostile" in file.name))
    return driver


def until(holds):
    start = time.monotonic()
    while not (found := holds()):
        assert time.monotonic() - start < SECONDS, "it never held"
        time.sleep(0.02)
    return found


def all_of(driver: webdriver.Chrome, selector: str) -> list:
    return driver.find_elements(By.CSS_SELECTOR, selector)


def column(driver: webdriver.Chrome, number: int) -> list[str]:
    """The visible texts of a column of the table of all rows."""
    lines = "[...document.querySelectorAll('#rows tbody tr')].filter((line) => !line.hidden)"
    script = f"return {lines}.map((line) => line.cells[arguments[0]].textContent)"
    return driver.execute_script(script, number)


def heads(driver: webdriver.Chrome) -> list[str]:
    return [head.get_attribute("textContent") for head in all_of(driver, "#rows thead th")]


def choose(driver: webdriver.Chrome, place: str, name: str, text: str) -> None:
    labels = "[...document.querySelectorAll(`#${arguments[0]} label`)]"
    script = f"return {labels}.find((each) => each.firstChild.textContent === arguments[1]).querySelector('select')"
    Select(driver.execute_script(script, place, name)).select_by_visible_text(text)


# The table ----------------------------------------------------------------------------------------------------------


def test_the_table_sorts_by_number_and_by_name(driver, folder):
    opened(driver, folder / "small.html")
    names = heads(driver)
    buttons = all_of(driver, "#rows thead button")
    place = names.index("accuracy, %")
    buttons[place].click()
    rising = [float(text) for text in column(driver, place)]
    assert rising == sorted(rising)
    assert len(set(rising)) > 20
    buttons[place].click()
    assert [float(text) for text in column(driver, place)] == rising[::-1] or column(driver, place)[0] == f"{max(rising):.1f}"
    assert buttons[place].find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"
    place = names.index("ε")
    buttons[place].click()
    eps = column(driver, place)
    assert [text for text in eps if "/" in text] == sorted((text for text in eps if "/" in text), key=lambda text: int(text.split("/")[0]))
    assert eps[-1] == ""  # clean images have none: last, whichever way
    buttons[place].click()
    assert column(driver, place)[-1] == ""


def test_the_table_is_filtered_by_choices_words_and_flags(driver, folder):
    opened(driver, folder / "small.html")
    every = len(column(driver, 0))
    choose(driver, "filters", "defence", "hybrid")
    choose(driver, "filters", "threat", "static")
    lines = list(zip(*(column(driver, heads(driver).index(name)) for name in ("defence", "threat")), strict=True))
    assert set(lines) == {("hybrid", "static")}
    assert 0 < len(lines) < every
    assert driver.find_element(By.CSS_SELECTOR, "#filters output").text == f"{len(lines)} of {every} rows"
    all_of(driver, "#filters input[type=search]")[0].send_keys("PGD 8/255")
    assert set(column(driver, heads(driver).index("attack"))) == {"pgd", "worst case"}  # whose budget names the attacks
    assert set(column(driver, heads(driver).index("ε"))) == {"8/255"}
    opened(driver, folder / "small.html")
    all_of(driver, "#filters input[type=checkbox]")[0].click()
    assert column(driver, heads(driver).index("flags"))
    assert all(column(driver, heads(driver).index("flags")))


def test_every_number_of_the_summary_leads_to_its_row_even_a_hidden_one(driver, folder):
    opened(driver, folder / "small.html")
    place = heads(driver).index("accuracy, %")
    numbers = all_of(driver, "table.summary .both a.number, table.summary .adaptive a.number, table.summary .static a.number")
    assert len(numbers) > 40
    assert len(numbers) == len(all_of(driver, "table.summary tbody td .number")) - len(all_of(driver, ".none .number, .missing"))
    row = "document.querySelector(a.getAttribute('href'))"
    script = f"return [...arguments[0]].map((a) => [a.textContent, {row}.cells[arguments[1]].textContent])"
    shares = all_of(driver, "table.summary td:has(.bar) a.number")
    assert all(number == row for number, row in driver.execute_script(script, shares, place))
    choose(driver, "filters", "defence", "none")
    link = next(each for each in shares if "hybrid" in each.find_element(By.XPATH, "../..").text)
    driver.execute_script("arguments[0].click()", link)
    found = until(lambda: all_of(driver, "#rows tr.found"))[0]
    assert found.is_displayed()
    assert "hybrid" in found.text


def test_flags_lead_to_their_explanation(driver, folder):
    opened(driver, folder / "small.html")
    link = all_of(driver, "#rows td a[href^='#flag-']")[0]
    driver.execute_script("arguments[0].click()", link)
    told = driver.find_element(By.ID, link.get_attribute("href").split("#")[1])
    assert told.tag_name == "dt"
    assert "To do:" in driver.execute_script("return arguments[0].nextElementSibling.textContent", told)


# Image by image -----------------------------------------------------------------------------------------------------


def pixels(driver: webdriver.Chrome, place: int) -> np.ndarray:
    canvas = "const c = document.querySelectorAll('#looking > ul canvas')[arguments[0]];"
    script = f"{canvas} return [c.height, c.width, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    high, wide, *values = driver.execute_script(script, place)
    return np.array(values, np.uint8).reshape(high, wide, 4)[..., :3]


def test_a_row_shows_its_images_as_they_were_attacked(driver, folder):
    opened(driver, folder / "small.html")
    choose(driver, "choices", "defence", "none")
    choose(driver, "choices", "attack", "pgd (L∞)")
    choose(driver, "choices", "ε", "8/255")
    until(lambda: "none under pgd, L∞ 8/255" in driver.find_element(By.CSS_SELECTOR, ".chosen").text)
    cards = until(lambda: all_of(driver, "#looking > ul > li"))
    kept = gallery("none", "pgd", eps=EPS[-1], norm="linf", purified=False)
    assert len(cards) == len(kept.x)
    assert cards[0].text.startswith("fell, the first of all\nSpeed limit (60km/h) 99 %")
    order = np.argsort(np.where(kept.rank < 0, 99, kept.rank))
    for view, images in (("original", kept.x), ("attacked", kept.x_adv)):
        before = driver.find_element(By.CSS_SELECTOR, "#looking > ul canvas").id
        driver.find_element(By.CSS_SELECTOR, f"[data-view={view}]").click()
        until(lambda: view == "attacked" or driver.find_element(By.CSS_SELECTOR, "#looking > ul canvas").id != before)  # noqa: B023
        time.sleep(0.3)
        for place, index in enumerate(order):
            np.testing.assert_allclose(pixels(driver, place), 255 * images[index], atol=1.2)
    driver.find_element(By.CSS_SELECTOR, "[data-view=all]").click()
    until(lambda: len(all_of(driver, "#looking > ul canvas")) == 3 * len(cards))
    assert "change × 15" in all_of(driver, "#looking > ul > li")[0].text
    change = pixels(driver, 2).astype(int)
    assert abs(change - 128).max() > 100


def test_what_does_not_exist_cannot_be_chosen(driver, folder):
    opened(driver, folder / "small.html")
    choose(driver, "choices", "attack", "cw (L2)")
    options = "[...each.querySelectorAll('option')].map((option) => option.textContent)"
    script = f"return [...document.querySelectorAll('#choices label')].map((each) => [each.firstChild.textContent, {options}])"
    assert dict(driver.execute_script(script))["ε"] == ["any"]
    choose(driver, "choices", "defence", "none")
    until(lambda: "none under cw" in driver.find_element(By.CSS_SELECTOR, ".chosen").text)


def test_a_row_of_the_table_leads_to_its_images_and_back(driver, folder):
    opened(driver, folder / "small.html", at="#see-3")
    chosen = driver.find_element(By.CSS_SELECTOR, ".chosen")
    assert chosen.text.endswith("Row 3")
    driver.execute_script("arguments[0].click()", driver.find_element(By.CSS_SELECTOR, "#row-6 a[href='#see-6']"))
    until(lambda: chosen.text.endswith("Row 6"))
    chosen.find_element(By.TAG_NAME, "a").click()
    assert until(lambda: all_of(driver, "#row-6.found"))[0].is_displayed()


def test_a_confusion_opens(driver, folder):
    opened(driver, folder / "small.html")
    buttons = until(lambda: all_of(driver, ".pairs button"))
    name, count = buttons[0].text.rsplit(" ", 1)
    buttons[0].click()
    told = until(lambda: driver.find_element(By.ID, "cell").text)
    true, answer = name.strip().split(" → ")
    assert told.startswith(f"{true} taken for {answer}: {count} of ")
    opened_ = driver.find_element(By.CSS_SELECTOR, "#looking details summary")
    opened_.click()
    cells = all_of(driver, ".matrix td button")
    number = int(driver.find_element(By.CSS_SELECTOR, ".chosen a").text.split()[1])
    result = summarise(findings().results).results[number]
    pairs = set(zip(result.labels.tolist(), result.predictions.tolist(), strict=True))
    assert len(cells) == len(pairs)
    assert sum(int(each.get_attribute("textContent")) for each in cells) == result.row.n
    assert [each.get_attribute("tabindex") for each in cells].count("0") == 1
    cells[0].send_keys(Keys.ARROW_RIGHT)
    moved = driver.switch_to.active_element
    assert moved.get_attribute("aria-label") != cells[0].get_attribute("aria-label")
    moved.send_keys(Keys.ENTER)
    until(lambda: driver.find_element(By.ID, "cell").text.startswith(moved.get_attribute("aria-label")))
    # An image that is kept is shown with its cell.
    kept = json.loads(re.search(r'id="data">(.*?)</script>', (folder / "small.html").read_text(), re.S)[1])["images"]["rows"][str(number)]
    wanted = next(at for at, fate in enumerate(kept["fate"]) if fate == 1)
    names = json.loads(re.search(r'id="data">(.*?)</script>', (folder / "small.html").read_text(), re.S)[1])["classes"]
    label = f"{names[kept['label'][wanted]]} taken for {names[kept['after'][wanted]]}:"
    cell = next((each for each in cells if each.get_attribute("aria-label").startswith(label)), None)
    if cell is not None:
        driver.execute_script("arguments[0].click()", cell)
        until(lambda: len(all_of(driver, "#looking > div:last-of-type .cards canvas")) >= 3)


# Curves -------------------------------------------------------------------------------------------------------------


def test_curves_tell_their_values_to_the_pointer_and_to_the_keyboard(driver, folder):
    opened(driver, folder / "small.html")
    figure = all_of(driver, "figure.chart")[0]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", figure)
    box = until(lambda: figure.find_elements(By.CSS_SELECTOR, ".tells"))[0]
    points = figure.find_elements(By.CSS_SELECTOR, ".trace a")
    assert not box.is_displayed()
    webdriver.ActionChains(driver).move_to_element_with_offset(points[3], 6, -5).perform()
    until(box.is_displayed)
    assert box.text == points[3].get_attribute("aria-label")
    assert re.fullmatch(r"none, adaptive, ε = 8/255: [\d.]+ % \([\d.]+ to [\d.]+\)", box.text)
    driver.execute_script("arguments[0].focus()", points[0])
    assert box.text.startswith("none, clean: 93.7 %")
    points[0].send_keys(Keys.ARROW_RIGHT)
    assert box.text.startswith("none, adaptive, ε = 2/255")
    driver.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert "ε = 2/255" in box.text
    assert not box.text.startswith("none")
    assert [each.get_attribute("tabindex") for each in points].count("0") == 1
    said = box.text
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    found = until(lambda: all_of(driver, "#rows tr.found"))[0]
    assert re.search(r": ([\d.]+) %", said)[1] in found.text


# Without scripts, small, dark, for all ------------------------------------------------------------------------------


def test_without_scripts_everything_is_there_to_read(driver, folder):
    opened(driver, folder / "small.html", scripts=False)
    assert not driver.find_element(By.ID, "looking").is_displayed()
    assert len(column(driver, 0)) == len(summarise(findings().results).rows)
    assert not all_of(driver, "button, select, input")
    titles = driver.execute_script("return [...document.querySelectorAll('figure.chart title')].map((title) => title.textContent)")
    assert "none, clean: 93.7 % (93.3 to 94.1)" in titles
    driver.find_element(By.CSS_SELECTOR, "a.number").click()
    assert driver.current_url.split("#")[1].startswith("row-")


@pytest.mark.parametrize("name", ["small", "large", "hostile"])
def test_nothing_is_wider_than_a_phone(driver, folder, name):
    opened(driver, folder / f"{name}.html", 390)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
    for each in all_of(driver, "details"):
        driver.execute_script("arguments[0].open = true", each)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(driver, folder, width, dark, scripts):
    source = axe.script()
    opened(driver, folder / "small.html", width, dark=dark, scripts=scripts)
    if scripts:
        until(lambda: all_of(driver, ".pairs button"))[0].click()
        driver.find_element(By.CSS_SELECTOR, "[data-view=all]").click()
        time.sleep(0.5)
    for each in all_of(driver, "details"):
        driver.execute_script("arguments[0].open = true", each)
    assert axe.violations(driver, source) == []


def test_axe_finds_nothing_on_a_long_page(driver, folder):
    source = axe.script()
    opened(driver, folder / "large.html")
    assert axe.violations(driver, source, exclude=["#rows tbody tr:nth-child(n+20)"]) == []  # the others are like them


def test_hostile_names_stay_text(driver, folder):
    opened(driver, folder / "hostile.html")
    assert not all_of(driver, "b, iframe, object")
    assert len(all_of(driver, "script")) == 2
    texts = driver.execute_script("return document.querySelector('#rows').textContent + document.querySelector('#looking').textContent")
    for label in HOSTILE:
        assert label in texts
    assert all(entry["level"] != "SEVERE" for entry in driver.get_log("browser"))


def test_the_policy_lets_no_other_script_run(driver, folder):
    opened(driver, folder / "small.html")
    driver.execute_script(
        "const other = document.createElement('script'); other.textContent = 'window.ran = 1'; document.body.append(other)"
    )
    assert driver.execute_script("return window.ran") is None
    assert any("Content Security Policy" in entry["message"] for entry in driver.get_log("browser"))


# Size and time ------------------------------------------------------------------------------------------------------


def test_five_hundred_rows_are_ten_megabytes_at_most_and_usable_within_a_second(driver, folder):
    assert len(large().results) == 500
    size = (folder / "large.html").stat().st_size
    assert size < 10_000_000
    took = []
    while len(took) < 8 and not any(a + b < 1000 for a, b in took):  # on a machine with other work, the best of several
        opened(driver, folder / "large.html")
        loaded = driver.execute_script("const [entry] = performance.getEntriesByType('navigation'); return entry.domContentLoadedEventEnd")
        click = "const button = document.querySelectorAll('#rows thead button')[9], start = performance.now(); button.click();"
        sort = f"{click} document.getElementById('rows').getBoundingClientRect(); return performance.now() - start"
        took.append((loaded, driver.execute_script(sort)))
    print(f"{size / 1e6:.1f} MB; DOMContentLoaded and first sort: {'; '.join(f'{a:.0f} + {b:.0f} ms' for a, b in took)}")
    assert min(a + b for a, b in took) < 1000
    rising = [float(text) for text in column(driver, 9)]
    assert rising == sorted(rising)
    assert len(rising) == 540
    assert all(entry["level"] != "SEVERE" for entry in driver.get_log("browser"))
    images = json.loads(re.search(r'id="data">(.*?)</script>', (folder / "large.html").read_text(), re.S)[1])["images"]["rows"]
    assert len(images) == 480
    assert len({len(row["rank"]) for row in images.values()}) == 1
    assert all(min(rank for rank in row["rank"]) >= 0 and len(row["rank"]) >= 6 for row in images.values())
