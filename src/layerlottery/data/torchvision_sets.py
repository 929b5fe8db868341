"""The sets of torchvision's names, from their publishers' files: CIFAR10, CIFAR100, SVHN, FashionMNIST.

Each file is checked against its SHA-256 before a byte of it is parsed, and none can hold code. torchvision reads
CIFAR from pickled batches, which can; here it is the publisher's binary version, read inside its archive.
"""

from __future__ import annotations

import gzip
import io
import logging
import tarfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from layerlottery.config.data import TorchvisionImages, place
from layerlottery.data.decode import Decoded
from layerlottery.data.download import Published, download, read_verified
from layerlottery.data.prepared import Images, Labels, Split
from layerlottery.data.published import FILES, PICKLED
from layerlottery.errors import LayerLotteryError

log = logging.getLogger(__name__)

_CIFAR_SHAPE = (3, 32, 32)
_FASHION_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def load_torchvision(settings: TorchvisionImages) -> Decoded:
    """Both splits of the set. Raises LayerLotteryError when a file is missing, can't be fetched or is another one."""
    files = {place(settings.location, below): file for below, file in FILES[settings.set].items()}
    for path, file in files.items():
        if not path.exists():
            _fetch(settings, path, file)
    log.info("reading %s in %s", settings.set, settings.location)
    contents = [read_verified(file, path) for path, file in files.items()]
    try:
        return READERS[settings.set](*contents)
    except (tarfile.TarError, zlib.error, OSError, EOFError, LookupError, TypeError, ValueError) as error:
        places = ", ".join(map(str, files))
        raise LayerLotteryError(f"{places}: not readable as {settings.set} ({type(error).__name__})") from error


def _fetch(settings: TorchvisionImages, path: Path, file: Published) -> None:
    if settings.download:
        download(file, path)
        return
    remedy = f"put {path.name} of {file.url} there, or set download: true"
    for name in PICKLED.get(settings.set, ()):
        if (held := path.with_name(name)).exists():
            raise LayerLotteryError(f"{held}: pickled images, which could run any code, are not read; {remedy}")
    raise LayerLotteryError(f"{path}: no such file, and download is false; {remedy}")


def read_cifar(archive: bytes, *, train: Sequence[str], test: str, names: str, labels: int) -> Decoded:
    """A gzipped tar of binary batches: records of `labels` label bytes, of which the last counts, and the pixels.

    `train`, `test` and `names` are members of the archive; nothing is extracted to disk and no link is followed.
    """
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as held:
        parts = [_records(_member(held, name), labels) for name in train]
        tested = _records(_member(held, test), labels)
        classes = _member(held, names).decode("ascii").split()
    images, targets = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Decoded(tuple(classes), Split(images, targets), Split(*tested), {})


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.getmember(name)
    content = archive.extractfile(member) if member.isreg() else None
    if content is None:
        raise ValueError(f"{name} is no file")
    return content.read()


def _records(batch: bytes, labels: int) -> tuple[Images, Labels]:
    rows = np.frombuffer(batch, dtype=np.uint8).reshape(-1, labels + np.prod(_CIFAR_SHAPE))
    return rows[:, labels:].reshape(-1, *_CIFAR_SHAPE), rows[:, labels - 1].astype(np.int64)


def read_svhn(train: bytes, test: bytes) -> Decoded:
    """Two MATLAB 5 files with X (32, 32, 3, N) and y (N, 1), in which 10 stands for the digit 0."""
    return Decoded(tuple("0123456789"), _matlab_split(train), _matlab_split(test), {})


def _matlab_split(content: bytes) -> Split:
    from scipy.io import loadmat

    held = loadmat(io.BytesIO(content), variable_names=("X", "y"))
    return Split(np.ascontiguousarray(held["X"].transpose(3, 2, 0, 1)), held["y"].ravel().astype(np.int64) % 10)


def read_fashion(train: bytes, train_labels: bytes, test: bytes, test_labels: bytes) -> Decoded:
    """Four gzipped IDX files: images (N, 28, 28) and labels (N,) of both splits."""
    return Decoded(_FASHION_CLASSES, _idx_split(train, train_labels), _idx_split(test, test_labels), {})


def _idx_split(images: bytes, labels: bytes) -> Split:
    return Split(_idx(images)[:, None], _idx(labels).astype(np.int64))


def _idx(content: bytes) -> Images:
    """A magic number that ends with the number of axes, their lengths as 4 big-endian bytes each, the values."""
    values = gzip.decompress(content)
    if values[:3] != b"\x00\x00\x08":
        raise ValueError("no IDX file of bytes")
    shape = np.frombuffer(values, dtype=">u4", count=values[3], offset=4)
    return np.frombuffer(values, dtype=np.uint8, offset=4 + 4 * len(shape)).reshape(shape.tolist())


_CIFAR10 = "cifar-10-batches-bin"
_CIFAR100 = "cifar-100-binary"

READERS: dict[str, Callable[..., Decoded]] = {
    "CIFAR10": partial(
        read_cifar,
        train=[f"{_CIFAR10}/data_batch_{i}.bin" for i in range(1, 6)],
        test=f"{_CIFAR10}/test_batch.bin",
        names=f"{_CIFAR10}/batches.meta.txt",
        labels=1,
    ),
    # its records begin with the coarse label
    "CIFAR100": partial(
        read_cifar,
        train=[f"{_CIFAR100}/train.bin"],
        test=f"{_CIFAR100}/test.bin",
        names=f"{_CIFAR100}/fine_label_names.txt",
        labels=2,
    ),
    "SVHN": read_svhn,
    "FashionMNIST": read_fashion,
}
