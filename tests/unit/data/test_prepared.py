"""Prepared sets: balanced choice, statistics, layout on disk, refusal of what was changed."""

import json

import numpy as np
import pytest

from layerlottery.data import prepare as stage
from layerlottery.data.decode import Decoded
from layerlottery.data.prepare import channel_statistics, prepare
from layerlottery.data.prepared import ARRAYS, PreparedSet, Split, balanced_subset
from layerlottery.errors import LayerLotteryError
from layerlottery.results import artifacts
from layerlottery.settings import Digits

LABELS = np.array([0] * 2 + [1] * 6 + [2] * 6)


def make_split(labels, seed, side=8):
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 3, side, side), dtype=np.uint8)
    return Split(images, np.asarray(labels, dtype=np.int64))


def make_set(**changes):
    parts = {
        "classes": ("a", "b", "c"),
        "train": make_split(LABELS, 0),
        "test": make_split([2, 1, 0, 2], 1),
        "shifted": {"night": make_split([0, 1], 2), "snow": make_split([2, 2, 1], 3)},
    }
    return Decoded(**(parts | changes))


@pytest.fixture
def prepare_fake(monkeypatch, tmp_path):
    """Run the stage on arrays made here instead of the digits."""

    def run(decoded, **settings):
        monkeypatch.setitem(stage.LOADERS, "digits", lambda _: decoded)
        prepare(Digits(source="digits", **settings), tmp_path / "set")
        return tmp_path / "set" / "facts.json"

    return run


@pytest.mark.parametrize(
    ("size", "counts"), [(3, [1, 1, 1]), (6, [2, 2, 2]), (8, [2, 3, 3]), (12, [2, 5, 5]), (14, [2, 6, 6])]
)
def test_balanced_subset_counts(size, counts):
    chosen = balanced_subset(LABELS, size, seed=3)
    assert np.bincount(LABELS[chosen], minlength=3).tolist() == counts
    assert np.all(np.diff(chosen) > 0)


def test_balanced_subset_leftover_differs_by_one():
    labels = np.repeat(np.arange(4), 10)
    counts = np.bincount(labels[balanced_subset(labels, 22, seed=0)])
    assert sorted(counts) == [5, 5, 6, 6]


def test_balanced_subset_is_fixed_by_its_seed_and_nested():
    labels = np.random.default_rng(0).integers(0, 5, 200)
    assert np.array_equal(balanced_subset(labels, 50, 1), balanced_subset(labels, 50, 1))
    assert not np.array_equal(balanced_subset(labels, 50, 1), balanced_subset(labels, 50, 2))
    assert set(balanced_subset(labels, 50, 1)) < set(balanced_subset(labels, 90, 1))


@pytest.mark.parametrize("size", [0, 15])
def test_balanced_subset_refuses_impossible_sizes(size):
    with pytest.raises(LayerLotteryError, match=f"test_size: {size} images asked for, allowed is 1 to 14"):
        balanced_subset(LABELS, size, 0, key="test_size")


@pytest.mark.parametrize("chunk", [3, 4096])
def test_statistics_are_numpys(chunk):
    images = make_split(np.zeros(10), 5).images
    mean, std = channel_statistics(images, chunk=chunk)
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std(axis=(0, 2, 3)), rtol=1e-12)


def test_a_constant_channel_keeps_a_divisible_deviation():
    mean, std = channel_statistics(np.full((5, 1, 3, 3), 51, dtype=np.uint8))
    assert mean == pytest.approx([0.2])
    assert std == [1 / 255]


def test_prepared_set_gives_back_what_was_decoded(prepare_fake):
    decoded = make_set()
    prepared = PreparedSet.open(prepare_fake(decoded))
    for name in ("train", "test"):
        assert np.array_equal(prepared.split(name).images, getattr(decoded, name).images)
        assert np.array_equal(prepared.split(name).labels, getattr(decoded, name).labels)
    shifted = prepared.shifted()
    assert list(shifted) == ["night", "snow"]
    for name, split in shifted.items():
        assert np.array_equal(split.images, decoded.shifted[name].images)
        assert split.labels.tolist() == decoded.shifted[name].labels.tolist()
    assert (prepared.classes, prepared.channels, prepared.image_size) == (("a", "b", "c"), 3, 8)
    assert prepared.facts["counts"] == {"train": 14, "test": 4, "shifted": 5}
    assert prepared.split("train").images.dtype == np.uint8
    assert prepared.split("train").labels.dtype == np.int64


def test_statistics_come_from_the_kept_training_images(prepare_fake):
    decoded = make_set()
    prepared = PreparedSet.open(prepare_fake(decoded, train_size=6, test_size=3, sample_seed=4))
    kept = decoded.train.images[balanced_subset(LABELS, 6, 4)]
    assert np.array_equal(prepared.split("train").images, kept)
    np.testing.assert_allclose(prepared.mean, kept.mean(axis=(0, 2, 3)) / 255, rtol=1e-12)
    np.testing.assert_allclose(prepared.std, kept.std(axis=(0, 2, 3)) / 255, rtol=1e-12)
    assert sorted(prepared.split("test").labels) == [0, 1, 2]


def test_files_are_the_same_without_shifted_sets(prepare_fake):
    facts = prepare_fake(make_set(shifted={}))
    assert {path.name for path in facts.parent.iterdir()} == {"facts.json", *ARRAYS}
    assert PreparedSet.open(facts).shifted() == {}


def test_content_follows_pixels_and_settings(prepare_fake):
    first = PreparedSet.open(prepare_fake(make_set())).content
    assert PreparedSet.open(prepare_fake(make_set())).content == first
    assert PreparedSet.open(prepare_fake(make_set(), test_fraction=0.3)).content != first
    changed = make_set(shifted={"night": make_split([0, 1], 9)})
    assert PreparedSet.open(prepare_fake(changed)).content != first


@pytest.mark.parametrize("file", ARRAYS)
def test_a_changed_array_is_refused(prepare_fake, file):
    facts = prepare_fake(make_set())
    held = bytearray((facts.parent / file).read_bytes())
    held[-1] ^= 1
    (facts.parent / file).write_bytes(held)
    prepared = PreparedSet.open(facts)
    group = file.split("_")[0]
    with pytest.raises(LayerLotteryError, match=f"{file}: its content does not match"):
        prepared.shifted() if group == "shifted" else prepared.split(group)


def test_changed_or_foreign_facts_are_refused(prepare_fake, tmp_path):
    facts = prepare_fake(make_set())
    held = json.loads(facts.read_text())
    held["facts"]["mean"][0] += 0.1
    facts.write_text(json.dumps(held))
    with pytest.raises(LayerLotteryError, match="does not match its hash"):
        PreparedSet.open(facts)
    artifacts.write_facts(tmp_path / "other.json", {"accuracy": 1.0}, config_hash="0")
    with pytest.raises(LayerLotteryError, match="not the facts of a prepared set"):
        PreparedSet.open(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"test": make_split([0, 1], 1, side=9)}, {}, r"test: images of .*\(3, 9, 9\).*\(3, 8, 8\)"),
        ({"shifted": {"fog": make_split([0], 1, side=9)}}, {}, r"fog: images of"),
        ({"test": make_split([0, 3], 1)}, {}, "test: label 3 found, allowed is 0 to 2"),
        ({"train": make_split([0, 0, 2], 1)}, {}, "train: no image of class b"),
        ({}, {"train_size": 2}, "no image of class"),
        ({}, {"train_size": 15}, "train_size: 15 images asked for, allowed is 1 to 14"),
        ({}, {"test_size": 5}, "test_size: 5 images asked for, allowed is 1 to 4"),
    ],
)
def test_sets_that_do_not_fit_together_are_refused(prepare_fake, tmp_path, changes, settings, message):
    with pytest.raises(LayerLotteryError, match=message):
        prepare_fake(make_set(**changes), **settings)
    assert not (tmp_path / "set" / "facts.json").exists()
