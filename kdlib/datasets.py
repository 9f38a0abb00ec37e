"""Real images: digits, Fashion-MNIST and CIFAR-10, behind one function (Section 5 and Appendix S2).

The digits ship with scikit-learn and are always there. The other two are downloaded once, by pooch, checked against the
SHA-256 checksums below, and kept in a folder; a file that does not pass is not kept. Debian's package
dataset-fashion-mnist saves the download. Both Python packages belong to the extra ``data`` and are imported only when
needed. The archives hold pixels and labels: nothing in them is executed, and nothing is unpacked to disk.

For CIFAR-10 a smaller file serves as well, ``cifar10.npz`` in the same folder, in which each image is a JPEG file of
about 0.9 KB: ``train_jpeg`` holds their bytes in a row, ``train_ends`` where each of them ends, ``train_y`` the labels;
``test_jpeg``, ``test_ends`` and ``test_y`` are those of the test images. Its pixels differ a little from the original.

Sources: E. Alpaydin and C. Kaynak, *Optical recognition of handwritten digits*, UCI, 1998; H. Xiao, K. Rasul and
R. Vollgraf, *Fashion-MNIST*, arXiv:1708.07747, 2017; A. Krizhevsky, *Learning multiple layers of features from tiny
images*, 2009 (the binary version of CIFAR-10). The checksums are those published with TensorFlow Datasets.
"""

import gzip
import os
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float, Int

from kdlib._checks import choice, shown

_ADDRESSES = {
    "fashion_mnist": "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "cifar10": "https://www.cs.toronto.edu/~kriz/",
}
_SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    "cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
}
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")

_CLASSES = {
    "digits": tuple("0123456789"),
    "fashion_mnist": ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}


@dataclass(frozen=True)
class Dataset:
    """Images and their labels; what :func:`load` returns."""

    name: str  #: as given to :func:`load`
    classes: tuple[str, ...]  #: what label 0, 1, ... stands for
    x_train: Float[np.ndarray, "n height width channels"]  #: pixels in [0, 1]
    y_train: Int[np.ndarray, " n"]  #: labels, from 0 up
    x_test: Float[np.ndarray, "m height width channels"]  #: pixels of the test samples
    y_test: Int[np.ndarray, " m"]  #: their labels


def load(
    name: str = "digits",
    *,
    binary: tuple[int | Sequence[int], int | Sequence[int]] | None = None,
    folder: str | Path | None = None,
) -> Dataset:
    """Images with pixels in [0, 1] and their labels, split into training and test samples.

    ============== =========== ============ =========== =====================================================
    name           image       training     test        where it comes from
    ============== =========== ============ =========== =====================================================
    digits         8 x 8 x 1   1297         500         scikit-learn; test samples are the last (our choice)
    fashion_mnist  28 x 28 x 1 60000        10000       Debian's package, else a download of 31 MB
    cifar10        32 x 32 x 3 50000        10000       a download of 170 MB, or JPEG files in ``cifar10.npz``;
                                                        1.5 GB of memory for all classes
    ============== =========== ============ =========== =====================================================

    Args:
        name: as in the table.
        binary: two classes, or two groups of classes, by number: the first is labelled 0, the second 1, and other
            samples are left out. By default all ten classes keep their labels.
        folder: where downloads are kept and looked for; by default the one that the environment variable
            ``KDLIB_DATA`` names, else a cache folder of the user.

    Raises:
        ValueError: an unknown name, classes that are not two separate groups of 0 to 9, a file that is damaged, or
            one with a wrong checksum.
        ConnectionError: a download that cannot be made or breaks off.
        ImportError: scikit-learn, pooch or Pillow is needed and not installed.

    >>> data = load("digits", binary=(3, 8))
    >>> print(data.x_train.shape, data.classes, np.bincount(data.y_test))
    (260, 8, 8, 1) ('3', '8') [51 46]
    >>> parity = load("digits", binary=([0, 2, 4, 6, 8], [1, 3, 5, 7, 9]))
    >>> print(parity.classes[1], len(parity.x_test))
    1, 3, 5, 7, 9 500
    """
    choice("name", name, _CLASSES, "for other data, pass arrays of your own")
    classes, new_labels = _relabel(binary, _CLASSES[name])
    read = {"digits": _digits, "fashion_mnist": _fashion_mnist, "cifar10": _cifar10}[name]
    parts = []
    for pixels, labels, brightest in read(folder):
        labels = new_labels[labels]
        kept = labels >= 0
        parts += pixels[kept] / brightest, labels[kept]
    return Dataset(name, classes, *parts)


def _relabel(binary, classes):
    """Names of the classes asked for, and for each old label the new one, or -1 for samples to leave out."""
    if binary is None:
        return classes, np.arange(len(classes))
    groups = [np.ravel(group).tolist() for group in binary] if np.iterable(binary) else []
    known = all(type(c) in (int, float) and c in range(len(classes)) for group in groups for c in group)
    groups = [[int(c) for c in group] for group in groups] if known else []
    chosen = [c for group in groups for c in group]
    if len(groups) != 2 or not all(groups) or len(set(chosen)) < len(chosen):
        raise ValueError("binary must be two classes, or two separate groups of classes, numbered 0 to 9, "
                         f"got {shown(binary)}: write (3, 8) or ([0, 1, 2], [7, 9])")
    new = np.full(len(classes), -1)
    for label, group in enumerate(groups):
        new[group] = label
    return tuple(", ".join(classes[c] for c in group) for group in groups), new


# Each reader yields (pixels, labels, brightest pixel) for the training and the test samples.


def _digits(folder):
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError("digits need scikit-learn, which is not installed: pip install scikit-learn") from None
    data = load_digits()
    split = len(data.target) - 500
    for some in (slice(split), slice(split, None)):
        yield data.images[some, :, :, None], data.target[some], 16


def _fashion_mnist(folder):
    for part in ("train", "t10k"):
        names = f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"
        files = [_DEBIAN / name for name in names]
        if not all(file.exists() for file in files):
            files = [_download("fashion_mnist", name, folder) for name in names]
        images, labels = map(_read_idx, files)
        with _reading(files[1]):
            _check_labels(labels)
        with _reading(files[0]):
            if images.shape != (len(labels), 28, 28):
                raise ValueError(f"images of shape {images.shape} for {len(labels)} labels")
        yield images[..., None], labels, 255


def _cifar10(folder):
    small = _folder("cifar10", folder) / "cifar10.npz"
    if small.exists():
        yield from _jpeg(small)
        return
    file = _download("cifar10", "cifar-10-binary.tar.gz", folder)
    training = [f"data_batch_{i}.bin" for i in range(1, 6)]
    with _reading(file):
        records = {}
        with tarfile.open(file, "r:gz") as archive:
            for member in archive:
                if member.isfile() and (name := PurePosixPath(member.name).name) in [*training, "test_batch.bin"]:
                    # One byte of label, then 32 x 32 pixels of red, of green and of blue.
                    records[name] = np.frombuffer(archive.extractfile(member).read(), np.uint8).reshape(-1, 3073)
        if len(records) < 6:
            raise ValueError(f"holds only {sorted(records)} of the six batches")
        parts = np.concatenate([records[name] for name in training]), records["test_batch.bin"]
        for part in parts:
            _check_labels(part[:, 0])
    for part in parts:
        yield part[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), part[:, 0], 255


def _jpeg(file):
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(f"{file} holds JPEG images, which Pillow reads, and it is not installed: pip install pillow "
                          "or delete the file, for the original download") from None
    with _reading(file), np.load(file) as arrays:
        for part in ("train", "test"):
            labels, ends, content = (arrays[f"{part}_{name}"] for name in ("y", "ends", "jpeg"))
            _check_labels(labels)
            files = (BytesIO(content[start:end]) for start, end in pairwise([0, *ends.tolist()]))
            images = np.stack([np.asarray(Image.open(each).convert("RGB")) for each in files])
            if images.shape != (len(labels), 32, 32, 3):
                raise ValueError(f"images of shape {images.shape} for {len(labels)} labels")
            yield images, labels.astype(int), 255


def _read_idx(file):
    """An array of bytes in the IDX format: 0, 0, 8, the number of axes; the axes' lengths; the values."""
    with _reading(file):
        content = gzip.decompress(file.read_bytes())
        if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
            raise ValueError("not an IDX file of bytes")
        start = 4 + 4 * content[3]
        shape = np.frombuffer(content[4:start], ">u4").tolist()
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _check_labels(labels):
    if labels.ndim != 1 or not labels.size or labels.max() > 9:
        raise ValueError("labels are not a list of numbers from 0 to 9")


@contextmanager
def _reading(file):
    """Turns whatever a damaged file leads to into one error."""
    try:
        yield
    except (EOFError, KeyError, OSError, OverflowError, ValueError, tarfile.TarError, zipfile.BadZipFile,
            zlib.error) as error:  # fmt: skip
        raise ValueError(f"{file} must be sound, but it is damaged ({error}): delete it and load again, or install "
                         "again the package that it belongs to") from error


def _folder(dataset, folder):
    """Where downloads are kept."""
    try:
        import pooch
    except ImportError:
        raise ImportError(f"{dataset} is downloaded by pooch, which is not installed: pip install pooch") from None
    return Path(folder or os.environ.get("KDLIB_DATA") or pooch.os_cache("kdlib")).expanduser()


def _download(dataset, name, folder):
    """The file's path, after a download if it is not there or not as it should be."""
    folder = _folder(dataset, folder)
    import pooch
    from requests import RequestException

    address = _ADDRESSES[dataset] + name
    package = "install Debian's dataset-fashion-mnist, " if dataset == "fashion_mnist" else ""
    try:
        return Path(pooch.retrieve(address, f"sha256:{_SHA256[name]}", fname=name, path=folder))
    except RequestException as error:
        raise ConnectionError(f"{address} must be reachable, as {folder} holds no sound {name}, but the download fails "
                              f"({type(error).__name__}): go online and load again, {package}or put the file there "
                              "yourself; digits need no download") from error
    except ValueError as error:
        raise ValueError(f"{address} must be the file that was published, but what arrived is not ({error}): load "
                         f"again; if that fails too, {package}or put the right file into {folder} yourself") from error
