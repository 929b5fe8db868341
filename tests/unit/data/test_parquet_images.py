"""Parquet sets against pixels and files made here."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from layerlottery.data.parquet import load_parquet
from layerlottery.errors import LayerLotteryError
from layerlottery.settings import ParquetImages

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
LABELS = [0, 1, 2, 0, 1, 2]


def png(pixels):
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def write(path, images=PIXELS, labels=LABELS, names=None, group=4):
    encoded = [{"bytes": one if isinstance(one, bytes) else png(one), "path": None} for one in images]
    image = pa.array(encoded, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.table({"image": image, "label": pa.array(labels)})
    if names:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, path, row_group_size=group)


@pytest.fixture
def place(tmp_path):
    write(tmp_path / "train.parquet")
    write(tmp_path / "test.parquet", PIXELS[:2], [2, 0])
    return tmp_path


def load(place, **changes):
    return load_parquet(ParquetImages(source="parquet", location=str(place), **changes))


def test_pixels_and_labels_survive_in_order(place):
    decoded = load(place)
    assert np.array_equal(decoded.train.images, PIXELS.transpose(0, 3, 1, 2))
    assert decoded.train.labels.tolist() == LABELS
    assert decoded.test.labels.tolist() == [2, 0]
    assert decoded.classes == ("0", "1", "2")
    assert decoded.shifted == {}


def test_class_names_come_from_the_schema(place):
    write(place / "train.parquet", names=["cat", "dog", "owl"])
    assert load(place).classes == ("cat", "dog", "owl")
    write(place / "test.parquet", names=["dog", "cat", "owl"])
    with pytest.raises(LayerLotteryError, match=r"test\.parquet: its class names"):
        load(place)


def test_shifted_files_keep_their_names(place):
    write(place / "fog.parquet", PIXELS[3:4], [1])
    shifted = load(place, shifted={"fog": "fog.parquet"}).shifted
    assert np.array_equal(shifted["fog"].images, PIXELS[3:4].transpose(0, 3, 1, 2))
    assert shifted["fog"].labels.tolist() == [1]


def test_grey_images_follow_the_first_or_the_setting(place):
    grey = PIXELS[..., 0]
    write(place / "train.parquet", [grey[0], *PIXELS[1:]])
    luma = np.asarray(Image.fromarray(PIXELS[1]).convert("L"))
    decoded = load(place)
    assert np.array_equal(decoded.train.images[:2, 0], [grey[0], luma])
    assert decoded.test.images.shape == (2, 1, 8, 8)
    coloured = load(place, channels=3).train.images
    assert np.array_equal(coloured[0], np.stack([grey[0]] * 3))
    assert np.array_equal(coloured[1], PIXELS[1].transpose(2, 0, 1))


def test_image_size_resizes_bilinearly(place):
    wide = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write(place / "train.parquet", [wide, *PIXELS[1:]])
    found = load(place, image_size=10).train.images
    expected = Image.fromarray(wide).resize((10, 10), Image.Resampling.BILINEAR)
    assert found.shape == (6, 3, 10, 10)
    assert np.array_equal(found[0], np.asarray(expected).transpose(2, 0, 1))


def test_a_broken_image_names_file_and_row(place):
    broken = [png(one) for one in PIXELS]
    broken[4] = broken[4][:60]
    write(place / "train.parquet", broken)
    with pytest.raises(LayerLotteryError, match=r"train\.parquet: image in row 4 .*not a readable image"):
        load(place)


def test_images_that_eight_bits_cannot_hold_are_refused(place):
    deep = np.full((8, 8), 40_000, dtype=np.uint16)
    write(place / "train.parquet", [deep] * 6)
    with pytest.raises(LayerLotteryError, match=r"row 0 .*allowed are 8 bits"):
        load(place, channels=1)


def test_an_image_without_bytes_is_refused(place):
    image = pa.array([{"bytes": None, "path": "x.png"}], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": image, "label": [0]}), place / "train.parquet")
    with pytest.raises(LayerLotteryError, match=r"row 0 .*no bytes"):
        load(place)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((9, 9, 3), np.uint8), "row 3 .*9x9 pixels, the first image has 8x8; set image_size"),
        (np.zeros((8, 9, 3), np.uint8), "row 3 .*9x8 pixels, not square; set image_size"),
    ],
)
def test_differing_sizes_need_image_size(place, pixels, message):
    write(place / "train.parquet", [*PIXELS[:3], pixels, *PIXELS[4:]])
    with pytest.raises(LayerLotteryError, match=message):
        load(place)
    assert load(place, image_size=8).train.images.shape == (6, 3, 8, 8)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 0, -1, 2], "row 4 has label -1, allowed are integers from 0"),
        ([0, 1, 2, 0, None, 2], "row 4 has no label"),
        ([0.0, 1.0, 2.0, 0.0, 1.0, 2.0], "column label is double, allowed are integers"),
        (list("abcabc"), "column label is string"),
        ([0, 1, 3, 0, 1, 3], "labels go up to 3 but 2 is missing"),
        ([1, 2, 3, 1, 2, 3], "labels go up to 3 but 0 is missing"),
    ],
)
def test_labels_must_count_from_zero(place, labels, message):
    write(place / "train.parquet", labels=labels)
    with pytest.raises(LayerLotteryError, match=rf"train\.parquet: {message}"):
        load(place)


def test_missing_columns_are_named_with_those_found(place):
    pq.write_table(pa.table({"img": [b""], "label": [0]}), place / "test.parquet")
    with pytest.raises(LayerLotteryError, match=r"test\.parquet: column image missing, found img, label"):
        load(place)
    pq.write_table(pa.table({"image": [b""], "label": [0]}), place / "test.parquet")
    with pytest.raises(LayerLotteryError, match="column image is binary, allowed is a struct with bytes"):
        load(place)


def test_files_that_are_not_there_or_not_parquet(place):
    with pytest.raises(LayerLotteryError, match=r"fog\.parquet: no such file"):
        load(place, shifted={"fog": "fog.parquet"})
    (place / "test.parquet").write_text("label,image\n")
    with pytest.raises(LayerLotteryError, match=r"test\.parquet: not a readable Parquet file"):
        load(place)
    write(place / "test.parquet", [], pa.array([], pa.int64()))
    with pytest.raises(LayerLotteryError, match="holds no rows"):
        load(place)
    held = bytearray((place / "train.parquet").read_bytes())
    held[4:-600] = bytes(len(held) - 604)
    (place / "train.parquet").write_bytes(held)
    with pytest.raises(LayerLotteryError, match=r"train\.parquet: .*not (a )?readable"):
        load(place)
