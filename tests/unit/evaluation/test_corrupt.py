import subprocess
import sys

import numpy as np
import pytest

from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation import corrupt as stage
from layerlottery.evaluation.corruptions import corrupt_images
from layerlottery.results.artifacts import read_array, read_facts
from layerlottery.settings import CorruptionSettings


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
    assert array.dtype == np.uint8
    assert array.shape == (4, 60, 1, 8, 8)
    for made, (name, severity) in zip(array, facts["conditions"], strict=True):
        assert np.array_equal(made, corrupt_images(test, name=name, severity=severity, seed=4))


def test_thirty_conditions_by_default(bench, tmp_path):
    array, facts = make(bench, tmp_path)
    assert len(array) == len({tuple(condition) for condition in facts["conditions"]}) == 30


def test_a_subset_is_balanced_and_part_of_the_whole(bench, tmp_path):
    chosen = {"names": ["gaussian_noise"], "severities": [3]}
    whole, _ = make(bench, tmp_path / "whole", **chosen)
    part, facts = make(bench, tmp_path / "part", **chosen, images=20)
    labels = bench.prepared.split("test").labels[facts["indices"]]
    assert np.bincount(labels, minlength=10).tolist() == [2] * 10
    assert np.array_equal(part, whole[:, facts["indices"]])


def test_more_images_than_there_are_takes_all(bench, tmp_path):
    array, facts = make(bench, tmp_path, names=["contrast"], severities=[1], images=1000)
    assert array.shape[1] == len(facts["indices"]) == 60


def test_the_chunk_size_changes_nothing(bench, tmp_path, monkeypatch):
    _, whole = make(bench, tmp_path / "whole", severities=[1])
    monkeypatch.setattr(stage, "CHUNK", 7)
    _, chunked = make(bench, tmp_path / "chunked", severities=[1])
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

    monkeypatch.setattr(stage, "corrupt_images", fail)
    with pytest.raises(LayerLotteryError, match="broken"):
        make(bench, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_torch_stays_out():
    code = "import sys, layerlottery.evaluation.corrupt; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
