"""Encoded sets: the same pixels as decoded ones wherever they are used, and no other bytes than were written."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.unit.data.encoded_sets import settings, twins, write_folder

from layerlottery import paths
from layerlottery.data import encoded as reading
from layerlottery.data import prepare as stage
from layerlottery.data.decode import Decoded
from layerlottery.data.encoded import EncodedImages
from layerlottery.data.folder import load_folder
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import ARRAYS, FACTS, PreparedSet, Split
from layerlottery.errors import LayerLotteryError
from layerlottery.runtime import threads
from layerlottery.store import records

SPLITS = ("train", "test", "shifted", "held_out")


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of two or three images each."""
    monkeypatch.setattr(records, "SHARD", 2000)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    decoded, encoded = twins(tmp_path_factory.mktemp("twins"), held_out=6)
    return PreparedSet.open(decoded), PreparedSet.open(encoded)


@pytest.fixture
def alone(tmp_path, small_shards):
    """An encoded set that may be damaged."""
    write_folder(tmp_path / "images")
    prepare(settings(tmp_path / "images", stored="encoded"), tmp_path / "set")
    return tmp_path / "set"


@pytest.mark.parametrize("name", SPLITS)
def test_pixels_and_labels_are_those_of_the_decoded_set(both, name):
    decoded, encoded = (one.split(name) for one in both)
    assert isinstance(encoded.images, EncodedImages)
    assert encoded.images.shape == decoded.images.shape
    assert np.array_equal(encoded.images[:], decoded.images)
    assert np.array_equal(encoded.labels, decoded.labels)


def test_facts_are_those_of_the_decoded_set(both):
    decoded, encoded = (dict(one.facts) for one in both)
    for name in ("classes", "channels", "image_size", "mean", "std", "counts", "shifted", "remarks"):
        assert encoded[name] == decoded[name]
    assert encoded["remarks"]["read without transparency"]["count"] == 3
    assert encoded["settings"] == decoded["settings"] | {"stored": "encoded"}
    assert "decoder" not in decoded


def test_rows_are_taken_as_an_array_s_are(both):
    decoded, encoded = (one.split("train") for one in both)
    rows = np.array([7, 0, 7, 3])
    assert np.array_equal(encoded.images[rows], decoded.images[rows])
    assert np.array_equal(encoded.images[2:9:3], decoded.images[2:9:3])
    assert np.array_equal(encoded.take(rows).images, decoded.images[rows])
    assert np.array_equal(np.concatenate([*encoded.pieces(rows)]), decoded.images[rows])
    assert encoded.images[:0].shape == (0, 3, 12, 12)
    assert np.array_equal(encoded.narrowed(5, 9).images[1:], decoded.images[6:9])
    ours, others = (one.shifted()["again"] for one in both)
    assert np.array_equal(ours.images, others.images)


@pytest.mark.parametrize("row", [-1, 30])
def test_rows_beyond_the_set_are_refused(both, row):
    images = both[1].split("train").narrowed(0, 24).images
    with pytest.raises(IndexError):
        images[np.array([3, row])]


def test_threads_move_no_pixel(both, monkeypatch):
    monkeypatch.setattr(threads, "_threads", 3)
    decoded, encoded = (one.split("train") for one in both)
    assert np.array_equal(encoded.images[::-1], decoded.images[::-1])


def test_files_are_kept_byte_for_byte_in_shards_of_bounded_size(alone):
    train = PreparedSet.open(alone / FACTS).split("train")
    files = load_folder(settings(alone.parent / "images")).train
    kept = [Path(path).read_bytes() for _, path in files.read(np.arange(len(files)))]
    assert [train.images.records[i] for i in range(len(train))] == kept
    shards = sorted(alone.glob("train_images-*.bin"))
    assert len(shards) > 3
    assert b"".join(shard.read_bytes() for shard in shards) == b"".join(kept)
    assert all(shard.stat().st_size <= 2000 for shard in shards)


def test_a_set_that_shrinks_or_is_decoded_after_all_leaves_no_shard(alone):
    before = len([*alone.glob("*.bin")])
    prepare(settings(alone.parent / "images", stored="encoded", train_size=6), alone)
    assert 0 < len([*alone.glob("*.bin")]) < before
    assert len(PreparedSet.open(alone / FACTS).split("train").images[:]) == 6
    prepare(settings(alone.parent / "images"), alone)
    assert {path.name for path in alone.iterdir()} == {FACTS, *ARRAYS}


def test_a_broken_image_late_in_the_set_leaves_nothing(tmp_path, small_shards):
    write_folder(tmp_path / "images")
    (tmp_path / "images/test/class2/zzz.jpg").write_bytes(b"no image")
    with pytest.raises(LayerLotteryError, match=r"zzz\.jpg: not a readable image"):
        prepare(settings(tmp_path / "images", stored="encoded"), tmp_path / "set")
    assert [*(tmp_path / "set").iterdir()] == []


def test_published_sets_that_join_are_kept_without_a_loss(tmp_path, monkeypatch):
    write_folder(tmp_path / "images")
    held = load_folder(settings(tmp_path / "images"))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 12, 12), dtype=np.uint8)
    joined = Decoded(held.classes, held.train, held.test, {"night": Split(pixels, np.array([0, 1, 2, 0]))})
    monkeypatch.setitem(stage.LOADERS, "folder", lambda _: joined)
    prepare(settings(tmp_path / "images", stored="encoded", shifted={}), tmp_path / "set")
    assert np.array_equal(PreparedSet.open(tmp_path / "set" / FACTS).shifted()["night"].images[:], pixels)


def test_a_grey_set_of_its_own_size(tmp_path):
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for number in range(4):
            folder = tmp_path / "images" / split / str(number % 2)
            folder.mkdir(parents=True, exist_ok=True)
            grey = stage.encode(random.integers(0, 256, (1, 9, 9), dtype=np.uint8))
            (folder / f"{number}.png").write_bytes(grey)
    plain = {"image_size": None, "fit": "stretch", "channels": None, "shifted": {}}
    for stored in ("decoded", "encoded"):
        prepare(settings(tmp_path / "images", stored=stored, **plain), tmp_path / stored)
    one, other = (
        PreparedSet.open(tmp_path / stored / FACTS).split("train").images for stored in ("decoded", "encoded")
    )
    assert one.shape == other.shape == (4, 1, 9, 9)
    assert np.array_equal(one, other[:])


# what happens to the files


def cut(shard):
    shard.write_bytes(shard.read_bytes()[:-1])


def flip(shard):
    content = bytearray(shard.read_bytes())
    content[-2] ^= 1
    shard.write_bytes(content)


@pytest.mark.parametrize(("damage", "said"), [(Path.unlink, "No such file"), (cut, "found .* bytes, expected")])
def test_a_shard_that_is_gone_or_cut_is_named_when_the_set_is_opened(alone, damage, said):
    damage(alone / "train_images-00001.bin")
    with pytest.raises(LayerLotteryError, match=rf"train_images-00001\.bin: {said}"):
        PreparedSet.open(alone / FACTS).split("train")


def test_changed_bytes_are_noticed_when_the_image_is_read(alone):
    flip(alone / "train_images-00001.bin")
    train = PreparedSet.open(alone / FACTS).split("train")
    with pytest.raises(LayerLotteryError, match=r"train_images-00001\.bin: record \d+ does not match its hash"):
        train.images[:]


def test_a_shard_that_is_cut_once_it_is_open_is_named(alone):
    train = PreparedSet.open(alone / FACTS).split("train")
    first = train.images[:1]
    shard = alone / "train_images-00000.bin"
    shard.open("r+b").truncate(100)
    with pytest.raises(LayerLotteryError, match=r"train_images-00000\.bin: cut short: found 100 bytes, expected \d+"):
        train.images[:1]
    assert first.any()


def test_a_changed_index_is_noticed(alone):
    flip(alone / "train_images.npy")
    with pytest.raises(LayerLotteryError, match=r"train_images\.npy: its content does not match its hash"):
        PreparedSet.open(alone / FACTS).split("train")


def test_in_a_results_folder_the_remedy_is_said(tmp_path, small_shards):
    folder = tmp_path / "results/datasets/dataset=own"
    write_folder(tmp_path / "images")
    prepare(settings(tmp_path / "images", stored="encoded"), folder)
    (folder / "test_images-00000.bin").unlink()
    with pytest.raises(
        LayerLotteryError, match=r"delete .*test_images\.npy, then recreate both: snakemake --cores all"
    ):
        PreparedSet.open(folder / FACTS).split("test")


def test_another_decoder_is_refused(both, tmp_path, monkeypatch):
    shutil.copytree(both[1].folder, tmp_path / "set")
    decode = reading.decode_again
    monkeypatch.setattr(reading, "decode_again", lambda *given: decode(*given) ^ 1)
    with pytest.raises(LayerLotteryError, match=r"facts\.json: Pillow [\d.]+ decodes its images to other pixels"):
        PreparedSet.open(tmp_path / "set" / FACTS).split("train")


@pytest.mark.parametrize(("field", "value"), [("shard", 9), ("shard", -1), ("start", -5), ("size", -1)])
def test_an_index_of_impossible_places_is_refused(tmp_path, field, value):
    entries = np.zeros(3, records.ENTRY)
    entries[field][1] = value
    content = records.write_array(tmp_path / "train_images.npy", entries)
    with pytest.raises(LayerLotteryError, match="an index of places that no shard has"):
        records.read_records(tmp_path / "train_images.npy", content)


def test_an_array_is_no_index(tmp_path):
    content = records.write_array(tmp_path / "train_images.npy", np.zeros(3, np.uint8))
    with pytest.raises(LayerLotteryError, match="found an array of uint8, not an index of records"):
        records.read_records(tmp_path / "train_images.npy", content)


def test_fewer_records_than_promised_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="1 of 2 records"), records.records_writer(tmp_path / "x.npy", 2) as writer:
        writer.write(b"one")
    assert [*tmp_path.iterdir()] == []


def test_slices_of_existing_settings_stay_what_they_were(tmp_path):
    assert "stored" not in json.loads(settings(tmp_path).slice())
    assert json.loads(settings(tmp_path, stored="encoded").slice())["stored"] == "encoded"


def test_a_shard_s_name_and_its_index_belong_together():
    index = Path("a/train_images.npy")
    assert paths.index(paths.shard(index, 12)) == index
    assert paths.index(Path("a/train_images.npy")) is None
    assert paths.index(Path("a/notes-1.bin")) is None
