"""Real data: small archives of the true formats, served on loopback. No test leaves the machine."""

import gzip
import io
import sys
import tarfile
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from kdlib import datasets
from kdlib.datasets import load

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
CIFAR = "cifar-10-binary.tar.gz"


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


RNG = np.random.default_rng(0)
FASHION = {part: (RNG.integers(0, 256, (n, 28, 28)), np.arange(n) % 10) for part, n in (("train", 40), ("t10k", 20))}
BATCHES = {name: np.column_stack([np.arange(10), RNG.integers(0, 256, (10, 3072))]).astype(np.uint8)
           for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]}
FILES = {CIFAR: tar({"cifar-10-batches-bin/readme.html": b"<html>"} |
                    {f"cifar-10-batches-bin/{name}": rows.tobytes() for name, rows in BATCHES.items()})}
for part, (images, numbers) in FASHION.items():
    FILES |= {f"{part}-images-idx3-ubyte.gz": idx(images), f"{part}-labels-idx1-ubyte.gz": idx(numbers)}


class Site:
    """A server of FILES on loopback; `broken` maps a file to the number of bytes after which the line drops."""

    def __init__(self):
        site, self.files, self.broken, self.requests = self, dict(FILES), {}, []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.lstrip("/")
                site.requests.append(name)
                if name not in site.files:
                    return self.send_error(404)
                body = site.files[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: site.broken.get(name)])

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def site(monkeypatch, tmp_path):
    site = Site()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(datasets, "_ADDRESSES", dict.fromkeys(("fashion_mnist", "cifar10"), site.address))
    monkeypatch.setattr(datasets, "_SHA256", {name: sha256(body).hexdigest() for name, body in FILES.items()})
    monkeypatch.setattr(datasets, "_DEBIAN", tmp_path / "not installed")
    yield site
    site.close()


# --- What is loaded ---------------------------------------------------------------------------------


def test_digits_are_scikit_learns():
    data, all_digits = load(), load_digits()
    assert (data.name, data.classes) == ("digits", tuple("0123456789"))
    np.testing.assert_array_equal(np.concatenate([data.x_train, data.x_test])[..., 0] * 16, all_digits.images)
    np.testing.assert_array_equal(np.concatenate([data.y_train, data.y_test]), all_digits.target)
    assert data.x_train.dtype == float and len(data.y_test) == 500
    assert set(data.y_test) == set(range(10))


def test_fashion_mnist(site, tmp_path):
    data = load("fashion_mnist", folder=tmp_path / "new")
    for x, y, part in ((data.x_train, data.y_train, "train"), (data.x_test, data.y_test, "t10k")):
        images, numbers = FASHION[part]
        np.testing.assert_array_equal(x, images[..., None] / 255)
        np.testing.assert_array_equal(y, numbers)
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(set(FILES) - {CIFAR})


def test_cifar10(site, tmp_path):
    data = load("cifar10", folder=tmp_path / "new")
    assert data.x_train.shape == (50, 32, 32, 3) and data.x_test.shape == (10, 32, 32, 3)
    row = BATCHES["data_batch_3.bin"][7]
    image = data.x_train[27]
    assert data.y_train[27] == 7
    for row_, column, color in ((0, 0, 0), (0, 1, 0), (1, 0, 0), (31, 30, 2)):
        assert image[row_, column, color] == row[1 + 1024 * color + 32 * row_ + column] / 255
    np.testing.assert_array_equal(data.y_test, np.arange(10))
    assert [p.name for p in (tmp_path / "new").iterdir()] == [CIFAR]  # nothing is unpacked


def jpeg_file(folder, **changes):
    """CIFAR-10 as JPEG files: thirty training images and ten test images, each of one colour."""
    arrays = {}
    for part, count in (("train", 30), ("test", 10)):
        files = []
        for i in range(count):
            Image.new("RGB", (32, 32), (8 * i, 100, 200)).save(file := io.BytesIO(), "JPEG")
            files.append(file.getvalue())
        arrays |= {f"{part}_jpeg": np.frombuffer(b"".join(files), np.uint8), f"{part}_y": np.arange(count) % 10,
                   f"{part}_ends": np.cumsum([len(file) for file in files])}
    np.savez(folder / "cifar10.npz", **arrays | changes)


def test_cifar10_is_read_from_jpeg_files_too(site, tmp_path, monkeypatch):
    jpeg_file(tmp_path)
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path))
    data = load("cifar10")
    assert data.x_train.shape == (30, 32, 32, 3) and data.x_test.shape == (10, 32, 32, 3) and not site.requests
    expected = np.stack([8 * np.arange(30), np.full(30, 100), np.full(30, 200)], axis=-1)[:, None, None]
    assert abs(255 * data.x_train - expected).max() < 4  # JPEG rounds colours
    np.testing.assert_array_equal(data.y_train, np.arange(30) % 10)


@pytest.mark.parametrize("changes, message", [
    (dict(test_y=np.arange(9)), "for 9 labels"),
    (dict(train_y=np.full(30, 10)), "not a list of numbers from 0 to 9"),
    (dict(train_ends=np.arange(30)), "cannot identify image file"),
])
def test_damaged_jpeg_files_are_named(tmp_path, changes, message):
    jpeg_file(tmp_path, **changes)
    with pytest.raises(ValueError, match=rf"cifar10\.npz must be sound, but it is damaged .*{message}"):
        load("cifar10", folder=tmp_path)


def test_a_second_call_makes_no_request(site, tmp_path):
    first = load("fashion_mnist", folder=tmp_path)
    assert sorted(site.requests) == sorted(set(FILES) - {CIFAR})
    site.requests.clear()
    np.testing.assert_array_equal(load("fashion_mnist", folder=str(tmp_path)).x_train, first.x_train)
    assert not site.requests


def test_debians_package_makes_no_request(site, tmp_path, monkeypatch):
    for name, body in FILES.items():
        (tmp_path / name).write_bytes(body)
    monkeypatch.setattr(datasets, "_DEBIAN", tmp_path)
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert len(load("fashion_mnist").x_train) == 40
    assert not site.requests


@pytest.mark.parametrize("binary, classes", [
    ((3, 8), ("cat", "ship")),
    ([8, 3], ("ship", "cat")),
    (([0, 1, 8, 9], np.arange(2, 8)), ("airplane, automobile, ship, truck", "bird, cat, deer, dog, frog, horse")),
])
def test_two_classes(site, tmp_path, binary, classes):
    data, full = load("cifar10", binary=binary, folder=tmp_path), load("cifar10", folder=tmp_path)
    assert data.classes == classes
    first, second = (np.ravel(group) for group in binary)
    kept = np.isin(full.y_train, [*first, *second])
    np.testing.assert_array_equal(data.x_train, full.x_train[kept])
    np.testing.assert_array_equal(data.y_train, np.isin(full.y_train, second)[kept])
    assert set(data.y_test) == {0, 1}


# --- What goes wrong --------------------------------------------------------------------------------


def left_over(folder):
    return sorted(p.name for p in folder.rglob("*")) if folder.exists() else []


@pytest.mark.parametrize("body", [tar({"other": b"data"}), FILES[CIFAR][:-100]], ids=["other", "truncated"])
def test_a_wrong_checksum_is_refused_and_not_kept(site, tmp_path, body):
    site.files[CIFAR] = body
    expected, got = datasets._SHA256[CIFAR], sha256(body).hexdigest()
    with pytest.raises(ValueError, match=f"must be the file that was published.*{expected} but got {got}.*: load a"):
        load("cifar10", folder=tmp_path / "new")
    assert left_over(tmp_path / "new") == []


@pytest.mark.parametrize("received", [0, 100])
def test_an_interrupted_download_leaves_nothing(site, tmp_path, received):
    site.broken[CIFAR] = received
    with pytest.raises(ConnectionError, match=r"the download fails \(\w+\): go online and load again, or put the file"):
        load("cifar10", folder=tmp_path / "new")
    assert left_over(tmp_path / "new") == []
    site.broken.clear()
    assert len(load("cifar10", folder=tmp_path / "new").x_test) == 10


def test_what_was_complete_before_the_interruption_is_kept(site, tmp_path):
    site.broken[LABELS] = 20
    with pytest.raises(ConnectionError, match="install Debian's dataset-fashion-mnist, or put"):
        load("fashion_mnist", folder=tmp_path)
    assert left_over(tmp_path) == [IMAGES]
    site.broken.clear()
    load("fashion_mnist", folder=tmp_path)
    assert site.requests.count(IMAGES) == 1


def test_no_network(site, tmp_path):
    site.server.server_close()  # the port is free again, and nobody answers there
    with pytest.raises(ConnectionError, match=r"must be reachable, as .* holds no sound .*\(ConnectionError\)"):
        load("cifar10", folder=tmp_path / "new")
    assert left_over(tmp_path / "new") == []


def test_a_file_that_is_not_there(site, tmp_path):
    del site.files[CIFAR]
    with pytest.raises(ConnectionError, match=r"the download fails \(HTTPError\)"):
        load("cifar10", folder=tmp_path / "new")
    assert left_over(tmp_path / "new") == []


def test_a_file_damaged_in_the_folder_is_downloaded_again(site, tmp_path):
    (tmp_path / CIFAR).write_bytes(FILES[CIFAR][:-50])
    assert len(load("cifar10", folder=tmp_path).x_train) == 50
    assert (tmp_path / CIFAR).read_bytes() == FILES[CIFAR]


@pytest.mark.parametrize("name, body, message", [
    (IMAGES, FILES[IMAGES][:-100], "Compressed file ended"),
    (IMAGES, FILES[IMAGES][:-8] + bytes(8), "CRC check failed"),
    (IMAGES, b"<html>", "Not a gzipped file"),
    (IMAGES, gzip.compress(b"<html>"), "not an IDX file"),
    (IMAGES, gzip.compress(gzip.decompress(FILES[IMAGES])[:-1]), "cannot reshape"),
    (IMAGES, FILES["t10k-images-idx3-ubyte.gz"], r"images of shape \(20, 28, 28\) for 40 labels"),
    (LABELS, idx(np.full(40, 10)), "not a list of numbers from 0 to 9"),
    (LABELS, idx(np.zeros((0,))), "not a list of numbers from 0 to 9"),
], ids=["truncated", "crc", "html", "zipped html", "short", "of another set", "label 10", "empty"])
def test_an_installed_file_that_is_damaged_is_named(site, tmp_path, monkeypatch, name, body, message):
    for file, content in (FILES | {name: body}).items():
        (tmp_path / file).write_bytes(content)
    monkeypatch.setattr(datasets, "_DEBIAN", tmp_path)
    with pytest.raises(ValueError, match=f"{name} must be sound, but it is damaged .*{message}.*: delete it and load"):
        load("fashion_mnist")


@pytest.mark.parametrize("body, message", [
    (b"no archive", "not a gzip file"),
    (FILES[CIFAR][: len(FILES[CIFAR]) // 2], ""),
    (tar({f"cifar-10-batches-bin/{name}": rows.tobytes()[:-1] for name, rows in BATCHES.items()}), "cannot reshape"),
    (tar({"test_batch.bin": BATCHES["test_batch.bin"].tobytes()}), r"holds only \['test_batch.bin'\]"),
    (tar({name: rows.tobytes()[:-3073] + b"\x0a" * 3073 for name, rows in BATCHES.items()}), "not a list of numbers"),
], ids=["text", "half", "short", "incomplete", "label 10"])
def test_an_archive_with_other_contents_is_named(site, tmp_path, monkeypatch, body, message):
    """The checksum keeps these away; should it ever be that of such a file, the reader still notices."""
    site.files[CIFAR] = body
    monkeypatch.setitem(datasets._SHA256, CIFAR, sha256(body).hexdigest())
    with pytest.raises(ValueError, match=f"{CIFAR} must be sound, but it is damaged .*{message}"):
        load("cifar10", folder=tmp_path)


@pytest.mark.parametrize("module, name, message", [
    ("sklearn.datasets", "digits", "pip install scikit-learn"),
    ("pooch", "cifar10", "pip install pooch"),
])
def test_a_missing_package_is_named(site, monkeypatch, module, name, message):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=message):
        load(name)


def test_missing_pillow_is_named(tmp_path, monkeypatch):
    jpeg_file(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"cifar10\.npz holds JPEG images.*pip install pillow"):
        load("cifar10", folder=tmp_path)


@pytest.mark.parametrize("binary", [3, (3,), (3, 3), (3, 10), (3, -1), ([1, 2], [2, 3]), ([], [1]), (1, 2, 3), "38",
                                    (1.5, 2), (True, False)])
def test_bad_classes_are_refused(binary):
    with pytest.raises(ValueError, match="binary must be two classes, or two separate groups of classes"):
        load("digits", binary=binary)


def test_whole_floats_are_classes():
    assert load("digits", binary=(3.0, [8.0])).classes == ("3", "8")


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="name must be one of digits, fashion_mnist, cifar10, got 'mnist'"):
        load("mnist")
