"""Two results folders beside each other: the same images are found whatever their order, and what differs is said as it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import binomtest, fisher_exact

from advrun.cli import main
from advrun.compare import shown, told
from advrun.compare.changes import different
from advrun.compare.pairs import Comparison, compare_sides
from advrun.compare.sides import read
from advrun.config.yamlfile import parse
from advrun.errors import DataError
from advrun.files import digest
from advrun.flags import GUESSES, mark
from advrun.paired import newcombe_interval, score_interval
from tests.compare._folder import CONFIG, images, permuted, row, sealed_again, write_folder
from tests.fuzzing import damaged

N = 60


def outcomes(seed: int, share: float, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).random(n) < share


def compared(*folders: Path) -> Comparison:
    return compare_sides([read(folder, letter) for folder, letter in zip(folders, "ABCDEF", strict=False)])


def advrun(*arguments: object, **environment: str):
    return CliRunner().invoke(main, ["compare", *map(str, arguments)], env=environment)


BEFORE, AFTER = outcomes(1, 0.4), outcomes(1, 0.4) | outcomes(2, 0.4)


@pytest.fixture
def two(tmp_path) -> tuple[Path, Path]:
    """The second is better at pgd, and the same on clean images."""
    clean = row("clean", outcomes(0, 0.9))
    first = write_folder(tmp_path / "a", [clean, row("pgd", BEFORE)], images(N))
    return first, write_folder(tmp_path / "b", [clean, row("pgd", AFTER)], images(N))


def test_the_same_images_are_tested_in_pairs(two):
    comparison = compared(*two)
    pairs = {pair.name.attack: pair for pair in comparison.against[0].pairs}
    assert pairs.keys() == {"clean", "pgd", "worst case"}
    gained, lost = int((AFTER & ~BEFORE).sum()), int((BEFORE & ~AFTER).sum())
    assert lost == 0 < gained
    found = pairs["pgd"].found
    assert found.common == N
    assert found.value == pytest.approx(gained / N)
    assert (found.low, found.high) == pytest.approx(score_interval(gained, 0, N))
    assert found.p == pytest.approx(binomtest(gained, gained).pvalue)
    assert pairs["pgd"].adjusted == pytest.approx(min(1, 2 * found.p))  # beside the worst case; clean images are no test
    assert comparison.tests == 2
    assert [pairs[name].verdict for name in ("clean", "pgd", "worst case")] == ["the same", "better", "better"]


def test_permuting_the_images_changes_nothing(two, tmp_path):
    order = np.random.default_rng(4).permutation(N)
    rows = [permuted(each, order) for each in (row("clean", outcomes(0, 0.9)), row("pgd", AFTER))]
    names, labels = np.array(images(N))[order], (np.arange(N) % 4)[order]
    other = write_folder(tmp_path / "c", rows, list(names), [int(label) for label in labels])
    plain, again = (told.plain(compared(two[0], folder)) for folder in (two[1], other))
    assert plain["against"] == again["against"]
    position = told.plain(compared(two[0], write_folder(tmp_path / "d", rows, images(N), [int(label) for label in labels])))
    assert position["against"] != plain["against"]  # by position alone, other images would be compared


def test_rows_of_some_of_the_images_are_compared_on_the_common_ones(tmp_path):
    first = write_folder(tmp_path / "a", [row("pgd", BEFORE)], images(N))
    second = write_folder(tmp_path / "b", [row("pgd", AFTER[20:50])], images(30, 20))
    (pair, _) = compared(first, second).against[0].pairs
    gained = int((AFTER & ~BEFORE)[20:50].sum())
    assert (pair.found.common, pair.found.value) == (30, pytest.approx(gained / 30))


@pytest.mark.parametrize("names", [None, images(N, 1000), images(N, N - 20)], ids=["no record", "other images", "few in common"])
def test_other_images_are_compared_unpaired(two, tmp_path, names):
    other = write_folder(tmp_path / "c", [row("pgd", AFTER)], names)
    comparison = compared(two[0], other)
    pair = next(pair for pair in comparison.against[0].pairs if pair.name.attack == "pgd")
    before, after = int(BEFORE.sum()), int(AFTER.sum())
    assert not pair.found.paired
    assert (pair.found.low, pair.found.high) == newcombe_interval(after, N, before, N)
    assert pair.found.p == pytest.approx(fisher_exact([[after, N - after], [before, N - before]]).pvalue)
    assert told.way(pair) == "unpaired"
    assert ("record.json" in "".join(told.remarks(comparison))) == (names is None)


def test_labels_that_do_not_belong_to_the_record_are_not_paired_and_renumbered_classes_are(two, tmp_path):
    renumbered = write_folder(tmp_path / "c", [row("pgd", AFTER)], images(N), [(number + 2) % 4 for number in range(N)])
    assert compared(two[0], renumbered).against[0].pairs[0].found.common == N
    wrong = write_folder(tmp_path / "d", [row("pgd", AFTER)], images(N), [number // 4 % 4 for number in range(N)])
    assert not compared(two[0], wrong).against[0].pairs[0].found.paired


def test_equal_images_are_told_apart_by_their_number(tmp_path):
    names = ["same"] * 8
    right = [True] * 5 + [False] * 3
    folders = [write_folder(tmp_path / name, [row("pgd", right)], names, [0] * 8) for name in "ab"]
    # the labels of `row` go 0, 1, 2, 3, and the record must agree with them
    assert not compared(*folders).against[0].pairs[0].found.paired
    folders = [write_folder(tmp_path / name, [row("pgd", right)], names) for name in "cd"]
    assert compared(*folders).against[0].pairs[0].found.common == 8


def test_rows_of_one_class_are_those_of_its_images(tmp_path):
    labels = [number % 4 for number in range(N)]
    only = row("patch", [True] * 15, norm="", settings={"source_class": 2})
    only.labels[:] = 2
    only.predictions[:] = 2
    folders = [write_folder(tmp_path / name, [row("clean", BEFORE), only], images(N), labels) for name in "ab"]
    found = {pair.name.attack: pair.found.common for pair in compared(*folders).against[0].pairs}
    assert found == {"clean": N, "patch": 15}


def test_what_is_in_one_folder_only_is_listed(two, tmp_path):
    other = write_folder(tmp_path / "c", [row("clean", outcomes(0, 0.9)), row("fgsm", AFTER)], images(N))
    against = compared(two[0], other).against[0]
    assert [name.attack for name in against.gone] == ["pgd"]
    assert [name.attack for name in against.new] == ["fgsm"]
    assert told.alone(against) == ["only in A: m / d, pgd L∞ 0.1 adaptive", "only in B: m / d, fgsm L∞ 0.1 adaptive"]


def test_the_terminal_stays_readable_where_there_are_very_many_rows(tmp_path):
    rows = [row("pgd", BEFORE, eps=number / 1000) for number in range(1, 121)]
    better = [row("pgd", AFTER if number == 7 else BEFORE, eps=number / 1000) for number in range(1, 121)]
    folders = [write_folder(tmp_path / name, each, images(N)) for name, each in (("a", rows), ("b", better), ("c", rows[:60]))]
    text = shown.terminal(compared(*folders[:2]))
    assert len(text.splitlines()) < 40
    assert "Linf 0.007" in text.replace("∞", "inf")
    assert "more rows may differ by chance alone; --out FILE.html lists them" in text
    assert "and 100 more; --out FILE.html lists them" in shown.terminal(compared(folders[0], folders[2]))


def test_rows_of_one_name_are_left_out_and_named(two, tmp_path):
    other = write_folder(tmp_path / "c", [row("pgd", AFTER), row("pgd", BEFORE)], None)
    comparison = compared(two[0], other)
    assert "pgd" not in {pair.name.attack for pair in comparison.against[0].pairs}
    assert any("2 rows of this name" in text for text in told.remarks(comparison))


def test_what_was_changed_is_named(two, tmp_path):
    config = CONFIG.replace("steps: 5", "steps: 20").replace("name: x", "name: y")
    code = {"attacks/pgd": "1" * 32, "attacks/new": "2" * 32}
    other = write_folder(
        tmp_path / "c", [row("pgd", AFTER)], images(N, 1), config=config, code=code, system="others", versions={"keras": "4.0"}
    )
    changes = {(each.kind, each.what): each.values for each in compared(two[0], other).changes}
    assert changes.pop(("data", "fingerprint"))
    assert changes == {
        ("configuration", "attacks.pgd.steps"): ("5", "20"),
        ("code", "attacks/pgd"): ("00000000", "11111111"),
        ("model file", "m / d seed 0"): ("weights", "others"),
        ("packages", "keras"): ("3.15.1", "4.0"),
    }
    assert compared(*two).changes == ()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a: {b: 1}", "a: {b: 2}", {"a.b": ("1", "2")}),
        ("a: [{name: x, s: 1}, {name: y}]", "a: [{name: y}, {name: x, s: 3}]", {"a.x.s": ("1", "3")}),
        ("a: [{name: x}]", "a: []", {"a.x": ("{name: x}", "—")}),
        ("a: [{name: x}, {name: x, s: 1}]", "a: [{name: x}]", {"a": ("[{name: x}, {name: x, s: 1}]", "[{name: x}]")}),
        ("a: [8/255, 1]", "a: 1", {"a": ("[8/255, 1]", "1")}),
        ("a: true", "a: 1", {"a": ("true", "1")}),
    ],
)
def test_settings_go_by_their_labels(one, other, expected):
    assert dict(different([parse(text, "x").data for text in (one, other)])) == expected


def test_the_headline_says_what_got_better_and_worse_and_whether_by_chance(two, tmp_path):
    def said(*folders: Path) -> str:
        comparison = compared(*folders)
        return told.headline(comparison.against[0], comparison.tests)

    gained = 100 * (AFTER.mean() - BEFORE.mean())
    better, worse = said(*two), said(two[1], two[0])
    assert "of 3 rows 2 got better and none worse by more than chance (Holm over 2 tests; 1 are the same" in better
    assert (
        f"best gain: m / d, worst case L∞ 0.1 adaptive {100 * BEFORE.mean():.1f} to {100 * AFTER.mean():.1f} %, +{gained:.1f} points"
        in better
    )
    assert "none got better and 2 worse" in worse
    assert "worst loss: m / d, worst case L∞ 0.1 adaptive" in worse
    assert f"-{gained:.1f} points" in worse
    assert "the same in all of 3 rows, image by image." in said(two[0], two[0])
    nearly = AFTER.copy()
    nearly[:3] = ~nearly[:3]
    assert "which may be chance" in said(two[1], write_folder(tmp_path / "n", [row("pgd", nearly)], images(N)))
    other = write_folder(tmp_path / "o", [row("fgsm", AFTER, norm="l2")], images(N))
    assert "no row is in both" in said(two[0], other)
    fgsm = write_folder(tmp_path / "p", [row("fgsm", AFTER)], images(N))
    assert "not the same attack: over: [pgd] -> [fgsm]" in said(two[0], fgsm)


def test_flagged_numbers_carry_their_marks(two, tmp_path):
    flagged = write_folder(tmp_path / "c", [row("clean", outcomes(0, 0.9)), row("pgd", AFTER)], images(N), flags={"clean": (GUESSES,)})
    comparison = compared(two[0], flagged)
    for pair in comparison.against[0].pairs:
        assert told.number(pair.before) == f"{100 * pair.before.row.accuracy:.1f}"
        assert told.number(pair.after) == f"{100 * pair.after.row.accuracy:.1f} {mark(GUESSES)}"
    assert "doubtful: guesses" in told.headline(comparison.against[0], comparison.tests)
    assert f"{mark(GUESSES)}  guesses: " in shown.terminal(comparison)


def test_three_folders_share_their_tests(two, tmp_path):
    third = write_folder(tmp_path / "c", [row("pgd", outcomes(9, 0.7))], images(N))
    comparison = compared(*two, third)
    assert [each.second.letter for each in comparison.against] == ["B", "C"]
    assert comparison.tests == 4
    smallest = min((pair for each in comparison.against for pair in each.pairs if not pair.same), key=lambda pair: pair.found.p)
    assert smallest.adjusted == pytest.approx(min(1, 4 * smallest.found.p))


# Folders from somebody else ----------------------------------------------------------------------------------------------


def test_damaged_rows_are_named_and_left_out(two):
    folder, (stem,) = two[1], [path.stem for path in (two[1] / "rows").glob("*pgd*")]
    file = folder / "rows" / f"{stem}.json"
    whole = file.read_text()

    def attacks() -> tuple[set[str], str]:
        comparison = compared(*two)
        return {pair.name.attack for pair in comparison.against[0].pairs}, "\n".join(told.remarks(comparison))

    file.write_text(whole.replace('"accuracy":', '"accuracy": 0.99, "was":'))
    found, said = attacks()
    assert found == {"clean"}
    assert f"B: manifests/{stem}.json: damaged, left out (rows/{stem}.json is missing, or its bytes are not" in said
    changed = json.loads(whole)
    changed["row"]["accuracy"] = 0.99
    file.write_text(json.dumps(changed))
    sealed_again(folder, stem)
    found, said = attacks()
    assert found == {"clean"}
    assert "its accuracy is not that of its images" in said
    (folder / "manifests" / f"{stem}.json").unlink()
    assert "1 of 2 rows are not measured yet" in attacks()[1]


def test_links_are_not_followed(two, tmp_path):
    secret = tmp_path / "secret"
    (two[1] / "rows").rename(secret)
    (two[1] / "rows").symlink_to(secret)
    comparison = compared(*two)
    assert not comparison.against[0].pairs
    assert "nothing behind it" in "".join(told.remarks(comparison))
    (two[1] / "rows").unlink()
    secret.rename(two[1] / "rows")
    (two[1] / "config.yaml").unlink()
    (two[1] / "config.yaml").symlink_to(two[0] / "config.yaml")
    assert any("config.yaml cannot be read" in text for text in told.remarks(compared(*two)))


def test_names_that_lead_out_of_the_folder_are_not_followed(two):
    record = json.loads((two[1] / "record.json").read_text())
    record["rows"] = ["../../a/manifests/x", "/etc/passwd", "a\0b", "\x1b[31m"]
    (two[1] / "record.json").write_text(json.dumps(record))
    comparison = compared(*two)
    assert not comparison.against[0].pairs
    assert sum("leads out of the folder" in text for text in told.remarks(comparison)) == 2
    assert any("2 of 4 rows are not measured yet" in text for text in told.remarks(comparison))
    assert "\x1b" not in shown.terminal(comparison)


@pytest.mark.parametrize("name", ["record.json", "config.yaml", "tables/accuracy.json", "manifests/d-pgd-1.json", "rows/d-pgd-1.json"])
def test_any_damage_leaves_a_comparison_of_the_rest(two, name):
    file = two[1] / name
    whole = file.read_bytes()
    for number in range(25):
        file.write_bytes(damaged(whole, number))
        if name.startswith("rows"):
            sealed_again(two[1], "d-pgd-1")
        comparison = compared(*two)
        assert "clean" in {pair.name.attack for pair in comparison.against[0].pairs}
        shown.terminal(comparison), shown.md(comparison), json.dumps(told.plain(comparison))


def test_text_of_a_folder_is_text_in_every_form(two, tmp_path):
    nasty = "<script>alert(1)</script>|`*_\n# x \x1b[31m"
    other = write_folder(
        tmp_path / "c", [row("pgd", AFTER, defense="d", settings={nasty: nasty})], images(N), config=CONFIG + 'note: "<b>|x"\n'
    )
    alone = write_folder(tmp_path / "d", [row(nasty, AFTER), row("pgd", AFTER)], images(N))
    comparison = compared(two[0], other, alone)
    assert "<script>" not in shown.html(comparison)
    assert "&lt;script&gt;" in shown.html(comparison)
    text = shown.md(comparison)
    assert "<script>" not in text
    assert "\n# x" not in text
    for form in (shown.html(comparison), text, shown.terminal(comparison)):
        assert "\x1b" not in form


# As it is typed ------------------------------------------------------------------------------------------------------------


def test_it_is_written_in_every_form(two, tmp_path):
    outputs = [tmp_path / f"c.{ending}" for ending in ("md", "html", "json")]
    done = advrun(*two, *(word for path in outputs for word in ("--out", path)), GITHUB_STEP_SUMMARY=str(tmp_path / "step.md"))
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("B (")
    assert [str(path) in done.stdout for path in outputs] == [True] * 3
    content = json.loads(outputs[2].read_text(), parse_constant=pytest.fail)
    assert content == json.loads(advrun(*two, "--json").stdout)
    assert content["headline"][0].split("got better")[0] in " ".join(done.stdout.split())
    (pgd,) = (each for each in content["against"][0]["rows"] if each["attack"] == "pgd")
    assert (pgd["test"], pgd["paired_images"], pgd["verdict"]) == ("McNemar exact", N, "better")
    assert "**better**" in outputs[0].read_text()
    assert 'class="better"' in outputs[1].read_text()
    assert (tmp_path / "step.md").read_text().rstrip() == outputs[0].read_text().rstrip()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["A"], 2, "give two or more"),
        (["A", "absent"], 4, "no such folder; give the results folder of a run"),
        (["A", "empty"], 4, "holds no measured row and no config.yaml"),
        (["A", "B", "--out", "x.pdf"], 2, "expected a name that ends in .md, .html or .json"),
        (["A", "B", "--out", "FILE"], 8, "cannot be written"),
        (["A", "B", "--summary", "empty"], 8, "the summary cannot be written"),
    ],
)
def test_exit_codes(two, tmp_path, arguments, code, said):
    (tmp_path / "empty").mkdir()
    places = {"FILE": two[0] / "config.yaml/x.md", "A": two[0], "B": two[1], "absent": tmp_path / "absent", "empty": tmp_path / "empty"}
    done = advrun(*(places.get(word, word) for word in arguments))
    assert done.exit_code == code, done.output
    assert said in done.output
    assert "Traceback" not in done.output


def test_a_folder_that_is_none_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="file: a file, where a folder is expected"):
        read(tmp_path / "file", "A")


def test_nothing_in_the_folders_is_changed(two):
    before = {path: digest(path) for folder in two for path in folder.rglob("*") if path.is_file()}
    advrun(*two)
    assert before == {path: digest(path) for folder in two for path in folder.rglob("*") if path.is_file()}
    assert not any(os.path.lexists(folder / ".lock") for folder in two)
