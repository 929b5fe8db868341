"""The sets of torchvision's names, against archives written here byte by byte. No network."""

import gzip
import hashlib
import io
import struct
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat
from torchvision import datasets

from layerlottery.config.data import TorchvisionImages
from layerlottery.data.download import Published
from layerlottery.data.published import FILES, PICKLED
from layerlottery.data.torchvision_sets import load_torchvision
from layerlottery.errors import LayerLotteryError

# CIFAR's images, as (N, H, W, C): what a human would see
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)


def load(place, name, download=False):
    return load_torchvision(TorchvisionImages(source="torchvision", set=name, location=str(place), download=download))


def tar(members):
    """A gzipped tar; a member is its bytes, or what it links to."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def record(labels, image):
    """One record of a binary batch: label bytes, then all red, all green and all blue values, row by row."""
    planes = [value for channel in range(3) for row in image for value in row[:, channel]]
    return bytes(labels) + bytes(planes)


def cifar10(**changes):
    folder = "cifar-10-batches-bin"
    members = {f"{folder}/data_batch_{i}.bin": record([i], PIXELS[i]) for i in (5, 4, 3, 2, 1)}
    members |= {f"{folder}/test_batch.bin": record([0], PIXELS[0]), f"{folder}/readme.html": b"<html>"}
    members[f"{folder}/batches.meta.txt"] = b"plane\ncar\nbird\ncat\ndeer\ndog\n\n"
    return tar(members | changes)


def cifar100():
    train = record([3, 1], PIXELS[0]) + record([0, 2], PIXELS[1])
    names = {"fine_label_names.txt": b"apple\naquarium_fish\nbaby\n", "coarse_label_names.txt": b"a\nb\nc\nd\n"}
    files = {"train.bin": train, "test.bin": record([2, 0], PIXELS[2])} | names
    return tar({f"cifar-100-binary/{name}": content for name, content in files.items()})


def svhn(images, labels):
    target = io.BytesIO()
    savemat(target, {"X": images.transpose(1, 2, 3, 0), "y": np.array(labels, dtype=np.uint8)[:, None]})
    return target.getvalue()


def idx(values):
    return gzip.compress(struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes())


def put(monkeypatch, place, name, contents):
    """Write a set's files and publish their hashes."""
    files = {}
    for where, content in zip(FILES[name], contents, strict=True):
        path = place / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        files[where] = Published("https://localhost/gone", len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(FILES, name, files)
    return place


def test_cifar10_is_read_from_its_binary_archive(tmp_path, monkeypatch):
    decoded = load(put(monkeypatch, tmp_path, "CIFAR10", [cifar10()]), "CIFAR10")
    assert decoded.classes == ("plane", "car", "bird", "cat", "deer", "dog")
    assert np.array_equal(decoded.train.images, PIXELS[1:6].transpose(0, 3, 1, 2))
    assert np.array_equal(decoded.test.images, PIXELS[:1].transpose(0, 3, 1, 2))
    assert (decoded.train.labels.tolist(), decoded.test.labels.tolist()) == ([1, 2, 3, 4, 5], [0])
    assert (decoded.train.images.dtype, decoded.train.labels.dtype) == (np.uint8, np.int64)


def test_cifar100_has_fine_labels(tmp_path, monkeypatch):
    decoded = load(put(monkeypatch, tmp_path, "CIFAR100", [cifar100()]), "CIFAR100")
    assert decoded.classes == ("apple", "aquarium_fish", "baby")
    assert np.array_equal(decoded.train.images, PIXELS[:2].transpose(0, 3, 1, 2))
    assert (decoded.train.labels.tolist(), decoded.test.labels.tolist()) == ([1, 2], [0])


def test_svhn_takes_label_10_for_digit_0_as_torchvision_does(tmp_path, monkeypatch):
    train, test = svhn(PIXELS[:4], [10, 1, 9, 2]), svhn(PIXELS[4:6], [3, 10])
    place = put(monkeypatch, tmp_path, "SVHN", [train, test])
    decoded = load(place, "SVHN")
    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda held: True)
    for part, split in (("train", decoded.train), ("test", decoded.test)):
        other = datasets.SVHN(place, split=part)
        assert np.array_equal(split.images, other.data)
        assert split.labels.tolist() == other.labels.tolist()
    assert decoded.train.labels.tolist() == [0, 1, 9, 2]
    assert decoded.classes == tuple("0123456789")


def test_fashion_mnist_is_read_as_torchvision_reads_it(tmp_path, monkeypatch):
    images, labels = PIXELS[:5, :28, :28, 0], np.array([9, 0, 3, 1, 4], dtype=np.uint8)
    parts = [images[:3], labels[:3], images[3:], labels[3:]]
    place = put(monkeypatch, tmp_path, "FashionMNIST", [idx(part) for part in parts])
    decoded = load(place, "FashionMNIST")
    for path in (place / "FashionMNIST" / "raw").glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    for train, split in ((True, decoded.train), (False, decoded.test)):
        other = datasets.FashionMNIST(place, train=train)
        assert np.array_equal(split.images, other.data[:, None].numpy())
        assert split.labels.tolist() == other.targets.tolist()
    assert decoded.train.images.shape == (3, 1, 28, 28)
    assert decoded.classes == tuple(datasets.FashionMNIST.classes)


# what is not there, or is something else


@pytest.mark.parametrize("name", list(FILES))
def test_an_empty_place_without_download_is_one_clear_line(tmp_path, name):
    with pytest.raises(LayerLotteryError) as caught:
        load(tmp_path, name)
    place, file = next(iter(FILES[name].items()))
    remedy = f"put {file.url.rpartition('/')[2]} of {file.url} there, or set download: true"
    assert str(caught.value) == f"{tmp_path / place}: no such file, and download is false; {remedy}"


@pytest.mark.parametrize("name", list(PICKLED))
@pytest.mark.parametrize("held", [0, 1])
def test_torchvision_s_pickled_version_is_refused(tmp_path, name, held):
    pickled = tmp_path / PICKLED[name][held]
    pickled.mkdir()
    with pytest.raises(LayerLotteryError) as caught:
        load(tmp_path, name)
    (file,) = FILES[name].values()
    remedy = f"put {file.url.rpartition('/')[2]} of {file.url} there, or set download: true"
    assert str(caught.value) == f"{pickled}: pickled images, which could run any code, are not read; {remedy}"


def test_the_pickled_names_are_torchvision_s():
    for name, names in PICKLED.items():
        assert names == (getattr(datasets, name).base_folder, getattr(datasets, name).filename)


def test_the_places_are_torchvision_s():
    assert list(FILES["SVHN"]) == [datasets.SVHN.split_list[part][1] for part in ("train", "test")]
    assert list(FILES["FashionMNIST"]) == [f"FashionMNIST/raw/{name}" for name, _ in datasets.FashionMNIST.resources]


@pytest.mark.parametrize("name", list(FILES))
def test_every_file_has_an_https_address_and_a_sha256(name):
    for place, file in FILES[name].items():
        assert file.url.startswith("https://")
        assert file.url.rpartition("/")[2] == place.rpartition("/")[2]
        assert len(bytes.fromhex(file.sha256)) == 32
    assert len({file.sha256 for file in FILES[name].values()}) == len(FILES[name])


def test_a_failed_download_gives_its_reason(tmp_path, monkeypatch):
    place = put(monkeypatch, tmp_path, "CIFAR10", [cifar10()])
    (file,) = FILES["CIFAR10"].values()
    (place / "cifar-10-binary.tar.gz").unlink()
    # port 1 answers nobody
    monkeypatch.setitem(FILES, "CIFAR10", {"cifar-10-binary.tar.gz": replace(file, url="http://127.0.0.1:1/set")})
    monkeypatch.setattr("layerlottery.data.download.time.sleep", lambda seconds: None)
    with pytest.raises(LayerLotteryError, match=r"^http://127\.0\.0\.1:1/set: .*[Rr]efused.*; 0 of \d+ bytes are kept"):
        load(place, "CIFAR10", download=True)


def test_an_archive_with_another_byte_is_not_parsed(tmp_path, monkeypatch):
    place = put(monkeypatch, tmp_path, "CIFAR10", [cifar10()])
    archive = place / "cifar-10-binary.tar.gz"
    changed = bytearray(archive.read_bytes())
    changed[-1] ^= 1
    archive.write_bytes(changed)
    monkeypatch.setattr(tarfile, "open", None)
    with pytest.raises(LayerLotteryError, match=f"^{archive}: SHA-256 .* found, expected .*; delete it"):
        load(place, "CIFAR10")
    assert archive.read_bytes() == changed


@pytest.mark.parametrize(
    "archive",
    [
        b"no archive",
        tar({"readme.html": b"<html>"}),
        cifar10(**{"cifar-10-batches-bin/test_batch.bin": b"too short"}),
        cifar10(**{"cifar-10-batches-bin/test_batch.bin": "/etc/passwd"}),
        cifar10(**{"cifar-10-batches-bin/test_batch.bin": "data_batch_1.bin"}),
        cifar10()[:-100],
    ],
    ids=["bytes", "members", "size", "link_out", "link_within", "cut"],
)
def test_an_archive_that_holds_something_else_is_one_line(tmp_path, monkeypatch, archive):
    place = put(monkeypatch, tmp_path, "CIFAR10", [archive])
    with pytest.raises(
        LayerLotteryError, match=rf"^{tmp_path}/cifar-10-binary.tar.gz: not readable as CIFAR10 \(\w+\)$"
    ):
        load(place, "CIFAR10")
    assert list(place.iterdir()) == [place / "cifar-10-binary.tar.gz"]
