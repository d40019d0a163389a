"""Figures: what they show, that everything fits, and the images of galleries on disk."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg

from advrun.errors import DataError
from advrun.fonts import BASE, families, fonts_for
from advrun.report import Gallery, figures
from advrun.report.confusion import MOST, confusion, confusions, matrix, shown_classes, telling
from advrun.report.curves import robustness, thinned, training
from advrun.report.lettering import class_labels, folded, shortened, width
from advrun.report.mosaic import SHOWN, chosen, magnification, mosaic, pooled
from advrun.report.style import STYLE, look, picture
from advrun.report.summary import summarise
from advrun.results import Result
from tests.report._sample import CLASS_NAMES, EPS, findings, gallery, result

LONG = "adversarial_training_with_a_name_that_nobody_would_want_to_type_twice_variant"
CHINESE = ("停车", "禁止驶入", "主要道路", "让行")
TWELVE = tuple(step / 255 for step in range(1, 13))


def drawn(draw, fonts=(BASE,)):
    """The figure as `picture` draws it; any warning is an error."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("error")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE | {"font.family": list(fonts)})
        figure, caption = draw()
        FigureCanvasAgg(figure).draw()
        inside = figure.get_tightbbox()
        assert min(inside.x0, inside.y0) >= -0.01, "cut off at the left or below"
        assert inside.x1 <= figure.get_figwidth() + 0.01, "cut off at the right"
        assert inside.y1 <= figure.get_figheight() + 0.01, "cut off above"
        for axes in figure.axes:
            for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
                boxes = [label.get_window_extent() for label in labels if label.get_text()]
                assert not any(one.overlaps(other) for one, other in combinations(boxes, 2)), [label.get_text() for label in labels]
    return figure, caption


def many(systems: int, radii=TWELVE, flags=None, name=LONG, **fields):
    """Results of so many systems, the first of them undefended, under one attack at many eps; flags: by system and place of the eps."""
    found = []
    for system in range(systems):
        label = f"{name}_{system}" if system else "none"
        found.append(result(label, "clean", "none", accuracy=0.95 - 0.01 * system))
        for place, eps in enumerate(radii):
            accuracy = (0.95 - 0.01 * system) * np.exp(-0.05 * (system + 1) * place)
            raised = (flags or {}).get((system, place), ())
            found.append(result(label, "pgd", "adaptive", accuracy=accuracy, eps=eps, norm=fields.get("norm", "linf"), flags=raised))
    return summarise(found)


def panel_of(summary, attack="pgd"):
    return next(panel for panel in summary.panels if panel.attack.name == attack)


# Curves ---------------------------------------------------------------------------------------------------------------


def test_robustness_curves_are_the_accuracies():
    found = findings()
    sound = [replace(each, row=replace(each.row, flags=())) for each in found.results]
    summary = summarise(sound)
    panel = panel_of(summary)
    figure, _ = drawn(lambda: robustness(summary, panel, "lnet"))
    lines = {tuple(np.round(line.get_ydata(), 9)): line for line in figure.axes[0].lines}
    assert len(lines) == 1 + 2 * 3
    for system in summary.systems:
        for threat in ["adaptive"] if system.undefended else ["static", "adaptive"]:
            cells = [summary.clean(system), *(summary.cell(system, panel.attack, eps, threat) for eps in EPS)]
            line = lines[tuple(np.round([100 * cell.accuracy for cell in cells], 9))]
            assert list(line.get_xdata()) == [0.0, *EPS]
            assert (line.get_linestyle() == "-") == (threat == "adaptive")


def test_what_is_flagged_is_hollow_on_a_thin_line_and_in_the_legend():
    summary = many(2, EPS, {(1, 2): ("static-wins",)}, name="hybrid")
    figure, caption = drawn(lambda: robustness(summary, panel_of(summary), "lnet"))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    (flag,) = (text for text in legend if "static-wins" in text)
    mark = flag.split()[0]
    assert mark in [text.get_text() for text in figure.axes[0].texts]
    color = look(["none", "hybrid_1"])["hybrid_1"]["color"]
    sound, thin, hollow = (line for line in figure.axes[0].lines if line.get_color() == color)
    assert np.isnan(sound.get_ydata()).tolist() == [False, False, False, True]
    assert np.isnan(hollow.get_ydata()).tolist() == [True, True, True, False]
    assert (hollow.get_markerfacecolor(), hollow.get_markeredgecolor(), hollow.get_linestyle()) == ("white", color, "None")
    assert thin.get_linewidth() < sound.get_linewidth()
    assert thin.get_alpha() < 1
    assert "hollow" in caption


def test_sound_lines_have_no_doubt_in_figure_or_caption():
    summary = many(3, EPS)
    figure, caption = drawn(lambda: robustness(summary, panel_of(summary), "lnet"))
    assert "hollow" not in caption
    assert len(figure.axes[0].lines) == 3
    assert not figure.axes[0].texts


@pytest.mark.parametrize(
    ("systems", "radii", "norm", "name"),
    [
        (10, TWELVE, "linf", LONG),
        (10, tuple(2.0**power / 255 for power in range(-4, 8)), "linf", "defence"),
        (4, tuple(0.05 * step for step in range(1, 13)), "l2", "short"),
        (1, (8 / 255,), "linf", LONG),
        (23, (0.1, 1.0, 10.0, 100.0, 1000.0), "l1", LONG * 3),
    ],
)
def test_many_systems_with_long_names_and_many_eps_fit(systems, radii, norm, name):
    flags = {(system, place): ("zero-gradients", "static-wins", "unmoved") for system in (2, 5) for place in range(len(radii))}
    summary = many(systems, radii, flags, name=name, norm=norm)
    figure, _ = drawn(lambda: robustness(summary, panel_of(summary), "lnet"))
    axes = figure.axes[0]
    legend = figure.legends[0].get_window_extent()
    assert legend.y0 >= axes.title.get_window_extent().y1
    assert axes.title.get_window_extent().y0 >= axes.get_window_extent().y1
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert len(labels) == len(radii) + 1
    assert labels[0] == "0"
    assert labels[-1]


def test_eps_are_fractions_and_evenly_thinned_out():
    summary = many(1)
    figure, _ = drawn(lambda: robustness(summary, panel_of(summary), "lnet"))
    labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert [label for label in labels if label] == ["0", "2/255", "4/255", "6/255", "8/255", "10/255", "12/255"]


def test_thinned_labels_keep_both_ends():
    assert thinned([0.0, 0.01, 0.02, 0.03], ["0", "1/255", "2/255", "3/255"], 7) == ["0", "", "", "3/255"]
    assert thinned([0.0, 1.0, 2.0], ["0", "a", "b"], 7) == ["0", "a", "b"]


def test_every_system_has_its_own_colour_and_marker_up_to_ten_and_its_own_pair_beyond():
    styles = look([f"defence {index}" for index in range(60)])
    assert len({style["color"] for style in list(styles.values())[:11]}) == 11
    assert len({style["marker"] for style in list(styles.values())[:12]}) == 12  # in print without colour too
    assert len({(style["color"], style["marker"]) for style in styles.values()}) == 61


def test_a_defence_has_the_same_colour_for_every_model():
    assert look(["none", "a", "b", "none", "a", "b"]) == look(["none", "a", "b"])


def test_training_curves_are_the_history():
    history = {"loss": [2.0, 1.0], "val_loss": [2.5, 1.5], "val_adversarial_accuracy": [0.1, None], "learning_rate": [1.0, 1.0]}
    figure, _ = drawn(lambda: training("lnet", history))
    losses, accuracies = figure.axes
    assert [line.get_ydata().tolist() for line in losses.lines] == [[2.0, 1.0], [2.5, 1.5]]
    assert [line.get_label() for line in (*losses.lines, *accuracies.lines)] == ["training", "validation", "validation, adversarial"]
    np.testing.assert_array_equal(accuracies.lines[0].get_ydata(), [10.0, np.nan])


@pytest.mark.parametrize("losses", [[3.9025, 3.7531, 3.7], [123456.7, 0.1], [1e-7, 3e-7], [2.0]])
def test_training_curves_fit_whatever_their_size(losses):
    names = ("loss", "val_loss", "accuracy", "val_accuracy", "adversarial_accuracy", "val_adversarial_accuracy")
    drawn(lambda: training("lnet / hybrid", dict.fromkeys(names, losses)))


def test_hostile_labels_can_be_drawn():
    results = [result(label, "$\\frac$", "adaptive", accuracy=0.5, eps=0.1, norm="linf") for label in ("$\\frac$", "_hidden", "a\nb\x07")]
    summary = summarise(results)
    figure, _ = drawn(lambda: robustness(summary, summary.panels[-1], "lnet"))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["$\\frac$", "_hidden", "a b□", "adaptive"]


# Galleries in figures ---------------------------------------------------------------------------------------------------


def shown(high=32, wide=32, channels=3, count=8, *, defense="none", change=8 / 255, purified=False, **fields):
    """Images of that size, each value changed by +- `change`, or by the array."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.3, 0.7, (count, high, wide, channels)).astype(np.float32)
    moved = change * rng.choice([-1, 1], x.shape) if np.ndim(change) == 0 else change
    x_adv = (x + moved).astype(np.float32)
    label = np.arange(count)
    return replace(
        gallery(defense, "pgd", eps=8 / 255, norm="linf", purified=False),
        x=x,
        x_adv=x_adv,
        defended=(x + moved / 2).astype(np.float32) if purified else None,
        label=label,
        predicted=label,
        predicted_adv=(label + 1) % len(CLASS_NAMES),
        confidence=np.full(count, 0.9),
        place=label,
        distance=np.full(count, 8 / 255),
        rank=label,
        confidence_adv=np.full(count, 0.8),
        **fields,
    )


def test_perturbation_is_scaled_until_it_can_be_seen():
    change = np.array([8 / 255, -4 / 255, 0], np.float32)
    assert magnification(change) == 15
    assert 0 <= (0.5 + 15 * change).min() <= (0.5 + 15 * change).max() <= 1
    assert magnification(np.zeros(3)) == 1
    assert magnification(np.ones(3)) == 1
    assert magnification(np.full(9, 1e-8)) == 1  # arithmetic, not an attack


def test_few_great_changes_do_not_hide_the_others():
    minimal = np.full(1000, 0.001)
    minimal[:10] = 0.4
    assert magnification(minimal) == 500


def test_pooling_keeps_the_greatest_change_of_each_block():
    change = np.zeros((224, 223, 3))
    change[100, 101, 1] = -0.25
    small = pooled(change, 64)
    assert small.shape == (56, 56, 3)
    assert (small.min(), np.count_nonzero(small)) == (-0.25, 1)
    assert pooled(change, 300) is change


def test_mosaic_shows_the_same_images_for_all_defences_and_the_factor_of_each():
    plain, purified = shown(), shown(defense="hybrid", change=2 / 255, purified=True)
    figure, caption = drawn(lambda: mosaic([plain, purified], CLASS_NAMES))
    images = [image.get_array() for image in figure.axes[0].images]
    assert len(images) == SHOWN * (1 + 2 + 3)
    np.testing.assert_allclose(images[0], plain.x[0], atol=1e-6)
    np.testing.assert_allclose(images[SHOWN], plain.x_adv[0], atol=1e-6)
    np.testing.assert_allclose(images[SHOWN + 1], np.clip(0.5 + 15 * (plain.x_adv[0] - plain.x[0]), 0, 1), atol=1e-5)
    np.testing.assert_allclose(images[3 * SHOWN], purified.x_adv[0], atol=1e-6)
    np.testing.assert_allclose(images[3 * SHOWN + 2], purified.defended[0], atol=1e-6)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert (texts.count("× 15"), texts.count("× 63")) == (SHOWN, SHOWN)
    assert sum("✗ 80 %" in text for text in texts) == 2 * SHOWN
    assert {"none", "hybrid", "original"} <= set(texts)
    assert "that every system had right" in caption


def test_minimal_perturbations_have_a_factor_each():
    sizes = np.geomspace(0.0005, 0.1, 8)[:, None, None, None] * np.ones((8, 32, 32, 3))
    figure, _ = drawn(lambda: mosaic([shown(change=sizes, eps=None, norm="l2")], CLASS_NAMES))
    factors = [text.get_text() for text in figure.axes[0].texts if text.get_text().startswith("×")]
    found = [int(factor.removeprefix("× ").replace(",", "")) for factor in factors]
    assert found == pytest.approx([0.5 / size for size in sizes.max(axis=(1, 2, 3))[:SHOWN]], rel=0.02)
    assert max(found) > 900


def test_images_that_all_systems_had_right_come_first_and_others_say_so():
    right = np.array([0, 9, 2, 3, 4, 9, 6, 7])
    first, second = shown(), replace(shown(defense="hybrid"), predicted=right)
    assert chosen([first, second], 5) == [0, 2, 3, 4, 6]
    assert chosen([first, second], 7) == [0, 2, 3, 4, 6, 7, 1]
    wrong = replace(second, predicted=np.full(8, 9))
    figure, caption = drawn(lambda: mosaic([first, wrong], CLASS_NAMES))
    assert sum("wrong before" in text.get_text() for text in figure.axes[0].texts) == SHOWN
    assert "wrong before the attack" in caption


@pytest.mark.parametrize(
    ("high", "wide", "channels", "count"),
    [(40, 100, 3, 8), (100, 40, 3, 8), (224, 224, 3, 6), (28, 28, 1, 1), (8, 8, 2, 3), (16, 400, 4, 4), (400, 16, 3, 4)],
)
def test_images_keep_their_proportions_and_everything_fits(high, wide, channels, count):
    several = [shown(high, wide, channels, count, defense=name, purified=name != "none") for name in ("none", LONG, "hybrid")]
    figure, _ = drawn(lambda: mosaic(several, CLASS_NAMES))
    assert figure.get_figwidth() <= 7
    for image in figure.axes[0].images:
        left, right, low, high_edge = image.get_extent()
        assert abs(right - left) / abs(high_edge - low) == pytest.approx(wide / high)
    blurred = {image.get_interpolation() for image in figure.axes[0].images[:1]}
    assert blurred == ({"hanning"} if max(high, wide) > 64 else {"nearest"})


def test_rows_say_their_eps_where_it_differs():
    several = [shown(eps=8 / 255), shown(defense="hybrid", eps=4 / 255)]
    figure, _ = drawn(lambda: mosaic(several, CLASS_NAMES))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"none\nL∞ 8/255", "hybrid\nL∞ 4/255", "lnet under pgd, L∞"} <= set(texts)
    assert "8/255" in mosaic(several[:1], CLASS_NAMES)[1]


def test_ten_systems_share_one_gallery():
    found = replace(
        findings(galleries=False), results=[], histories={}, galleries=[shown(count=1, defense=f"{LONG}_{i}") for i in range(10)]
    )
    (only,) = figures.pictures(found, summarise([]))
    assert (only.kind, only.name) == ("gallery", "examples-lnet-pgd-linf")


def test_galleries_are_chosen_by_the_eps_that_all_have_then_by_threat():
    sizes = {"none": (EPS[0], EPS[1], EPS[2]), "hybrid": (EPS[0], EPS[1])}
    several = [shown(defense=name, eps=eps, threat=threat) for name in sizes for eps in sizes[name] for threat in ("static", "adaptive")]
    picked = figures.one_each(several)
    assert {(each.defense, each.eps, each.threat) for each in picked} == {("none", EPS[1], "adaptive"), ("hybrid", EPS[1], "adaptive")}


def test_every_target_has_its_gallery():
    several = [shown(count=1, target=target) for target in ("", "2", "second")]
    found = replace(findings(galleries=False), results=[], histories={}, galleries=several)
    made = figures.pictures(found, summarise([]))
    assert [picture.name for picture in made] == [f"examples-lnet-pgd-linf{aim}" for aim in ("", "-target-2", "-target-second")]
    assert "pgd (target second), L∞" in made[2].caption


def test_a_gallery_without_images_is_no_figure():
    found = replace(findings(galleries=False), results=[], histories={}, galleries=[shown(count=0)])
    assert figures.pictures(found, summarise([])) == []


# Confusion ------------------------------------------------------------------------------------------------------------


def confused(classes: int, n: int = 600) -> Result:
    """A third of the answers is one class too high."""
    labels = np.arange(n, dtype=np.int32) % classes
    predictions = np.where(np.arange(n) % 3 == 0, (labels + 1) % classes, labels).astype(np.int32)
    measured = result("none", "pgd", "adaptive", accuracy=0.5, eps=8 / 255, norm="linf")
    return Result(replace(measured.row, n=n), labels, predictions, np.zeros(n, np.float32))


def test_confusion_matrix_counts_and_names():
    labels, predictions = np.array([0, 0, 0, 1, 2, 2]), np.array([1, 1, 0, 1, 0, 1])
    counts = matrix(labels, predictions, 4)
    assert counts.tolist() == [[1, 2, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert confusions(counts, 2) == [(0, 1, 2), (2, 0, 1)]
    attacked = replace(result("none", "pgd", "adaptive", accuracy=0.5), labels=labels, predictions=predictions)
    figure, caption = drawn(lambda: confusion(attacked, ("a", "b", "c", "d")))
    shares = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shares.sum(axis=1)[:3], 1)
    assert np.ma.getmaskarray(shares)[3].all()
    assert "a taken for b (2 of 3)" in caption
    assert f"; n = {attacked.row.n}" in " ".join(each.get_text() for each in figure.texts).replace("\n", " ")
    assert f"; n = {attacked.row.n}" in caption


@pytest.mark.parametrize("classes", [2, 4, 12, 43, 50])
@pytest.mark.parametrize("name", ["c", "No passing for vehicles over 3.5 metric tons, class"])
def test_every_class_name_fits_at_the_axes(classes, name):
    names = [f"{name} {index}" for index in range(classes)]
    figure, _ = drawn(lambda: confusion(confused(classes), names))
    for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels()):
        assert len({label.get_text() for label in labels}) == classes
        assert all(label.get_text().endswith(str(index)) for index, label in enumerate(labels))
    assert "lnet / none under pgd, L∞ 8/255; n = 600" in [text.get_text() for text in figure.texts]
    box, title = figure.axes[0].get_window_extent(), figure.texts[0].get_window_extent()
    assert box.width == pytest.approx(box.height)
    assert title.y0 >= box.y1


def test_of_a_thousand_classes_those_confused_most_are_shown():
    labels = np.repeat(np.arange(1000), 3)
    predictions = labels.copy()
    predictions[3 * 500 : 3 * 510] = 7  # classes 500 to 509
    assert {7, *range(500, 510)} <= set(shown_classes(matrix(labels, predictions, 1000)))
    attacked = replace(result("none", "pgd", "adaptive", accuracy=0.5), labels=labels, predictions=predictions)
    figure, caption = drawn(lambda: confusion(attacked, [f"a class with quite a long name, number {index}" for index in range(1000)]))
    assert len(figure.axes[0].get_yticklabels()) == MOST
    assert f"The {MOST} of 1,000 classes that are confused most" in caption


def test_confusion_is_of_the_attack_that_says_most():
    attacks = [result("none", name, "adaptive", accuracy=share) for name, share in (("a", 0.0), ("b", 0.97), ("c", 0.4), ("d", 0.2))]
    assert telling(attacks).row.attack == "c"
    few = result("none", "e", "adaptive", accuracy=0.5, n=40)
    assert telling([few, *attacks]).row.attack == "c"
    aimed, doubted = (result("none", "f", "adaptive", accuracy=0.5, **why) for why in ({"target": "2"}, {"flags": ("unmoved",)}))
    assert telling([aimed, doubted, attacks[3]]).row.attack == "d"
    assert telling([aimed, doubted]) is doubted
    assert telling(attacks[:1]) is attacks[0]


def test_confusion_is_of_an_attack_that_was_run():
    """Not of the closest example over several."""
    attacks = [result("none", name, "adaptive", accuracy=0.5, norm="l2", metrics={"l2": 0.5}) for name in ("ddn", "fmn")]
    found = replace(findings(galleries=False), results=attacks, histories={})
    (only,) = figures.pictures(found, summarise(attacks))
    assert only.kind == "confusion"
    assert "ddn" in only.caption


# Letters --------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["truetype", pytest.param("cff", marks=pytest.mark.slow)])
def chinese_font(request, tmp_path):
    """A font of boxes for the characters of CHINESE, known to matplotlib while the test runs."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.t2CharStringPen import T2CharStringPen
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    letters = sorted(set("".join(CHINESE)))
    names = [".notdef", *(f"uni{ord(letter):04X}" for letter in letters)]
    builder = FontBuilder(1000, isTTF=request.param == "truetype")
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names[1:], strict=True)})

    def box(pen):
        pen.moveTo((100, 0))
        for corner in ((100, 800), (900, 800), (900, 0)):
            pen.lineTo(corner)
        pen.closePath()
        return pen

    if request.param == "truetype":
        builder.setupGlyf({name: box(TTGlyphPen(None)).glyph() for name in names})
    else:
        builder.setupCFF("AdvrunTestHan", {}, {name: box(T2CharStringPen(1000, None)).getCharString() for name in names}, {})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    builder.setupHorizontalHeader(ascent=880, descent=-120)
    builder.setupNameTable({"familyName": "Advrun Test Han", "styleName": "Regular", "psName": "AdvrunTestHan"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    path = tmp_path / ("han.ttf" if request.param == "truetype" else "han.otf")
    builder.save(path)
    known = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(path)
    yield "Advrun Test Han"
    font_manager.fontManager.ttflist[:] = known
    font_manager.fontManager._findfont_cached.cache_clear()


def in_chinese():
    """Findings with one confusion and one gallery, of four classes with Chinese names."""
    found = findings(galleries=False)
    attacked = confused(4)
    return replace(found, results=[attacked], histories={}, class_names=CHINESE, galleries=[shown(count=3)])


def test_a_font_that_has_the_characters_is_used(chinese_font, caplog):
    assert families(CHINESE) == [BASE, chinese_font]
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        made = figures.pictures(in_chinese(), summarise(in_chinese().results))
    assert sorted(picture.kind for picture in made if picture.kind != "robustness") == ["confusion", "gallery"]
    assert not caplog.records
    assert all(picture.pdf.startswith(b"%PDF") for picture in made)
    figure, _ = drawn(lambda: confusion(confused(4), CHINESE), [BASE, chinese_font])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(CHINESE)


def test_without_a_font_classes_have_numbers_and_one_line_says_so(caplog, monkeypatch):
    kept = [entry for entry in font_manager.fontManager.ttflist if entry.name == BASE]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", kept)
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        figures.pictures(in_chinese(), summarise(in_chinese().results))
    (record,) = caplog.records
    assert "class numbers" in record.getMessage()
    figure, _ = drawn(lambda: confusion(confused(4), ("停车", "Stop", "让行", "")))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["0", "Stop", "2", "3"]


def test_fonts_for_latin_letters_are_the_one_that_is_always_there():
    assert families(["Höchstgeschwindigkeit", "Stop"]) == [BASE]
    fonts, lacking = fonts_for(["Δέλτα", "Дорога"])
    assert [font.family for font in fonts] == [BASE]
    assert not lacking


def test_text_is_folded_and_shortened_to_fit():
    with matplotlib.rc_context(STYLE | {"font.family": [BASE]}):
        for text in (LONG, "Right-of-way at the next intersection", "W" * 80, "a b"):
            for room in (0.5, 1.0, 2.0):
                lines = folded(text, 7, room, 3)
                assert 1 <= len(lines) <= 3
                assert all(width(line, 7) <= room for line in lines)
        assert folded("Speed limit (20km/h)", 7, 0.8) == ["Speed limit", "(20km/h)"]
        assert folded(LONG, 7, 2.5, 3)[0].endswith("_")
        assert "".join(folded(LONG, 7, 2.5, 3)) == LONG
        cut = shortened(f"{LONG}_7", 7, 1.5)
        assert cut.startswith("adversarial")
        assert cut.endswith("_7")
        assert class_labels(["Stop", " ", "a\nb"]) == ["Stop", "1", "a b"]


# All of them ----------------------------------------------------------------------------------------------------------


def test_figure_files_have_safe_and_different_names():
    taken: set[str] = set()
    names = [figures.file_name(name, taken) for name in ("a b", "a/b", "a b-2", "../../x", "$\\frac$", "_hidden", "a b")]
    assert names == ["a-b", "a-b-2", "a-b-2-2", "x", "frac", "_hidden", "a-b-3"]


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    picture(lambda: training("lnet", {"loss": [1.0]}), "x", "training")
    assert dict(matplotlib.rcParams) == before


# Galleries on disk ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("eps", "purified"), [(EPS[0], True), (None, False)])
def test_gallery_survives_the_disk(tmp_path, eps, purified):
    """Images to 8 bits; the change to 1/254 of its largest value, however small that is."""
    rng = np.random.default_rng(0)
    x = (rng.integers(0, 256, (6, 32, 32, 3)) / 255).astype(np.float32)
    sizes = np.array([0, 1e-4, 1e-3, 0.03, 0.5, 1])[:, None, None, None]
    change = (sizes * rng.uniform(-1, 1, x.shape)).astype(np.float32)
    kept = replace(gallery("hybrid", "pgd", eps=eps, norm="linf", purified=purified), x=x, x_adv=x + change)
    kept.write(tmp_path / "gallery.npz")
    again = Gallery.read(tmp_path / "gallery.npz")
    assert (again.model, again.defense, again.eps, again.seed, again.norm) == ("lnet", "hybrid", eps, 0, "linf")
    assert (type(again.seed), type(again.attack)) == (int, str)
    np.testing.assert_allclose(again.x, kept.x, atol=1e-7)
    for index, size in enumerate(sizes.ravel()):
        np.testing.assert_allclose((again.x_adv - again.x)[index], change[index], atol=size / 250 + 2e-7)
    for name in ("label", "predicted", "predicted_adv", "confidence", "confidence_adv"):
        np.testing.assert_array_equal(getattr(again, name), getattr(kept, name))
    assert (again.defended is None) == (not purified)
    assert all(array.dtype != object for array in kept.to_arrays().values())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive"])
def test_damaged_galleries_are_refused(tmp_path, content):
    (tmp_path / "gallery.npz").write_bytes(content)
    with pytest.raises(DataError, match="delete it and run again"):
        Gallery.read(tmp_path / "gallery.npz")


def test_incomplete_galleries_are_refused(tmp_path):
    np.savez(tmp_path / "gallery.npz", x=np.zeros(3))
    with pytest.raises(DataError, match="reach"):
        Gallery.read(tmp_path / "gallery.npz")


def test_galleries_whose_arrays_do_not_belong_together_are_refused(tmp_path):
    arrays = shown().to_arrays()
    np.savez(tmp_path / "gallery.npz", **arrays | {"change": arrays["change"][:2]})
    with pytest.raises(DataError, match="do not belong"):
        Gallery.read(tmp_path / "gallery.npz")
