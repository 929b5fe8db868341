"""Parquet sets against pixels and files made here."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.unit.data.parquet_files import LABELS, PIXELS, load, png, write

from layerlottery.config.data import ParquetImages
from layerlottery.data.parquet import load_parquet
from layerlottery.errors import LayerLotteryError


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
    write(place / "test.parquet", names=["dog", "cat", "yak"])
    with pytest.raises(LayerLotteryError, match=r"test\.parquet: its class names"):
        load(place)


def test_labels_of_other_files_are_matched_by_name(place):
    write(place / "train.parquet", names=["cat", "dog", "owl"])
    write(place / "test.parquet", PIXELS[:4], [0, 1, 2, 1], names=["owl", "cat", "dog"])
    write(place / "some.parquet", PIXELS[:3], [1, 0, 1], names=["owl", "dog"])
    decoded = load(place, shifted={"some": "some.parquet"})
    assert [decoded.classes[label] for label in decoded.test.labels] == ["owl", "cat", "dog", "cat"]
    assert [decoded.classes[label] for label in decoded.shifted["some"].labels] == ["dog", "owl", "dog"]
    write(place / "some.parquet", PIXELS[:3], [1, 0, 2], names=["owl", "dog"])
    with pytest.raises(LayerLotteryError, match=r"some\.parquet: label 2 found, allowed: 0 to 1"):
        load(place, shifted={"some": "some.parquet"})
    write(place / "some.parquet", names=["owl", "owl", "dog"])
    with pytest.raises(LayerLotteryError, match=r"some\.parquet: a class name of column label stands there twice"):
        load(place, shifted={"some": "some.parquet"})


@pytest.mark.parametrize("labels", [[4, 7, 9, 4, 7, 9], [1, 2, 3, 3, 2, 1], [0, 10**12, 5, 0, 10**12, 5]])
def test_labels_without_names_may_leave_numbers_out(place, labels):
    write(place / "train.parquet", labels=labels)
    write(place / "test.parquet", PIXELS[:2], [labels[2], labels[0]])
    decoded = load(place)
    for split, expected in ((decoded.train, labels), (decoded.test, [labels[2], labels[0]])):
        assert [int(decoded.classes[label]) for label in split.labels] == expected
    write(place / "test.parquet", PIXELS[:2], [labels[2], 6])
    with pytest.raises(LayerLotteryError, match=r"test\.parquet: label 6 found, no training image has it"):
        load(place)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["image", "label", "label"], r"train\.parquet: 2 columns are called label, allowed: one"),
        (["image", "image", "image", "label"], r"train\.parquet: 3 columns are called image, allowed: one"),
    ],
)
def test_columns_of_one_name_are_refused(place, columns, message):
    table = pq.read_table(place / "train.parquet")
    held = pa.Table.from_arrays([table.column(name) for name in columns], names=columns)
    pq.write_table(held, place / "train.parquet")
    with pytest.raises(LayerLotteryError, match=message):
        load(place)


@pytest.mark.parametrize("name", [b"label", b"bytes"])
def test_names_that_are_no_text_are_refused(place, name):
    content = (place / "train.parquet").read_bytes()
    damaged = bytearray(content)
    for found in re.finditer(name, content):
        damaged[found.start()] = 0x80
    (place / "train.parquet").write_bytes(damaged)
    with pytest.raises(LayerLotteryError, match=r"train\.parquet: .*not (a )?readable"):
        load(place)


@pytest.mark.parametrize("label", [2**63, 2**64 - 1])
def test_labels_beyond_our_integers_are_named_as_they_are(place, label):
    write(place / "train.parquet", labels=pa.array([0, 1, label, 0, 1, 2], pa.uint64()))
    with pytest.raises(LayerLotteryError, match=f"row 2 has label {label}, allowed"):
        load(place)


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint16()])
def test_labels_may_be_encoded_as_a_dictionary(place, kind):
    table = pq.read_table(place / "train.parquet")
    encoded = pa.DictionaryArray.from_arrays(pa.array([1, 0, 2, 1, 0, 2], kind), pa.array([1, 0, 2], pa.int64()))
    pq.write_table(table.set_column(1, "label", encoded), place / "train.parquet")
    assert load(place).train.labels.tolist() == LABELS


def test_shifted_files_keep_their_names(place):
    write(place / "fog.parquet", PIXELS[3:4], [1])
    shifted = load(place, shifted={"fog": "fog.parquet"}).shifted
    assert np.array_equal(shifted["fog"].images, PIXELS[3:4].transpose(0, 3, 1, 2))
    assert shifted["fog"].labels.tolist() == [1]


@pytest.mark.parametrize("coloured", [0, 3, 5])
def test_one_training_image_in_colour_makes_a_set_of_colours(place, coloured):
    held = [one if row == coloured else one[..., 0] for row, one in enumerate(PIXELS)]
    write(place / "train.parquet", held)
    decoded = load(place)
    for row, image in enumerate(decoded.train.images):
        expected = PIXELS[row] if row == coloured else np.stack([PIXELS[row][..., 0]] * 3, axis=2)
        assert np.array_equal(image, expected.transpose(2, 0, 1))
    assert decoded.test.images.shape == (2, 3, 8, 8)
    grey = load(place, channels=1).train.images
    assert np.array_equal(grey[coloured, 0], np.asarray(Image.fromarray(PIXELS[coloured]).convert("L")))


def test_colours_of_other_splits_are_lost_only_with_a_remark(place):
    write(place / "train.parquet", [*PIXELS[..., 0]])
    held = load_parquet(ParquetImages(source="parquet", location=str(place)))
    luma = np.asarray(Image.fromarray(PIXELS[1]).convert("L"))
    assert np.array_equal(held.test.images[1, 0], luma)
    [(what, noted)] = held.remarks.facts().items()
    assert (what, noted["count"]) == ("made grey, as all training images are", 2)
    assert noted["first"][0].endswith("test.parquet: image in row 0 (from 0)")
    with pytest.raises(LayerLotteryError, match=r"test\.parquet: image in row 0 .*made grey.*strict"):
        load(place, strict=True)
    assert load(place, strict=True, channels=1).test.images.shape == (2, 1, 8, 8)


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
    with pytest.raises(LayerLotteryError, match=r"row 0 .*allowed: 8 bits"):
        load(place, channels=1)


def test_an_image_without_bytes_is_refused(place):
    image = pa.array([{"bytes": None, "path": "x.png"}], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": image, "label": [0]}), place / "train.parquet")
    write(place / "test.parquet", PIXELS[:1], [0])
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
        ([0, 1, 2, 0, -1, 2], "row 4 has label -1, allowed: integers from 0$"),
        ([-1] * 6, "row 0 has label -1, allowed: integers from 0; all are -1: a test set without labels"),
        ([0, 1, 2, 0, None, 2], "row 4 has no label"),
        ([0.0, 1.0, 2.0, 0.0, 1.0, 2.0], "column label is double, allowed: integers"),
        (list("abcabc"), "column label is string"),
    ],
)
def test_labels_must_count_from_zero(place, labels, message):
    write(place / "train.parquet", labels=labels)
    with pytest.raises(LayerLotteryError, match=rf"train\.parquet: {message}"):
        load(place)


def test_missing_columns_are_named_with_those_found(place):
    pq.write_table(pa.table({"photo": [b""], "label": [0]}), place / "test.parquet")
    with pytest.raises(LayerLotteryError, match=r"test\.parquet: column image missing, found photo, label; name one"):
        load(place)
    pq.write_table(pa.table({"image": [b""], "label": [0]}), place / "test.parquet")
    with pytest.raises(LayerLotteryError, match="column image is binary, allowed: a struct with bytes"):
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


# columns of other names


def test_known_columns_are_found(place):
    write(place / "train.parquet", image="img")
    write(place / "test.parquet", PIXELS[:2], [2, 0], image="img", label="labels")
    decoded = load(place)
    assert np.array_equal(decoded.train.images, PIXELS.transpose(0, 3, 1, 2))
    assert decoded.test.labels.tolist() == [2, 0]


COARSE = ([1, 0, 0, 1, 0, 0], ["plant", "animal"])


def as_cifar100(place):
    for file in ("train.parquet", "test.parquet"):
        write(place / file, names=["ant", "bee", "fir"], image="img", label="fine_label", coarse_label=COARSE)


def test_cifar100_has_fine_labels_unless_coarse_ones_are_asked_for(place):
    as_cifar100(place)
    fine, coarse = load(place), load(place, label_column="coarse_label")
    assert (fine.train.labels.tolist(), fine.classes) == (LABELS, ("ant", "bee", "fir"))
    assert (coarse.train.labels.tolist(), coarse.classes) == (COARSE[0], ("plant", "animal"))


def test_a_chosen_column_counts_even_beside_the_default_one(place):
    for file in ("train.parquet", "test.parquet"):
        write(place / file, label="label", other=([5 - i for i in range(6)], None))
    assert load(place, label_column="other").train.labels.tolist() == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            {"image_column": "photo"},
            "column photo missing, found img, fine_label, coarse_label; name one .*image_column",
        ),
        ({"label_column": "label"}, "column label missing, found img, .*; name one of them in label_column"),
        ({"label_column": "img"}, "column img is struct"),
        ({"image_column": "fine_label"}, "column fine_label is int64, allowed: a struct with bytes"),
    ],
    ids=str,
)
def test_a_chosen_column_that_is_not_there(place, chosen, message):
    as_cifar100(place)
    with pytest.raises(LayerLotteryError, match=rf"train\.parquet: {message}"):
        load(place, **chosen)


def test_two_known_columns_are_a_question(place):
    write(place / "train.parquet", label="labels", fine_label=(LABELS, None))
    with pytest.raises(
        LayerLotteryError, match="column label missing, found image, labels, fine_label; name one of them"
    ):
        load(place)
    assert load(place, label_column="fine_label", test="train.parquet").train.labels.tolist() == LABELS
