"""The folder: a join of whatever was put into it, in any order, by several at once; what is torn or lies is found."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advrun.closest import Closest, Example, canonical, distance, image_key, unit
from advrun.ledger.shown import check, in_lines, merged, told
from advrun.verify.minutes import Minutes

SYSTEMS = ("a" * 32, "b" * 32)


def example(image: int, change: float, *, pixel: int = 0, system: str = SYSTEMS[0], norm: str = "linf") -> Example:
    """Image number `image`, in which one pixel is changed."""
    x = np.full((2, 2, 1), image, np.uint8)
    x_adv = unit(x).copy()
    x_adv.flat[pixel] += np.float32(change)
    return Example(system, norm, x, x_adv, image % 3)


def tree(root: Path) -> dict[str, bytes]:
    """Every file, by name."""
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def holding(root: Path, *examples: Example) -> Closest:
    ledger = Closest(root)
    ledger.add(examples)
    return ledger


EXAMPLES = st.builds(
    example,
    st.integers(0, 2),
    st.sampled_from([0.1, 0.2, 0.3]),
    pixel=st.integers(0, 3),  # as near as another one, and another image
    system=st.sampled_from(SYSTEMS),
    norm=st.sampled_from(["linf", "l2", "l0"]),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(EXAMPLES, max_size=8), st.integers(0, 2**32 - 1), st.data())
def test_it_is_a_join_of_what_was_put_into_it(tmp_path_factory, examples, seed, data):
    """Whatever the order, however they are spread over ledgers that are merged, and however often."""
    root = tmp_path_factory.mktemp("join")
    expected = tree(holding(root / "all", *examples).root) if examples else {}
    parts = [holding(root / f"part {number}") for number in range(3)]
    for each in np.random.default_rng(seed).permutation(len(examples)):
        data.draw(st.sampled_from(parts)).add([examples[each]])
    for order in (parts, parts[::-1], [*parts, parts[0]]):
        into = Closest(root / f"into {order[0].root.name} {len(order)}")
        for part in order:
            merged(into, part, minutes := Minutes())
            assert not minutes.found
        assert tree(into.root) == expected
    (first, second, third), nested = parts, Closest(root / "nested")
    merged(second, third, Minutes())  # a + (b + c)
    for part in (first, second):
        merged(nested, part, Minutes())
    assert tree(nested.root) == expected


def test_the_nearer_is_kept_and_of_equally_near_ones_the_smaller_hash(tmp_path):
    near, far = example(1, 0.1), example(1, 0.2)
    tied = sorted((example(1, 0.1, pixel=pixel) for pixel in range(4)), key=lambda each: each.place)
    assert len({each.place.distance for each in tied}) == 1
    ledger = holding(tmp_path, far)
    assert ledger.add([near]) == 1
    assert ledger.add([far, near]) == 0
    assert ledger.add(tied[::-1]) >= 1
    assert list(ledger.places(SYSTEMS[0], "linf").values()) == [tied[0].place]
    assert len(tree(tmp_path)) == 1


def test_an_image_is_who_it_is_whatever_precision_it_was_divided_in():
    x = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    forms = [x, x / 255, x.astype(np.float32) / np.float32(255), x.astype(np.float32) * np.float32(1 / 255)]
    assert len({image_key(canonical(form)) for form in forms}) == 1
    assert canonical(x / 256).dtype == np.float32
    assert image_key(canonical(x / 256)) != image_key(x)


@pytest.mark.parametrize(("norm", "expected"), [("linf", 0.25), ("l2", 0.3125**0.5), ("l1", 0.75), ("l0", 4.0)])
def test_distances(norm, expected):
    x = np.zeros((2, 2, 2), np.uint8)
    x_adv = unit(x).copy()
    x_adv.flat[[0, 3, 5, 6]] = [0.25, 0.5, 0, 0]
    x_adv.flat[[0, 3, 5, 6]] = [0.25, 0.25, 0.125, 0.125]
    expected = {"l2": (0.25**2 * 2 + 0.125**2 * 2) ** 0.5}.get(norm, expected)
    assert distance(x_adv, x, norm) == expected


ADDS = """
import sys
from pathlib import Path
from advrun.closest import Closest
from tests.ledger.test_folder import example
turn = int(sys.argv[2])
for change in (0.5, 0.4, 0.3, 0.2):
    Closest(Path(sys.argv[1])).add([example(image, change + 0.01 * ((image + turn) % 3)) for image in range(20)])
"""


def test_processes_that_add_at_once_leave_what_one_would(tmp_path):
    root = Path(__file__).parents[2]
    working = [subprocess.Popen([sys.executable, "-c", ADDS, tmp_path / "ledger", str(turn)], cwd=root) for turn in range(3)]
    assert [each.wait(120) for each in working] == [0, 0, 0]
    alone = holding(tmp_path / "alone", *(example(image, 0.2 + 0.01 * min((image + turn) % 3 for turn in range(3))) for image in range(20)))
    assert tree(tmp_path / "ledger") == tree(alone.root)


def test_what_a_kill_and_a_copy_leave_is_no_harm(tmp_path):
    ledger = holding(tmp_path / "one", example(1, 0.2), example(2, 0.1))
    other = holding(tmp_path / "other", example(1, 0.1))
    shutil.copytree(other.root, ledger.root, dirs_exist_ok=True)  # two of image 1 now
    (ledger.root / SYSTEMS[0] / "linf" / ".half.123.tmp.npz").write_bytes(b"PK")
    assert {place.distance for place in ledger.places(SYSTEMS[0], "linf").values()} == {
        example(1, 0.1).place.distance,
        example(2, 0.1).place.distance,
    }
    ledger.add([example(2, 0.3)])  # nothing new, and all is tidied
    assert len(list(ledger.files(SYSTEMS[0], "linf"))) == 2


def torn(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def padded(file: Path) -> None:
    """The same arrays in other bytes."""
    file.write_bytes(file.read_bytes() + b"\0")


def another_pixel(file: Path) -> None:
    file.write_bytes(example(1, 0.1, pixel=3).content)


def nearer(file: Path) -> None:
    image, _, content = file.name.split("-")
    file.rename(file.with_name(f"{image}-0.001-{content}"))


def of_another_image(file: Path) -> None:
    file.rename(file.with_name("0" * 32 + file.name[32:]))


def outside(file: Path) -> None:
    """A file whose seals are all right, and whose pixels are not."""
    brighter = example(1, 1.5)
    file.unlink()
    (file.parent / Path(brighter.place.name).name).write_bytes(brighter.content)


@pytest.mark.parametrize("change", [torn, padded, another_pixel, nearer, of_another_image, outside])
def test_what_lies_is_found_and_merged_by_nobody(tmp_path, change):
    ledger = holding(tmp_path / "ledger", example(1, 0.1), example(2, 0.1))
    change(ledger.root / example(1, 0.1).place.name)
    minutes = Minutes()
    check(ledger, {}, minutes)
    assert len(minutes.found) == 1
    assert minutes.found[0].file.startswith(SYSTEMS[0])
    assert minutes.verdict == "1 thing is not what it says"
    minutes.find("elsewhere", 1, 2)
    assert minutes.verdict == "2 things are not what they say"
    into, minutes = Closest(tmp_path / "into"), Minutes()
    assert merged(into, ledger, minutes) == 1
    assert len(minutes.found) == 1
    assert tree(into.root) == tree(holding(tmp_path / "true", example(2, 0.1)).root)


def test_links_are_not_followed(tmp_path):
    ledger = holding(tmp_path / "ledger", example(1, 0.1))
    secret = holding(tmp_path / "secret", example(2, 0.1, system=SYSTEMS[1]))
    (ledger.root / SYSTEMS[1]).symlink_to(secret.root / SYSTEMS[1])
    assert ledger.systems == [SYSTEMS[0]]
    with pytest.raises(Exception, match="link"):
        ledger.add([example(3, 0.1, system=SYSTEMS[1])])
    assert len(tree(secret.root)) == 1


def test_something_odd_is_named(tmp_path):
    ledger = holding(tmp_path, example(1, 0.1))
    for name in ("notes.txt", f"{SYSTEMS[0]}/linf/x.npz", f"{SYSTEMS[0]}/names/x.txt", f"{SYSTEMS[0]}/l7/y"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("?")
    ledger.call(SYSTEMS[0], "lnet seed 0")
    check(ledger, {}, minutes := Minutes())
    assert sorted(entry.file for entry in minutes.found) == sorted(
        ["notes.txt", f"{SYSTEMS[0]}/linf/x.npz", f"{SYSTEMS[0]}/names/x.txt", f"{SYSTEMS[0]}/l7"]
    )


def test_what_is_shown(tmp_path):
    ledger = holding(tmp_path, *itertools.starmap(example, [(1, 0.1), (2, 0.2), (3, 0.4)]))
    ledger.call(SYSTEMS[0], "lnet\nseed 0")
    (entry,) = told(ledger)
    assert (entry["images"], entry["norm"], entry["names"]) == (3, "linf", ["lnet\\nseed 0"])
    assert entry["median"] == pytest.approx(0.2, abs=1e-7)
    assert in_lines([entry])[1:] == [f"{SYSTEMS[0]}  lnet\\nseed 0", "linf         3         0.1         0.2         0.4"]
