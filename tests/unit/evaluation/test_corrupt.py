import subprocess
import sys
import tracemalloc
from itertools import product

import numpy as np
import pytest
from tests.unit import official_files
from tests.unit.official_files import IMAGES, LABELS

from layerlottery.config.data import Digits, OfficialSettings
from layerlottery.config.evaluation import EXTRA_CORRUPTIONS, MAIN_CORRUPTIONS, CorruptionSettings
from layerlottery.data import prepare as preparation
from layerlottery.data.decode import Decoded
from layerlottery.data.official_classes import CIFAR10
from layerlottery.data.prepared import PreparedSet, Split
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation import corrupt as stage
from layerlottery.evaluation import corruptions
from layerlottery.evaluation.corruptions import corrupt_images
from layerlottery.store.arrays import read_array
from layerlottery.store.artifacts import read_facts


def make(bench, folder, **settings):
    images, facts = folder / "corrupted.npy", folder / "corrupted.json"
    stage.corrupt(bench.data, images, facts, CorruptionSettings(**settings))
    held = read_facts(facts)
    return read_array(images, held["array"]), held


def test_every_condition_of_every_test_image(bench, tmp_path):
    array, facts = make(bench, tmp_path, names=["contrast", "gaussian_noise"], severities=[2, 5], seed=4)
    test = bench.prepared.split("test").images
    assert facts["conditions"] == [["contrast", 2], ["contrast", 5], ["gaussian_noise", 2], ["gaussian_noise", 5]]
    assert facts["indices"] == list(range(60))
    assert facts["labels"] == bench.prepared.split("test").labels.tolist()
    assert (facts["origin"], facts["clean"]) == ("generated", True)
    assert array.dtype == np.uint8
    assert array.shape == (4, 60, 1, 8, 8)
    for made, (name, severity) in zip(array, facts["conditions"], strict=True):
        assert np.array_equal(made, corrupt_images(test, name=name, severity=severity, seed=4))


def test_all_corruptions_at_all_severities_by_default(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(corruptions, "corrupt_images", lambda images, **_: images)
    array, facts = make(bench, tmp_path)
    named = {tuple(condition) for condition in facts["conditions"]}
    assert named == set(product([*MAIN_CORRUPTIONS, *EXTRA_CORRUPTIONS], range(1, 6)))
    assert len(array) == len(named) == 95


def test_a_subset_is_balanced_and_part_of_the_whole(bench, tmp_path):
    chosen = {"names": ["gaussian_noise"], "severities": [3]}
    whole, _ = make(bench, tmp_path / "whole", **chosen)
    part, facts = make(bench, tmp_path / "part", **chosen, images=20)
    labels = bench.prepared.split("test").labels[facts["indices"]]
    assert np.bincount(labels, minlength=10).tolist() == [2] * 10
    assert np.array_equal(part, whole[:, facts["indices"]])
    assert facts["labels"] == labels.tolist()


def test_more_images_than_there_are_takes_all(bench, tmp_path):
    array, facts = make(bench, tmp_path, names=["contrast"], severities=[1], images=1000)
    assert array.shape[1] == len(facts["indices"]) == 60


def test_the_chunk_size_changes_nothing(bench, tmp_path, monkeypatch):
    chosen = {"names": ["gaussian_noise", "contrast"], "severities": [1]}
    _, whole = make(bench, tmp_path / "whole", **chosen)
    monkeypatch.setattr(stage, "CHUNK", 7)
    _, chunked = make(bench, tmp_path / "chunked", **chosen)
    assert chunked == whole


def test_no_corruptions_make_an_empty_array(bench, tmp_path):
    array, facts = make(bench, tmp_path, names=[])
    assert array.shape == (0, 60, 1, 8, 8)
    assert facts["conditions"] == []


def test_the_hash_follows_the_settings(bench, tmp_path):
    chosen = {"names": ["contrast"], "severities": [1]}
    hashes = [make(bench, tmp_path / str(seed), **chosen, seed=seed)[1]["config_hash"] for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_failure_leaves_no_file(bench, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise LayerLotteryError("broken")

    monkeypatch.setattr(corruptions, "corrupt_images", fail)
    with pytest.raises(LayerLotteryError, match="broken"):
        make(bench, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_torch_stays_out():
    code = "import sys, layerlottery.evaluation.corrupt; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# published images

NAMES = ["contrast", "fog"]
TEST = np.random.default_rng(3).integers(0, 256, (IMAGES, 3, 32, 32), dtype=np.uint8)
TRAIN = Split(TEST[:10], np.arange(10))


def prepared(monkeypatch, folder, labels=LABELS, **settings):
    """The facts of a prepared set in the form of CIFAR-10 with these test labels."""
    test = Split(TEST[: len(labels)], np.asarray(labels, dtype=np.int64))
    decoded = Decoded(tuple(CIFAR10), TRAIN, test, {})
    monkeypatch.setitem(preparation.LOADERS, "digits", lambda _: decoded)
    preparation.prepare(Digits(source="digits", **settings), folder)
    return folder / "facts.json"


def take(data, folder, *, sets=("CIFAR-10-C",), download=False, **settings):
    """The stage's array and facts, with the published sets in `folder`."""
    settings = {"names": NAMES, "severities": [1, 3, 5]} | settings
    official = OfficialSettings(sets=[*sets], location=str(folder), download=download)
    images, facts = folder / "made" / "corrupted.npy", folder / "made" / "corrupted.json"
    stage.corrupt(data, images, facts, CorruptionSettings(**settings), official)
    held = read_facts(facts)
    return read_array(images, held["array"]), held


def published(folder, labels=LABELS):
    arrays = official_files.corrupted(*NAMES) | {"labels": np.tile(labels, 5).astype(np.uint8)}
    official_files.put(folder / "CIFAR-10-C", arrays)
    return arrays


def same(array, facts, arrays, rows):
    """Whether each condition holds the published images of these rows, by a plain loop."""
    for made, (name, severity) in zip(array, facts["conditions"], strict=True):
        assert len(made) == len(rows)
        for image, row in zip(made, rows, strict=True):
            assert np.array_equal(np.moveaxis(image, 0, 2), arrays[name][(severity - 1) * IMAGES + row])
    return True


@pytest.mark.parametrize("chunk", [7, 1000])
def test_published_images_are_taken_instead(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(stage, "CHUNK", chunk)
    monkeypatch.setattr(corruptions, "corrupt_images", None)
    arrays = published(tmp_path)
    data = prepared(monkeypatch, tmp_path / "set")
    array, facts = take(data, tmp_path)
    assert facts["conditions"] == [[name, severity] for name in NAMES for severity in (1, 3, 5)]
    assert (array.dtype, array.shape) == (np.uint8, (6, IMAGES, 3, 32, 32))
    assert same(array, facts, arrays, range(IMAGES))
    assert (facts["origin"], facts["clean"]) == ("official", True)
    assert (facts["indices"], facts["labels"]) == (list(range(IMAGES)), LABELS.tolist())
    assert facts["data"] == PreparedSet.open(data).content


def test_published_images_are_chosen_in_balance(tmp_path, monkeypatch):
    arrays = published(tmp_path)
    array, facts = take(prepared(monkeypatch, tmp_path / "set"), tmp_path, images=10)
    assert sorted(facts["labels"]) == list(range(10))
    assert facts["labels"] == [LABELS[i] for i in facts["indices"]]
    assert same(array, facts, arrays, facts["indices"])


@pytest.mark.parametrize("images", [None, 4])
def test_published_images_follow_a_reduced_test_set(tmp_path, monkeypatch, images):
    arrays = published(tmp_path)
    data = prepared(monkeypatch, tmp_path / "set", test_size=12, sample_seed=5)
    array, facts = take(data, tmp_path, images=images)
    kept = PreparedSet.open(data).split("test")
    # where each kept image stood before
    rows = [next(i for i in range(IMAGES) if np.array_equal(TEST[i], kept.images[j])) for j in facts["indices"]]
    assert len(rows) == (images or 12)
    assert facts["clean"] is True
    assert facts["labels"] == kept.labels[facts["indices"]].tolist()
    assert same(array, facts, arrays, rows)


@pytest.mark.parametrize("labels", [LABELS[::-1], LABELS[:12], np.roll(LABELS, 1)], ids=["turned", "fewer", "moved"])
def test_published_images_of_another_order_have_no_clean_images(tmp_path, monkeypatch, labels):
    arrays = published(tmp_path)
    array, facts = take(prepared(monkeypatch, tmp_path / "set", labels), tmp_path)
    assert facts["clean"] is False
    assert facts["labels"] == LABELS.tolist()
    assert same(array, facts, arrays, range(IMAGES))


@pytest.mark.parametrize("sets", [[], ["CIFAR-10-C"], ["CIFAR-10.1"]])
def test_without_published_images_they_are_generated(tmp_path, monkeypatch, sets, caplog):
    caplog.set_level("INFO", "layerlottery")
    data = prepared(monkeypatch, tmp_path / "set")
    array, facts = take(data, tmp_path, sets=sets, names=["contrast"])
    assert (facts["origin"], facts["clean"], facts["labels"]) == ("generated", True, LABELS.tolist())
    for made, severity in zip(array, (1, 3, 5), strict=True):
        assert np.array_equal(made, corrupt_images(TEST, name="contrast", severity=severity, seed=0))
    assert ("CIFAR-10-C is not in" in caplog.text) is (sets == ["CIFAR-10-C"])
    assert "generating the images of 1 corruptions" in caplog.text


def test_origins_differ_in_their_hash(tmp_path, monkeypatch):
    data = prepared(monkeypatch, tmp_path / "set")
    generated = take(data, tmp_path, names=["contrast"])[1]
    published(tmp_path)
    assert take(data, tmp_path, names=["contrast"])[1]["config_hash"] != generated["config_hash"]


def test_the_images_of_another_set_are_refused(bench, tmp_path):
    with pytest.raises(
        LayerLotteryError, match=r"official.sets: CIFAR-10-C .*; this one is of 10 classes, 1 channel, 8x8"
    ):
        take(bench.data, tmp_path)


def test_a_broken_published_set_leaves_good_results_alone(tmp_path, monkeypatch):
    published(tmp_path)
    data = prepared(monkeypatch, tmp_path / "set")
    take(data, tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    path = tmp_path / "CIFAR-10-C" / "fog.npy"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(LayerLotteryError, match=f"^{path}: not a readable npy file"):
        take(data, tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "made").iterdir()} == before


def test_published_images_are_read_piece_by_piece(tmp_path, monkeypatch):
    many = 1000
    arrays = {"fog": np.zeros((5 * many, 32, 32, 3), dtype=np.uint8), "labels": np.arange(many) % 10}
    official_files.put(tmp_path / "CIFAR-10-C", arrays)
    data = prepared(monkeypatch, tmp_path / "set")
    monkeypatch.setattr(stage, "CHUNK", 50)
    tracemalloc.start()
    try:
        array, _ = take(data, tmp_path, names=["fog"], severities=[1, 2, 3, 4, 5])
        assert tracemalloc.get_traced_memory()[1] < array.nbytes // 4
    finally:
        tracemalloc.stop()
