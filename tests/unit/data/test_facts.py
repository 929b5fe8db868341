"""Facts and arrays that are sealed and still can't be true."""

import json
import shutil

import numpy as np
import pytest

from layerlottery.config.data import Digits
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import PreparedSet
from layerlottery.errors import LayerLotteryError
from layerlottery.store import artifacts, seals
from layerlottery.store.arrays import write_array


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    prepare(Digits(source="digits", train_size=40, test_size=20, held_out=10), folder)
    return folder


@pytest.fixture
def digits(original, tmp_path):
    shutil.copytree(original, tmp_path / "set")
    return tmp_path / "set/facts.json"


def forge(path, **changes):
    """The same file with other facts and an intact seal."""
    held = json.loads(path.read_text())
    held["facts"] |= changes
    held["artifact"]["seal"] = seals.BLANK
    path.write_text(json.dumps(held, indent=1) + "\n")
    seals.seal(path)
    artifacts.check(path)


NAN = float("nan")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": []}, "classes: "),
        ({"classes": "0123456789"}, "classes: '0123456789' found"),
        ({"classes": ["0"] * 10}, "classes: a name stands there twice"),
        ({"classes": [*"012345678", 9]}, r"classes\.9: 9 found"),
        ({"channels": 2}, "channels: 2 found"),
        ({"channels": 3}, "mean: 1 numbers found, allowed: 3"),
        ({"image_size": 0}, "image_size: 0 found"),
        ({"image_size": "8"}, "image_size: '8' found"),
        ({"mean": [NAN]}, r"mean\.0: nan found"),
        ({"mean": [33.3]}, r"mean\.0: 33\.3 found"),
        ({"std": [0.0]}, r"std\.0: 0\.0 found"),
        ({"std": [float("inf")]}, r"std\.0: inf found"),
        ({"std": [0.1, 0.1]}, "std: 2 numbers found, allowed: 1"),
        ({"counts": {"train": 30, "test": 20}}, "counts: shifted, held_out missing"),
        ({"counts": {"train": 30, "test": 20, "shifted": -1, "held_out": 0}}, r"counts\.shifted: -1 found"),
        ({"counts": {"train": 30, "test": 0, "shifted": 5000, "held_out": 10}}, "counts: found no"),
        ({"shifted": {"mnist": [0, 4999]}}, "shifted: sets at .* don't make up 5000 images"),
        ({"shifted": {"a": [0, 3000], "b": [2000, 5000]}}, "shifted: sets at"),
        ({"arrays": []}, r"arrays: \[\] found"),
        ({"settings": None}, "settings: None found"),
    ],
)
def test_facts_that_can_not_be_true(digits, changes, message):
    forge(digits, **changes)
    with pytest.raises(LayerLotteryError, match=f"^{digits}: {message}") as caught:
        PreparedSet.open(digits)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 16}, r"train_images\.npy: uint8 \(30, 1, 8, 8\) found, its facts say uint8 \(30, 1, 16, 16\)"),
        (
            {"counts": {"train": 31, "test": 20, "shifted": 5000, "held_out": 10}},
            r"train_images\.npy: .*\(31, 1, 8, 8\)",
        ),
        ({"classes": [*"0123"]}, r"train_labels\.npy: label 9 found, allowed: 0 to 3"),
        ({"channels": 3, "mean": [0.1] * 3, "std": [0.1] * 3}, r"train_images\.npy: .* say uint8 \(30, 3, 8, 8\)"),
    ],
)
def test_facts_that_contradict_the_arrays(digits, changes, message):
    forge(digits, **changes)
    with pytest.raises(LayerLotteryError, match=message):
        PreparedSet.open(digits).split("train")


@pytest.mark.parametrize(
    ("file", "array"),
    [
        ("test_labels.npy", np.full(20, -1)),
        ("test_labels.npy", np.zeros(20, np.int32)),
        ("test_labels.npy", np.zeros((20, 1), np.int64)),
        ("test_images.npy", np.zeros((20, 1, 8, 8), np.float32)),
        ("test_images.npy", np.zeros((20, 8, 8), np.uint8)),
        ("shifted_labels.npy", np.zeros(4999, np.int64)),
    ],
)
def test_arrays_that_contradict_the_facts(digits, file, array):
    content = write_array(digits.parent / file, array)
    forge(digits, arrays=json.loads(digits.read_text())["facts"]["arrays"] | {file: content})
    prepared = PreparedSet.open(digits)
    assert len(prepared.split("train")) == 30
    with pytest.raises(LayerLotteryError, match=rf"{file}: .* found, (its facts say|allowed)"):
        prepared.split("test" if file.startswith("test") else "shifted")
