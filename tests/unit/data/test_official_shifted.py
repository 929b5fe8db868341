"""CIFAR-10.1 and CIFAR-10.2 on small files of the same layout. No network but this machine's."""

import re

import numpy as np
import pytest
from PIL import Image
from tests.unit import hostile
from tests.unit.data.official_sets import FITTING, SET, files, refused, settings
from tests.unit.data.serving import running
from tests.unit.official_files import npy, npz, publish

from layerlottery.data.official import load_shifted
from layerlottery.data.published import OFFICIAL

PHOTOS = np.random.default_rng(5).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
TARGETS = np.arange(12) % 10
NEW = {
    "CIFAR-10.1": lambda images=PHOTOS, labels=TARGETS: [npy(images), npy(labels.astype(np.int32))],
    "CIFAR-10.2": lambda images=PHOTOS, labels=TARGETS: [npz(images=images, labels=labels)],
}


def shifted(location, name, download=False, **changes):
    return load_shifted(settings(location, name, download=download), **FITTING | changes)


def new_set(monkeypatch, location, name, contents, place=".", url="https://localhost/gone"):
    """Publish a set's files and put them into a folder of the location."""
    publish(monkeypatch, name, contents, url)
    (location / place).mkdir(parents=True, exist_ok=True)
    for file, content in zip(OFFICIAL[name], contents, strict=True):
        (location / place / file).write_bytes(content)


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("below", [True, False])
def test_a_new_test_set_is_read_as_published(tmp_path, monkeypatch, name, below):
    new_set(monkeypatch, tmp_path, name, NEW[name](), name if below else ".")
    ((key, split),) = shifted(tmp_path, name).items()
    assert key == {"CIFAR-10.1": "cifar10.1", "CIFAR-10.2": "cifar10.2"}[name]
    assert (split.images.dtype, split.images.shape, split.labels.dtype) == (np.uint8, (12, 3, 32, 32), np.int64)
    for image, label, photo, target in zip(split.images, split.labels, PHOTOS, TARGETS, strict=True):
        assert label == target
        assert all(np.array_equal(image[channel], photo[:, :, channel]) for channel in range(3))


@pytest.mark.parametrize("size", [8, 48])
def test_new_test_sets_take_the_size_of_the_set(tmp_path, monkeypatch, size):
    new_set(monkeypatch, tmp_path, "CIFAR-10.2", NEW["CIFAR-10.2"]())
    split = shifted(tmp_path, "CIFAR-10.2", image_size=size)["cifar10.2"]
    for image, photo in zip(split.images, PHOTOS, strict=True):
        expected = Image.fromarray(photo).resize((size, size), Image.Resampling.BILINEAR)
        assert np.array_equal(image.transpose(1, 2, 0), np.asarray(expected))


def test_both_new_test_sets_and_no_corrupted_one(tmp_path, monkeypatch):
    for name, contents in NEW.items():
        new_set(monkeypatch, tmp_path, name, contents())
    asked = settings(tmp_path, "CIFAR-10.2", SET, "CIFAR-10.1")
    assert sorted(load_shifted(asked, **FITTING)) == ["cifar10.1", "cifar10.2"]
    assert load_shifted(settings(tmp_path, SET), **FITTING) == load_shifted(settings(tmp_path), **FITTING) == {}


@pytest.mark.parametrize("name", NEW)
def test_a_new_test_set_is_fetched_only_when_that_is_allowed(tmp_path, monkeypatch, name):
    line = refused(shifted, tmp_path, name)
    file, published = next(iter(OFFICIAL[name].items()))
    assert line == (
        f"{tmp_path / file}: no such file, and official.download is false; put {file} of {published.url} "
        f"into {tmp_path}, or set official.download: true"
    )
    content = NEW["CIFAR-10.2"]()[0]
    with running() as server:
        server.body = content
        publish(monkeypatch, "CIFAR-10.2", [content], server.url)
        assert np.array_equal(shifted(tmp_path, "CIFAR-10.2", download=True)["cifar10.2"].labels, TARGETS)
    assert files(tmp_path) == {"cifar102_test.npz": content}


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("download", [False, True])
def test_another_file_under_a_published_name_is_left_alone(tmp_path, monkeypatch, name, download):
    new_set(monkeypatch, tmp_path, name, NEW[name]())
    path = tmp_path / next(iter(OFFICIAL[name]))
    path.write_bytes(b"x" + path.read_bytes()[1:])
    before = files(tmp_path)
    assert re.match(rf"{path}: SHA-256 \w+ found, expected \w+; ", refused(shifted, tmp_path, name, download=download))
    assert files(tmp_path) == before


def test_other_arrays_of_the_archive_are_not_read(tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    bomb = np.array([hostile.Bomb(marker)], dtype=object)
    new_set(monkeypatch, tmp_path, "CIFAR-10.2", [npz(images=PHOTOS, labels=TARGETS, label_names=bomb)])
    assert shifted(tmp_path, "CIFAR-10.2")["cifar10.2"].labels.tolist() == TARGETS.tolist()
    assert not marker.exists()


def test_hostile_contents_of_new_test_sets_run_nothing(tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    bomb = np.array([hostile.Bomb(marker)] * 12, dtype=object)
    payloads = [("CIFAR-10.2", [npz(images=bomb, labels=TARGETS)]), ("CIFAR-10.2", [npz(labels=TARGETS)])]
    for content in hostile.arrays(marker).values():
        payloads += [("CIFAR-10.1", [content, npy(TARGETS)]), ("CIFAR-10.2", [content])]
    for name, contents in payloads:
        new_set(monkeypatch, tmp_path, name, contents)
        file = next(iter(OFFICIAL[name]))
        line = refused(shifted, tmp_path, name)
        assert line.startswith(f"{tmp_path / file}: not readable as arrays of numbers ("), line
        assert not marker.exists()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (PHOTOS[:, :16], TARGETS, r"uint8 \(12, 16, 32, 3\) found"),
        (PHOTOS, TARGETS[:5], "5 labels found, allowed: 12"),
        (PHOTOS, TARGETS + 1, "label 10 found, allowed: 0 to 9"),
    ],
)
@pytest.mark.parametrize("name", NEW)
def test_new_test_sets_of_another_form_are_named(tmp_path, monkeypatch, name, images, labels, message):
    new_set(monkeypatch, tmp_path, name, NEW[name](images, labels))
    assert re.match(rf"{tmp_path}/\S+: {message}", refused(shifted, tmp_path, name))


@pytest.mark.parametrize(
    ("changes", "found"),
    [({"channels": 1}, "10 classes, 1 channel"), ({"classes": ["a", "b"]}, "2 classes, 3 channels")],
)
def test_new_test_sets_need_colours_and_the_ten_classes(tmp_path, changes, found):
    line = refused(shifted, tmp_path, "CIFAR-10.1", download=True, **changes)
    assert line == f"official.sets: CIFAR-10.1 belongs to a set of 10 classes, 3 channels; this one is of {found}"


def test_two_shifted_sets_of_one_name_are_refused(tmp_path, monkeypatch):
    new_set(monkeypatch, tmp_path, "CIFAR-10.2", NEW["CIFAR-10.2"]())
    line = refused(shifted, tmp_path, "CIFAR-10.2", present=["night", "cifar10.2"])
    assert line == "official.sets: CIFAR-10.2 would be a second shifted set named cifar10.2"
