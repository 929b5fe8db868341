"""Small files in the layout of the published test sets of CIFAR: 20 images a severity in place of 10,000."""

import hashlib
import io
import tarfile

import numpy as np

from layerlottery.data.download import Published
from layerlottery.data.published import OFFICIAL

IMAGES = 20
LABELS = np.tile(np.arange(10, dtype=np.uint8), 2)


def corrupted(*names, seed=0):
    """What a corrupted set holds: by file, five severities of random images, and labels of one byte each."""
    generator = np.random.default_rng(seed)
    held = {name: generator.integers(0, 256, (5 * IMAGES, 32, 32, 3), dtype=np.uint8) for name in names}
    return held | {"labels": np.tile(LABELS, 5)}


def npy(array):
    target = io.BytesIO()
    np.save(target, array, allow_pickle=True)
    return target.getvalue()


def put(folder, arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        (folder / f"{name}.npy").write_bytes(array if isinstance(array, bytes) else npy(array))
    return folder


def tar(members):
    """A tar; a member is an array, its bytes, or a type of link and where that leads."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                info.type, info.linkname = content
                archive.addfile(info)
            else:
                held = content if isinstance(content, bytes) else npy(content)
                info.size = len(held)
                archive.addfile(info, io.BytesIO(held))
    return target.getvalue()


def set_tar(name, arrays):
    """The tar of a corrupted set as its publisher packs it."""
    return tar({f"{name}/{file}.npy": array for file, array in arrays.items()})


def publish(monkeypatch, name, contents, url="https://localhost/gone"):
    """Make these bytes the published files of a set: by MD5 for the corrupted ones, else by SHA-256 and size."""
    files = {}
    for file, content in zip(OFFICIAL[name], contents, strict=True):
        if name.endswith("-C"):
            files[file] = Published(url, md5=hashlib.md5(content).hexdigest())  # noqa: S324 - as published
        else:
            files[file] = Published(url, len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(OFFICIAL, name, files)


def npz(**arrays):
    target = io.BytesIO()
    np.savez(target, allow_pickle=True, **arrays)
    return target.getvalue()
