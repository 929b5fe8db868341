"""Sets larger than the memory: decoded a piece at a time, only what is kept, into the same files as any other set."""

import hashlib
import io
import json
import resource
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.unit.data.decoded import whole

from layerlottery.config.data import Digits, ImageFolder, ParquetImages
from layerlottery.data import prepared as pieces
from layerlottery.data.folder import load_folder
from layerlottery.data.parquet import load_parquet
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import ARRAYS, FACTS, PreparedSet, balanced_subset
from layerlottery.errors import LayerLotteryError

COUNT, CLASSES = 120, 4
LABELS = np.random.default_rng(2).permutation(np.arange(COUNT) % CLASSES)
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)


def png(pixels):
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def write(path, encoded, labels, group=16):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    image = pa.array([{"bytes": one, "path": None} for one in encoded], kind)
    pq.write_table(pa.table({"image": image, "label": labels}), path, row_group_size=group)


@pytest.fixture
def place(tmp_path):
    """Three shards of training images and a file of tests, which a second name shows as a shifted set."""
    encoded = [png(one) for one in PIXELS]
    for shard in range(3):
        rows = slice(shard * 40, shard * 40 + 40)
        write(tmp_path / f"train-{shard}.parquet", encoded[rows], LABELS[rows])
    write(tmp_path / "test.parquet", encoded[:30], LABELS[:30])
    return tmp_path


def settings(place, **changes):
    files = {"train": "train-*.parquet", "shifted": {"again": "test.parquet"}}
    return ParquetImages(source="parquet", location=str(place), **files | changes)


KEPT = {"train_size": 50, "held_out": 13, "test_size": 21, "sample_seed": 3}


@pytest.mark.parametrize("size", [1, 1000, 1 << 24])
def test_arrays_are_numpy_s_files_of_the_chosen_images(place, monkeypatch, size):
    """Whatever the size of a piece in bytes: here one image, five, or all."""
    monkeypatch.setattr(pieces, "_PIECE", size)
    prepare(settings(place, **KEPT), place / "out")
    kept = balanced_subset(LABELS, 50, 3)
    out = kept[balanced_subset(LABELS[kept], 13, 3)]
    tested = balanced_subset(LABELS[:30], 21, 3)
    rows = {"train": np.setdiff1d(kept, out), "held_out": out, "test": tested, "shifted": np.arange(30)}
    facts = PreparedSet.open(place / "out" / FACTS).facts
    for name, expected in rows.items():
        for part, array in (("images", PIXELS.transpose(0, 3, 1, 2)), ("labels", LABELS)):
            sink = io.BytesIO()
            np.save(sink, np.ascontiguousarray(array[expected]))
            assert (place / "out" / f"{name}_{part}.npy").read_bytes() == sink.getvalue()
            assert facts["arrays"][f"{name}_{part}.npy"] == hashlib.sha256(sink.getvalue()).hexdigest()
    trained = PIXELS[rows["train"]] / 255
    np.testing.assert_allclose(facts["mean"], trained.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(facts["std"], trained.std(axis=(0, 1, 2)), rtol=1e-12)


def test_images_that_are_not_kept_are_not_decoded(place):
    kept = balanced_subset(LABELS, 50, 3)
    encoded = [png(one) if i in kept or i == 0 else b"no image" for i, one in enumerate(PIXELS)]
    for shard in range(3):
        rows = slice(shard * 40, shard * 40 + 40)
        write(place / f"train-{shard}.parquet", encoded[rows], LABELS[rows])
    prepare(settings(place, **KEPT), place / "out")
    assert PreparedSet.open(place / "out" / FACTS).facts["counts"]["train"] == 37
    with pytest.raises(LayerLotteryError, match="not a readable image"):
        prepare(settings(place), place / "out")


def test_an_image_in_colour_counts_even_if_it_is_not_kept(place):
    assert 0 not in balanced_subset(LABELS, 8, 3)
    write(place / "train.parquet", [png(PIXELS[0]), *(png(one[..., 0]) for one in PIXELS[1:])], LABELS)
    prepare(settings(place, train="train.parquet", train_size=8, sample_seed=3), place / "out")
    assert PreparedSet.open(place / "out" / FACTS).channels == 3


def test_a_broken_image_late_in_the_set_leaves_nothing(place):
    write(place / "test.parquet", [png(PIXELS[0]), *[b"no image"] * 29], LABELS[:30])
    with pytest.raises(LayerLotteryError, match=r"test\.parquet: image in row 1 "):
        prepare(settings(place), place / "out")
    assert list((place / "out").iterdir()) == []


def test_an_earlier_set_stays_whole_when_a_later_one_fails(place):
    prepare(settings(place), place / "out")
    write(place / "test.parquet", [png(PIXELS[0]), *[b"no image"] * 29], LABELS[:30])
    with pytest.raises(LayerLotteryError):
        prepare(settings(place, train_size=50), place / "out")
    assert len(PreparedSet.open(place / "out" / FACTS).split("train")) == COUNT
    assert {path.name for path in (place / "out").iterdir()} == {FACTS, *ARRAYS}


@contextmanager
def largest_file(size):
    """No file may grow beyond `size` bytes: to a writer the same as a full disk, and for everybody, root too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_without_space_is_said_of_the_array_that_needs_it(place, monkeypatch):
    monkeypatch.setattr(pieces, "_PIECE", 1 << 12)
    with largest_file(12_000), pytest.raises(OSError, match="large") as caught:
        prepare(settings(place, held_out=20), place / "out")
    assert caught.value.filename == str(place / "out" / "train_images.npy")
    assert list((place / "out").iterdir()) == []


def peak(make):
    tracemalloc.start()
    try:
        make()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_set(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "_PIECE", 1 << 18)
    encoded = [png(np.full((8, 8, 3), 25 * i, dtype=np.uint8)) for i in range(8)]
    taken = {}
    for count in (200, 1200):
        place = tmp_path / str(count)
        place.mkdir()
        write(place / "train.parquet", [encoded[i % 8] for i in range(count)], np.arange(count) % 8, group=count)
        write(place / "test.parquet", encoded, np.arange(8))
        chosen = ParquetImages(source="parquet", location=str(place), image_size=64, held_out=20)
        taken[count] = peak(lambda: prepare(chosen, place / "out"))  # noqa: B023
    # the array itself grows by 12 MB
    assert 1000 * 3 * 64 * 64 > 12e6
    assert taken[1200] < taken[200] + 1e6


# what facts say of the settings


def stated(folder):
    return json.loads((folder / FACTS).read_text())["facts"]["settings"]


def test_facts_name_later_settings_only_where_they_are_set(place):
    prepare(settings(place, train=["train-0.parquet"], shifted={}), place / "out")
    official = {"sets": [], "location": "downloads", "download": False}
    shared = {"train_size": None, "test_size": None, "sample_seed": 0, "held_out": None, "official": official}
    located = {"location": str(place), "image_size": None, "channels": None, "source": "parquet"}
    files = {"train": ["train-0.parquet"], "test": "test.parquet", "shifted": {}}
    assert stated(place / "out") == shared | located | files
    chosen = {"image_size": 8, "fit": "crop", "image_column": "image", "label_column": "label"}
    prepare(settings(place, **chosen), place / "out")
    assert stated(place / "out").items() >= chosen.items()


@pytest.mark.parametrize(
    ("model", "values", "slices"),
    [
        (Digits, {"source": "digits"}, '{"source":"digits"}'),
        (ImageFolder, {"source": "folder", "location": "x"}, '{"location":"x","source":"folder"}'),
        (ParquetImages, {"source": "parquet", "location": "x"}, '{"location":"x","source":"parquet"}'),
    ],
)
def test_what_is_not_set_moves_no_hash(model, values, slices):
    assert model(**values).slice() == slices


# the same images from files and from folders


def test_svhn_s_layout_in_parquet_and_in_folders_is_one_set(tmp_path):
    """cropped_digits of 32x32 pixels with the labels 0 to 9, and a folder for each digit."""
    digits = np.random.default_rng(5).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    labels = np.sort(np.arange(30) % 10)
    (tmp_path / "cropped_digits").mkdir()
    for split in ("train", "test"):
        write(tmp_path / f"cropped_digits/{split}-00000-of-00001.parquet", [png(one) for one in digits], labels)
        for i, (pixels, label) in enumerate(zip(digits, labels.tolist(), strict=True)):
            (tmp_path / split / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / split / str(label) / f"{i:02}.png")
    names = {"train": "cropped_digits/train-*.parquet", "test": "cropped_digits/test-*.parquet"}
    one = whole(load_parquet(ParquetImages(source="parquet", location=str(tmp_path), **names)))
    other = whole(load_folder(ImageFolder(source="folder", location=str(tmp_path))))
    assert one.classes == other.classes == tuple("0123456789")
    for name in ("train", "test"):
        assert np.array_equal(getattr(one, name).images, getattr(other, name).images)
        assert np.array_equal(getattr(one, name).labels, getattr(other, name).labels)
