"""Lists of files and labels: every usual form of CSV, read right or refused with the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advrun.datasets.listed import listed
from advrun.errors import ConfigError, DataError

LABELS = (0, 2, 10, 2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four images, 0.png to 3.png, grey level = number."""
    for number in range(4):
        Image.new("L", (6, 6), number).save(tmp_path / f"{number}.png")
    return tmp_path


def write(root: Path, text: str, name: str = "list.csv") -> str:
    (root / name).write_text(text)
    return str(root / name)


def greys(images: np.ndarray) -> list[int]:
    return images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
@pytest.mark.parametrize("header", ["", "path,label\n", "Filename,ClassId\n", "\ufefffile,class\n"])
def test_every_separator_and_header(root: Path, separator: str, header: str) -> None:
    lines = "".join(f"{number}.png,{label}\n" for number, label in enumerate(LABELS))
    data = listed(test=write(root, (header + lines).replace(",", separator)), image_size=4)
    assert data.class_names == ("0", "2", "10")
    assert (greys(data.x_test), data.y_test.tolist(), len(data.x_train)) == ([0, 1, 2, 3], [0, 1, 2, 1], 0)


def test_columns_in_another_order_and_others_beside(root: Path) -> None:
    text = "ClassId,Width,Path\r\n3.0,10,1.png\r\n4,10,2.png\r\n\r\n"
    data = listed(test=write(root, text))
    assert (data.class_names, greys(data.x_test)) == (("3", "4"), [1, 2])
    assert greys(listed(test=write(root, "cat,0.png\ndog,1.png\n")).x_test) == [0, 1]


@pytest.mark.parametrize("header", ["image_name,tag", "image_id,target", "id,category", "Image_Name,ClassName"])
def test_usual_names_of_columns(root: Path, header: str, caplog: pytest.LogCaptureFixture) -> None:
    data = listed(test=write(root, f"{header}\n2.png,5\n1.png,7\n"))
    assert (data.class_names, greys(data.x_test)) == (("5", "7"), [2, 1])
    assert not caplog.records


def test_a_first_line_that_is_no_file_names_the_columns(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = write(root, "sign;photo\n5;2.png\n7;1.png\n")
    data = listed(test=table)
    assert (data.class_names, greys(data.x_test)) == (("5", "7"), [2, 1])
    assert [record.getMessage() for record in caplog.records] == [
        f"{table}:1: sign, photo: taken as the names of the columns, for no such file is there"
    ]
    with pytest.raises(DataError, match=r"1 of 2 images cannot be used: absent\.png \(missing\)"):  # a file, though it is not there
        listed(test=write(root, "absent.png,stop\n1.png,go\n"))
    with pytest.raises(DataError, match=r"1 of 2 images cannot be used: absent \(missing\)"):
        listed(test=write(root, "absent,3\n1.png,4\n"))


def test_labels_first_and_backslashes(root: Path) -> None:
    (root / "i").mkdir()
    for number in range(2):
        (root / f"{number}.png").rename(root / "i" / f"{number}.png")
    data = listed(test=write(root, "14;i\\1.png\n3;i\\0.png\n"))
    assert (data.class_names, greys(data.x_test), data.y_test.tolist()) == (("3", "14"), [1, 0], [1, 0])


def test_encodings(root: Path) -> None:
    for encoding in ("utf-16", "utf-8-sig"):
        (root / "list.csv").write_text("path,label\n1.png,Straße\n", encoding=encoding)
        data = listed(test=str(root / "list.csv"))
        assert (data.class_names, greys(data.x_test)) == (("Straße",), [1])
    (root / "list.csv").write_text("path,label\n1.png,Straße\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"list\.csv: cannot be read \(it is not in UTF-8\); save it as UTF-8$"):
        listed(test=str(root / "list.csv"))


def test_images_of_16_bit_are_refused_with_the_remedy(root: Path) -> None:
    Image.fromarray(np.full((6, 6), 40_000, np.uint16)).save(root / "deep.tif")
    with pytest.raises(DataError, match=r"deep\.tif \(pixels of more than 8 bit, mode I;16: save it as 8-bit\)"):
        listed(test=write(root, "0.png,0\ndeep.tif,1\n"))


def test_two_lists_and_a_drawn_test_set(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = write(root, "path,label\n0.png,no\n1.png,stop\n2.png,stop\n", "train.csv")
    data = listed(train=train, test=write(root, "3.png,stop\n"))
    assert (data.class_names, data.y_train.tolist(), data.y_test.tolist()) == (("no", "stop"), [0, 1, 1], [1])
    assert data.variant == "3 training, 1 test images; test set in list.csv"
    drawn = listed(train=train, test_fraction=0.5)
    assert (drawn.y_train.tolist(), drawn.y_test.tolist()) == ([0, 1], [1])
    assert not caplog.records
    listed(train=train, test=write(root, "3.png,stop\n2.png,stop\n"))
    assert [record.getMessage() for record in caplog.records] == [f"{root}/list.csv:2: 2.png is a training image too ({train}:4)"]
    with pytest.raises(DataError, match=r"list\.csv:1: class 'yes' has no image in .*train\.csv"):
        listed(train=train, test=write(root, "3.png,yes\n"))
    with pytest.raises(ConfigError, match="neither test nor train is given"):
        listed()


def test_labels_are_the_classes_of_a_model_by_number_or_name(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = listed(test=write(root, "0.png,12\n1.png,2\n2.png,38\n"))
    assert data.with_classes(43).y_test.tolist() == [12, 2, 38]
    named = listed(test=write(root, "0.png,Stop\n1.png,go\n"))
    assert named.with_classes(3, ("go", "left", "stop")).y_test.tolist() == [2, 0]
    with pytest.raises(DataError, match="nothing says which 'Stop' is; name the folders, or labels, by class numbers"):
        named.with_classes(43)
    assert not caplog.records
    table = write(root, "0.png,12\n1.png,2\n2.png,-1\n")
    with pytest.raises(DataError, match="nothing says which '-1' is"):
        listed(test=table).with_classes(43)
    assert [record.getMessage() for record in caplog.records] == [
        f"{table}:3: class '-1' is no class number, as most labels are; all are taken as names, by the alphabet"
    ]


def test_training_images_that_nothing_needs_are_not_decoded(root: Path) -> None:
    train = write(root, "absent.png,stop\nabsent2.png,no\n", "train.csv")
    data = listed(False, train=train, test=write(root, "3.png,stop\n"))
    assert (data.class_names, data.y_test.tolist(), len(data.x_train)) == (("no", "stop"), [1], 0)
    with pytest.raises(DataError, match="2 of 2 images cannot be used"):
        listed(train=train, test=write(root, "3.png,stop\n"))


def test_full_paths_must_lie_in_the_root(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    table = write(tmp_path_factory.mktemp("lists"), f"{root}/0.png,0\n1.png,1\n")
    assert greys(listed(test=table, root=str(root)).x_test) == [0, 1]
    with pytest.raises(DataError, match=r"list\.csv: 1 of 2 lines cannot be used: line 1: .*0\.png does not lie in .*set root to"):
        listed(test=table)
    assert greys(listed(test=write(root, f"{root}/0.png,0\n"), root="/").x_test) == [0]
    with pytest.raises(DataError, match=r"line 1: \.\./0\.png does not lie in"):
        listed(test=write(root, "../0.png,0\n"))
    assert greys(listed(test=write(root, f"..\\{root.name}\\1.png,0\n")).x_test) == [1]


def test_listed_twice(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = write(root, "0.png,0\n1.png,1\n./0.png,0\n1.png,1\n")
    assert greys(listed(test=table).x_test) == [0, 1]
    expected = f"{table}:3: 0.png is listed twice, first in line 1; read once (and 1 more such lines)"
    assert [record.getMessage() for record in caplog.records] == [expected]
    with pytest.raises(DataError, match=r"line 3: 0\.png is class 1, but in line 1 class 0"):
        listed(test=write(root, "0.png,0\n1.png,1\n0.png,1\n"))


def test_a_class_that_contradicts_the_folder(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "path,label\n"
    for number in range(20):
        place = root / f"{number % 2:05d}"
        place.mkdir(exist_ok=True)
        Image.new("L", (6, 6), number).save(place / f"{number}.png")
        text += f"{place.name}/{number}.png,{number % 2 if number != 6 else 1}\n"
    table = write(root, text)
    assert listed(test=table).y_test[6] == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"{table}:8: 6.png is class 1, but lies in folder 00000; the list is believed"
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no lines"),
        ("path,label\n", "no images, only a line of names"),
        ("0.png\n", "its columns are 0.png; expected one called path"),
        ("path,sign\nabsent.png,1\n", "its columns are path, sign; expected one called path"),
        ("0.png,1,one\n1.png,2,two\n", r"list\.csv:1: 3 columns \(0\.png, 1, one\), and no line that names them; put one above"),
        ("a,b,c\n0.png,1,2\n", "its columns are a, b, c"),
        ("0.png,\n", "line 1: a file or a label is missing"),
        ("path,label\n0.png\n", "line 2: a file or a label is missing"),
        ("absent.png,1\n", r"absent\.png \(missing\)"),
        ('path,label\n"two\nlines.png",1\n', r"two\\nlines\.png \(missing\)"),
        ("path,label\n0.png,1\n" + "x" * 200_000 + ",1\n", "field larger than field limit"),
        ("0\0.png,1\n", r"cannot be read|does not lie"),
    ],
)
def test_lists_that_are_refused(root: Path, text: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as raised:
        listed(test=write(root, text))
    assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match="No such file"):
        listed(test=str(root / "absent.csv"))
