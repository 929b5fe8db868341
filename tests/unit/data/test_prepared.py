"""Prepared sets: balanced choice, statistics, layout on disk, refusal of what was changed."""

import json

import numpy as np
import pytest
from tests.unit import official_files

from layerlottery.config.data import Digits
from layerlottery.data import prepare as stage
from layerlottery.data.decode import Decoded
from layerlottery.data.official_classes import CIFAR10
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import ARRAYS, PreparedSet, Split, balanced_subset
from layerlottery.data.statistics import Levels
from layerlottery.errors import LayerLotteryError
from layerlottery.paper.measure import CIFAR_10_2, plain
from layerlottery.store import artifacts

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
    with pytest.raises(LayerLotteryError, match=f"test_size: {size} images asked for, allowed: 1 to 14"):
        balanced_subset(LABELS, size, 0, key="test_size")


def statistics(*pieces):
    levels = Levels(pieces[0].shape[1])
    for piece in pieces:
        levels.add(piece)
    return levels.statistics()


@pytest.mark.parametrize("cuts", [[], [3], [1, 2, 9]])
def test_statistics_are_numpys(cuts):
    images = make_split(np.zeros(10), 5).images
    mean, std = statistics(*np.split(images, cuts))
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std(axis=(0, 2, 3)), rtol=1e-12)


def test_a_constant_channel_keeps_a_divisible_deviation():
    mean, std = statistics(np.full((5, 1, 3, 3), 51, dtype=np.uint8))
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
    assert prepared.facts["counts"] == {"train": 14, "test": 4, "shifted": 5, "held_out": 0}
    assert prepared.split("held_out").images.shape == (0, 3, 8, 8)
    assert len(prepared.split("held_out")) == 0
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


def paired(split):
    """The images of a split with their labels, in no order."""
    return sorted((image.tobytes(), label) for image, label in zip(split.images, split.labels.tolist(), strict=True))


@pytest.mark.parametrize(
    ("settings", "counts", "trained"),
    [({"held_out": 3}, [1, 1, 1], 11), ({"held_out": 5, "train_size": 9}, [1, 2, 2], 4)],
)
def test_held_out_images_are_balanced_and_taken_out_of_training(prepare_fake, settings, counts, trained):
    decoded = make_set()
    facts = prepare_fake(decoded, **settings, sample_seed=2)
    prepared = PreparedSet.open(facts)
    train, held_out = prepared.split("train"), prepared.split("held_out")
    assert sorted(np.bincount(held_out.labels, minlength=3)) == counts
    assert (len(train), len(held_out)) == (trained, sum(counts))
    assert (prepared.facts["counts"]["train"], prepared.facts["counts"]["held_out"]) == (trained, sum(counts))
    without = PreparedSet.open(prepare_fake(decoded, **settings | {"held_out": None}, sample_seed=2)).split("train")
    assert sorted(paired(train) + paired(held_out)) == paired(without)
    assert not set(paired(train)) & set(paired(held_out))


def test_held_out_images_move_no_statistic(prepare_fake):
    prepared = PreparedSet.open(prepare_fake(make_set(), held_out=3))
    trained = prepared.split("train").images / 255
    np.testing.assert_allclose(prepared.mean, trained.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(prepared.std, trained.std(axis=(0, 2, 3)), rtol=1e-12)


def test_holding_out_changes_the_content(prepare_fake):
    contents = {PreparedSet.open(prepare_fake(make_set(), held_out=size)).content for size in (None, 3, 4)}
    assert len(contents) == 3


def test_a_set_of_before_there_were_held_out_images_is_named(prepare_fake):
    facts = prepare_fake(make_set())
    held = artifacts.read_facts(facts)
    del held["arrays"]["held_out_images.npy"]
    artifacts.write_facts(facts, held, config_hash="0" * 64)
    with pytest.raises(LayerLotteryError, match=rf"^{facts}: names no held_out_images.npy; recreate it"):
        PreparedSet.open(facts).split("held_out")


PHOTOS = np.random.default_rng(7).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)


def make_coloured(**changes):
    """Ten classes, in colour, of the usual size."""
    splits = {"train": make_split([*range(10)] * 2, 0, side=32), "test": make_split([*range(10)], 1, side=32)}
    parts = {"classes": tuple(CIFAR10), **splits, "shifted": {}}
    return Decoded(**(parts | changes))


@pytest.fixture
def cifar_10_2(monkeypatch, tmp_path):
    """The settings of a set that has CIFAR-10.2 beside it: a small file of its layout."""
    content = official_files.npz(images=PHOTOS, labels=np.arange(20) % 10)
    official_files.publish(monkeypatch, "CIFAR-10.2", [content])
    (tmp_path / "cifar102_test.npz").write_bytes(content)
    return {"official": {"sets": ["CIFAR-10.2", "CIFAR-10-C"], "location": str(tmp_path)}}


def test_an_official_test_set_is_a_shifted_set(prepare_fake, cifar_10_2):
    night = make_split([3, 4], 2, side=32)
    shifted = PreparedSet.open(prepare_fake(make_coloured(shifted={"night": night}), **cifar_10_2)).shifted()
    assert list(shifted) == ["night", "cifar10.2"]
    assert np.array_equal(shifted["night"].images, night.images)
    assert np.array_equal(shifted["cifar10.2"].images, np.moveaxis(PHOTOS, 3, 1))
    assert shifted["cifar10.2"].labels.tolist() == [*range(10)] * 2
    assert plain("cifar10.2") == CIFAR_10_2


def test_the_training_images_are_the_same_with_an_official_test_set(prepare_fake, cifar_10_2):
    arrays = [PreparedSet.open(prepare_fake(make_coloured(), **chosen)).facts for chosen in ({}, cifar_10_2)]
    for file in ("train_images.npy", "test_images.npy"):
        assert len({facts["arrays"][file] for facts in arrays}) == 1
    assert arrays[0]["arrays"]["shifted_images.npy"] != arrays[1]["arrays"]["shifted_images.npy"]


def test_an_official_test_set_that_is_not_there_stops_the_stage(prepare_fake, cifar_10_2, tmp_path):
    (tmp_path / "cifar102_test.npz").unlink()
    with pytest.raises(LayerLotteryError, match=r"cifar102_test.npz: no such file, and official.download is false"):
        prepare_fake(make_coloured(), **cifar_10_2)
    assert not (tmp_path / "set").exists()


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
    group = file.rpartition("_")[0]
    with pytest.raises(LayerLotteryError, match=f"{file}: (its content does not match|not a readable npy file)"):
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
        ({"test": make_split([0, 3], 1)}, {}, "test: label 3 found, allowed: 0 to 2"),
        ({"train": make_split([0, 0, 2], 1)}, {}, "train: no image of class b"),
        ({}, {"train_size": 2}, "no image of class"),
        ({}, {"train_size": 15}, "train_size: 15 images asked for, allowed: 1 to 14"),
        ({}, {"held_out": 15}, "held_out: 15 images asked for, allowed: 1 to 14"),
        ({}, {"train_size": 9, "held_out": 10}, "held_out: 10 images asked for, allowed: 1 to 9"),
        ({}, {"held_out": 14}, "train: no image of class a among the 0 kept and not held out"),
        ({}, {"held_out": 6}, "train: no image of class a among the 8 kept and not held out"),
        ({}, {"official": {"sets": ["CIFAR-10.1"]}}, "official.sets: CIFAR-10.1 .* 10 classes, .* of 3 classes"),
        ({}, {"test_size": 5}, "test_size: 5 images asked for, allowed: 1 to 4"),
    ],
)
def test_sets_that_do_not_fit_together_are_refused(prepare_fake, tmp_path, changes, settings, message):
    with pytest.raises(LayerLotteryError, match=message):
        prepare_fake(make_set(**changes), **settings)
    assert not (tmp_path / "set" / "facts.json").exists()
