"""Parquet sets of several files a split."""

import numpy as np
import pytest
from pydantic import ValidationError
from tests.unit.data.parquet_files import LABELS, PIXELS, load, write

from layerlottery.config.data import ParquetImages
from layerlottery.data.parquet import load_parquet
from layerlottery.errors import LayerLotteryError


@pytest.fixture
def shards(place):
    """The training file in three parts, whose names do not come in the order in which they were made."""
    (place / "train.parquet").unlink()
    write(place / "train-2.parquet", PIXELS[4:], LABELS[4:])
    write(place / "train-0.parquet", PIXELS[:1], LABELS[:1])
    write(place / "train-1.parquet", PIXELS[1:4], LABELS[1:4], group=2)
    (place / ".train-1.parquet").write_bytes(b"of a file manager")
    return place


@pytest.mark.parametrize(
    "train",
    [
        "train-*.parquet",
        "train-[0-2].parquet",
        ["train-0.parquet", "train-[12].parquet"],
        ["train-0.parquet", "train-1.parquet", "train-2.parquet"],
    ],
    ids=str,
)
def test_shards_are_one_split_in_the_order_of_their_names(shards, train):
    decoded = load(shards, train=train)
    assert np.array_equal(decoded.train.images, PIXELS.transpose(0, 3, 1, 2))
    assert decoded.train.labels.tolist() == LABELS
    assert decoded.classes == ("0", "1", "2")


def test_a_list_is_taken_in_its_order(shards):
    decoded = load(shards, train=["train-2.parquet", "train-0.parquet", "train-1.parquet"])
    assert np.array_equal(decoded.train.images, PIXELS[[4, 5, 0, 1, 2, 3]].transpose(0, 3, 1, 2))


def test_test_and_shifted_sets_may_have_shards_too(shards):
    write(shards / "other.parquet")
    fog = {"fog": ["train-2.parquet"]}
    decoded = load(shards, train="other.parquet", test="train-[01].parquet", shifted=fog)
    assert np.array_equal(decoded.test.images, PIXELS[:4].transpose(0, 3, 1, 2))
    assert decoded.shifted["fog"].labels.tolist() == LABELS[4:]


def test_an_existing_name_is_no_pattern(place):
    write(place / "train[1].parquet", PIXELS[:3], LABELS[:3])
    assert len(load(place, train="train[1].parquet").train) == 3


def test_any_rows_of_any_shard(shards):
    train = load_parquet(ParquetImages(source="parquet", location=str(shards), train="train-*.parquet")).train
    for rows in ([0], [5], [1, 3], [0, 2, 4], [2, 3, 5], [0, 1, 2, 3, 4, 5], []):
        found = [*train.pieces(np.array(rows, dtype=np.intp))]
        assert np.array_equal(np.concatenate([train.images[:0], *found]), PIXELS[rows].transpose(0, 3, 1, 2))


def test_faults_name_the_shard_and_its_own_row(shards):
    write(shards / "train-1.parquet", [PIXELS[1], PIXELS[2], b"no image"], LABELS[1:4])
    with pytest.raises(LayerLotteryError, match=r"train-1\.parquet: image in row 2 \(from 0\): not a readable image"):
        load(shards, train="train-*.parquet")
    write(shards / "train-2.parquet", PIXELS[4:], [1, -1])
    with pytest.raises(LayerLotteryError, match=r"train-2\.parquet: row 1 has label -1"):
        load(shards, train="train-*.parquet")


def test_shards_must_agree_on_class_names(shards):
    names = ["cat", "dog", "owl"]
    for shard in range(3):
        write(shards / f"train-{shard}.parquet", PIXELS[:3], LABELS[:3], names=names)
    assert load(shards, train="train-*.parquet").classes == ("cat", "dog", "owl")
    write(shards / "train-1.parquet", PIXELS[:3], LABELS[:3], names=names[::-1])
    assert load(shards, train="train-*.parquet").train.labels.tolist() == [0, 1, 2, 2, 1, 0, 0, 1, 2]
    write(shards / "train-1.parquet", PIXELS[:3], LABELS[:3], names=["cat", "dog", "yak"])
    with pytest.raises(LayerLotteryError, match=r"train-1\.parquet: its class names"):
        load(shards, train="train-*.parquet")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train": "part-*.parquet"}, r"/part-\*\.parquet: no file has such a name"),
        ({"train": ["train-*.parquet", "train-1.parquet"]}, r"train-1\.parquet: named twice"),
        ({"train": "*.parquet"}, r"test\.parquet: found in train and in test"),
        ({"train": "train-*.parquet", "shifted": {"fog": "t*-1.parquet"}}, r"train-1\.parquet: .* and in shifted\.fog"),
    ],
    ids=str,
)
def test_files_that_a_pattern_should_not_take(shards, files, message):
    with pytest.raises(LayerLotteryError, match=message):
        load(shards, **files)


@pytest.mark.parametrize("files", [[], "", [""], 3, ["a", 3], {"a": "b"}], ids=str)
@pytest.mark.parametrize("key", ["train", "shifted"])
def test_files_are_names_or_lists_of_names(key, files):
    given = {"fog": files} if key == "shifted" else files
    with pytest.raises(ValidationError) as caught:
        ParquetImages(source="parquet", location="x", **{key: given})
    assert caught.value.error_count() == 1
