"""MNIST, Fashion-MNIST and CIFAR-10: files of one's own, caches, checksums, and a machine without a network."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from advrun import registry
from advrun.datasets import _cifar, _published, cifar10, fashion_mnist, mnist
from advrun.errors import DataError

from .test_idx import packed

GREY = np.random.default_rng(3).integers(0, 256, (50, 28, 28), dtype=np.uint8)
LABELS = (np.arange(50) % 10).astype(np.uint8)
COLOUR = np.random.default_rng(4).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
PLANES = COLOUR.transpose(0, 3, 1, 2).reshape(20, -1)


@pytest.fixture(autouse=True)
def nothing_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no package of Debian's, and no network."""
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(_published.tempfile, "gettempdir", lambda: str(tmp_path / "elsewhere"))
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    cache = tmp_path / "keras" / "datasets"
    cache.mkdir(parents=True)
    return cache


def idx_files(folder: Path, *, zipped: bool, parts: tuple[str, ...] = ("train", "t10k")) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in (("train", slice(0, 40)), ("t10k", slice(40, 50))):
        for name, values in ((f"{part}-images-idx3-ubyte", GREY[rows]), (f"{part}-labels-idx1-ubyte", LABELS[rows])):
            if part in parts:
                content = packed(values)
                (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(content) if zipped else content)
    return folder


def python2(images: np.ndarray, labels: np.ndarray) -> bytes:
    """The pickle that Python 2 makes of {"data": images, "labels": [...]}: texts and bytes are one there."""
    content = images.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"".join(b"M" + side.to_bytes(2, "little") for side in images.shape) + b"\x86"
    state = b"(K\x01" + shape + dtype + b"\x89T" + len(content).to_bytes(4, "little") + content + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + state + b"U\x06labels" + numbers + b"u."


def binary(images: np.ndarray, labels: np.ndarray) -> bytes:
    return np.concatenate([labels[:, None], images], axis=1).astype(np.uint8).tobytes()


def cifar_files(form: str) -> dict[str, bytes]:
    """Five training batches of two images and a test batch of ten, by name in the archive."""
    write, end, folder = (python2, "", "cifar-10-batches-py") if form == "python" else (binary, ".bin", "cifar-10-batches-bin")
    rows = {f"data_batch_{number}": slice(2 * number - 2, 2 * number) for number in range(1, 6)} | {"test_batch": slice(10, 20)}
    files = {f"{folder}/{name}{end}": write(PLANES[part], LABELS[part]) for name, part in rows.items()}
    return files | {f"{folder}/readme.html": b"<html>"}


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("below", [".", "raw", "MNIST/raw"])
def test_idx_files_wherever_torchvision_puts_them(tmp_path, zipped, below) -> None:
    idx_files(tmp_path / "own" / below, zipped=zipped)
    data = mnist.mnist(root=str(tmp_path / "own"))
    assert np.array_equal(data.x_train[..., 0], GREY[:40])
    assert np.array_equal(data.y_test, LABELS[40:])
    assert (data.name, data.class_names, data.image_shape) == ("mnist", tuple("0123456789"), (28, 28, 1))
    without = mnist.mnist(False, root=str(tmp_path / "own"))
    assert (len(without.x_train), without.test_fingerprint) == (0, data.test_fingerprint)


def test_npz_as_keras_has_it_and_with_one_part(tmp_path) -> None:
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=GREY[:40], y_train=LABELS[:40], x_test=GREY[40:], y_test=LABELS[40:])
    for root in (path, tmp_path):
        assert np.array_equal(fashion_mnist.fashion_mnist(root=str(root)).x_test[..., 0], GREY[40:])
    assert fashion_mnist.fashion_mnist(root=str(path)).class_names[9] == "Ankle boot"
    np.savez(path, x=GREY, y=LABELS)
    data = mnist.mnist(root=str(path))
    assert (len(data.x_train), len(data.x_test)) == (40, 10)
    assert np.bincount(data.y_test).tolist() == [1] * 10
    seen = {image.tobytes() for image in (*data.x_train, *data.x_test)}
    assert seen == {image.tobytes() for image in GREY}
    assert mnist.mnist(False, root=str(path)).test_fingerprint == data.test_fingerprint
    assert mnist.mnist(root=str(path), seed=1).test_fingerprint != data.test_fingerprint
    assert len(mnist.mnist(root=str(path), test_fraction=1).x_test) == 50


@pytest.mark.parametrize("form", ["python", "binary"])
@pytest.mark.parametrize("as_archive", [False, True])
def test_cifar_in_each_form(tmp_path, form, as_archive) -> None:
    if as_archive:
        roots = [tar(tmp_path / f"cifar-10-{form}.tar.gz", cifar_files(form)), tmp_path]
    else:
        for name, content in cifar_files(form).items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content)
        roots = [tmp_path, tmp_path / next(iter(cifar_files(form))).split("/")[0]]
    for root in roots:
        data = cifar10.cifar10(root=str(root))
        assert np.array_equal(data.x_train, COLOUR[:10])
        assert np.array_equal(data.x_test, COLOUR[10:])
        assert (data.y_train.tolist(), data.y_test.tolist()) == (list(range(10)), list(range(10)))
        assert (data.class_names[0], data.class_names[9]) == ("airplane", "truck")


def test_cifars_test_batch_alone_is_divided(tmp_path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(binary(np.repeat(PLANES, 3, axis=0), np.repeat(LABELS[:20], 3)))
    data = cifar10.cifar10(root=str(tmp_path))
    assert (len(data.x_train), len(data.x_test)) == (50, 10)
    assert "60 images in one part" in data.variant


class Runs:
    def __reduce__(self):
        return os.mkdir, ("advrun-was-here",)


def test_nothing_in_a_pickle_is_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for content in ({"data": Runs(), "labels": [1]}, {"data": PLANES[:1], "labels": Runs()}):
        (tmp_path / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
        with pytest.raises(DataError, match=r"names posix.mkdir, which no array needs"):
            cifar10.cifar10(root=str(tmp_path))
    assert not (tmp_path / "advrun-was-here").exists()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("test_batch", python2(PLANES[:2], LABELS[:2])[:-40], "damaged"),
        ("test_batch", python2(PLANES[:2], LABELS[:3]), "2 images, and labels int64 .3,."),
        ("test_batch", python2(PLANES[:2, :3000], LABELS[:2]), r"data is uint8 \(2, 3000\); expected uint8 \(n, 3072\)"),
        ("test_batch", pickle.dumps([1, 2]), "holds list, not a dictionary"),
        ("test_batch", pickle.dumps({b"data": 3, b"labels": [1]}), "damaged .int where an array was expected"),
        ("test_batch", pickle.dumps({b"labels": [1]}), "damaged .'data'"),
        ("test_batch", b"", "an empty file"),
        ("test_batch.bin", binary(PLANES[:2], LABELS[:2])[:-1], "not a whole number of images"),
        (
            "test_batch.bin",
            binary(PLANES[:2], LABELS[:2] + np.uint8(9)),
            "11 classes of .* are not CIFAR-10, whose 10 classes are 32 x 32 x 3",
        ),
        ("data_batch_1", python2(PLANES[:2], LABELS[:2]), "no test_batch here"),
        ("cifar-10-python.tar.gz", b"<!doctype html>", "damaged"),
        ("cifar-10-python.tar.gz", gzip.compress(b"x" * 5000, mtime=0)[:-20], "damaged"),
        ("other.txt", b"", "no test_batch here; expected cifar-10-python.tar.gz"),
    ],
)
def test_what_is_no_cifar(tmp_path, name, content, reason) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / name).write_bytes(content)
    with pytest.raises(DataError, match=reason) as raised:
        cifar10.cifar10(root=str(tmp_path / "own"))
    assert "\n" not in str(raised.value)
    assert str(tmp_path / "own") in str(raised.value)


def test_an_archive_that_declares_too_much(tmp_path, monkeypatch) -> None:
    files = cifar_files("binary")
    monkeypatch.setattr(_cifar, "MOST_IN_ARCHIVE", sum(map(len, files.values())) - 1)
    with pytest.raises(DataError, match="is no CIFAR-10"):
        cifar10.cifar10(root=str(tar(tmp_path / "c.tar.gz", files)))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda root: np.savez(root / "a.npz", x=GREY[:, :20], y=LABELS), r"10 classes of \(20, 28, 1\) images are not MNIST"),
        (lambda root: [np.savez(root / name, x=GREY, y=LABELS) for name in ("a.npz", "b.npz")], "a.npz and b.npz are both possible"),
        (lambda root: None, "no images here; expected the idx files"),
        (lambda root: root.rmdir(), "no such file or folder; expected the idx files"),
        (lambda root: (root.rmdir(), root.write_bytes(b"x")), "neither .npz nor .h5; give that, or the folder"),
    ],
)
def test_what_is_no_mnist(tmp_path, make, reason) -> None:
    root = tmp_path / "own"
    root.mkdir()
    make(root)
    with pytest.raises(DataError, match=reason):
        mnist.mnist(root=str(root))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_without_a_network_one_line_says_where_to_put_the_files(name, nothing_elsewhere, capsys) -> None:
    with pytest.raises(DataError, match=f"{name}: cannot be downloaded .*; put .* into .* by hand, or say with data.root") as raised:
        registry.get("datasets", name).function()
    assert str(nothing_elsewhere) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not capsys.readouterr().out


def test_a_cache_is_read_and_checked(nothing_elsewhere, tmp_path, monkeypatch) -> None:
    folder = idx_files(nothing_elsewhere / "fashion-mnist", zipped=True)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: not the published file, or damaged"):
        fashion_mnist.fashion_mnist()
    ours = {name: hashlib.sha256(gzip.decompress((folder / name).read_bytes())).hexdigest() for name in fashion_mnist.SHA256}
    monkeypatch.setattr(fashion_mnist, "SHA256", ours)
    assert len(fashion_mnist.fashion_mnist().x_train) == 40
    folder.rename(tmp_path / "debian")
    assert len(fashion_mnist.fashion_mnist().x_train) == 40
    np.savez(nothing_elsewhere / "mnist.npz", x_train=GREY, y_train=LABELS, x_test=GREY, y_test=LABELS)
    with pytest.raises(DataError, match=r"mnist.npz: not the published file, or damaged .its checksum is .*; delete it"):
        mnist.mnist()
    monkeypatch.setattr(mnist, "SHA256", hashlib.sha256((nothing_elsewhere / "mnist.npz").read_bytes()).hexdigest())
    assert len(mnist.mnist().x_test) == 50
    path = tar(nothing_elsewhere / "cifar-10-batches-py-target_archive", cifar_files("python"))
    with pytest.raises(DataError, match="not the published file"):
        cifar10.cifar10()
    monkeypatch.setattr(cifar10, "PYTHON_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(cifar10.cifar10().x_test) == 10
    path.unlink()
    unpacked = nothing_elsewhere / "cifar-10-batches-py"
    unpacked.mkdir()
    for name, content in cifar_files("python").items():
        (nothing_elsewhere / name).write_bytes(content)
    with pytest.raises(DataError, match="data_batch_1: not the published file"):
        cifar10.cifar10()
    monkeypatch.setattr(cifar10, "MD5", {name: hashlib.md5((unpacked / name).read_bytes()).hexdigest() for name in cifar10.MD5})
    assert len(cifar10.cifar10().x_test) == 10


@pytest.mark.skipif(not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_debians_package_is_all_of_it(monkeypatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", Path("/usr/share/datasets/fashion-mnist"))
    data = fashion_mnist.fashion_mnist()
    assert (data.x_train.shape, data.x_test.shape) == ((60_000, 28, 28, 1), (10_000, 28, 28, 1))
    assert np.bincount(data.y_train).tolist() == [6000] * 10
    assert data.variant.startswith("all of Fashion-MNIST")
