"""Kept answers: what goes in comes out, and what can't be compared is not."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation.conditions import kept
from layerlottery.tables.answers import Answers, check
from layerlottery.tables.measures import CLEAN, ConditionName

FOG = [ConditionName("corruption", "fog", float(level)) for level in (1, 3)]


def held(*rows):
    """Answers of rows (place, condition, bits, hash); a row without bits is of an earlier version."""
    table = [
        {"place": place, **condition._asdict(), "images": 0 if bits is None else len(bits), "images_hash": listed}
        | {"answers": None if bits is None else np.packbits(bits).tobytes(), "predicted": None}
        for place, condition, bits, listed in rows
    ]
    kinds = {"answers": pa.binary(), "predicted": pa.binary()}
    names = list(table[0])
    found = Answers()
    found.add(pa.table({name: pa.array([row[name] for row in table], kinds.get(name)) for name in names}))
    return found


def test_conditions_are_added_up_image_by_image():
    random = np.random.default_rng(0)
    bits = random.integers(0, 2, (2, 2, 13))
    answers = held(*((place, FOG[at], bits[place][at], "a") for place in (0, 1) for at in (0, 1)))
    assert (answers.right([1, 0], FOG) == bits[[1, 0]].sum(axis=1)).all()
    assert (answers.right([0], FOG[:1]) == bits[0][:1]).all()


def test_networks_that_answered_the_same_images_share_a_list():
    answers = held(
        (0, FOG[0], [1, 0], "a"), (0, FOG[1], [1, 0], "a"),
        (1, FOG[0], [0, 0], "a"), (1, FOG[1], [1, 1], "a"),
        # other images
        (2, FOG[0], [1, 0], "b"), (2, FOG[1], [1, 0], "b"),
        (3, FOG[0], [1, 0, 1], "a"), (3, FOG[1], [1, 0, 1], "a"),
        # images that differ between the conditions
        (4, FOG[0], [1, 0], "a"), (4, FOG[1], [1, 0], "b"),
        # a condition is missing, or of an earlier version
        (5, FOG[0], [1, 0], "a"),
        (6, FOG[0], [1, 0], "a"), (6, FOG[1], None, None),
    )  # fmt: skip
    found = answers.lists(range(8), FOG).tolist()
    assert found[0] == found[1] >= 0
    assert len({*found[:4]}) == 3
    assert found[4:] == [-1] * 4
    assert answers.lists([0], [CLEAN]).tolist() == [-1]
    assert answers.predicts([0, 7]).tolist() == [0, 0]


IMAGES = {"images": 13, "images_hash": "a", "accuracy": 100 * 5 / 13}
RIGHT = np.packbits([1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1]).tobytes()


def conditions_of(**changes):
    rows = [IMAGES | {"accuracy": 50.0}, IMAGES | {"answers": RIGHT, "predicted": bytes(13)} | changes]
    return pa.Table.from_pylist([{"answers": None, "predicted": None} | row for row in rows])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"answers": RIGHT[:1]}, "answers: found 1 bytes; allowed for 13 images: 2"),
        ({"answers": RIGHT + b"\0"}, "answers: found 3 bytes; allowed for 13 images: 2"),
        ({"accuracy": 100 * 6 / 13}, "answers: found 5 of 13 right; the accuracy says 46.1538 %"),
        ({"accuracy": float("nan")}, "answers: found 5 of 13 right; the accuracy says nan %"),
        ({"predicted": bytes(12)}, "predicted: found 12 bytes; allowed for 13 images: 13 or 26"),
        ({"predicted": bytes(12), "answers": None}, "predicted: found 12 bytes"),
        ({"images": None}, "found answers beside images None"),
        ({"images_hash": None}, "images_hash None"),
        ({"accuracy": None}, "accuracy None"),
    ],
)
def test_answers_that_disagree_with_their_row_are_one_line_that_names_the_file(changes, said):
    with pytest.raises(LayerLotteryError, match=re.escape(said)) as raised:
        check(Path("some/shift.parquet"), conditions_of(**changes))
    assert str(raised.value).startswith("some/shift.parquet: ")
    assert "\n" not in str(raised.value)


def test_answers_of_another_type_are_one_line():
    rows = conditions_of()
    wrong = rows.set_column(rows.column_names.index("answers"), "answers", pa.array([[1], [2]]))
    with pytest.raises(LayerLotteryError, match=r"^shift\.parquet: its answers are not of the table's types"):
        check(Path("shift.parquet"), wrong)


@pytest.mark.parametrize("changes", [{}, {"predicted": bytes(26)}, {"answers": None}, {"predicted": None}])
def test_answers_that_agree_pass(changes):
    check(Path("shift.parquet"), conditions_of(**changes))
    check(Path("shift.parquet"), conditions_of(**changes).drop_columns(["predicted"]))
    check(Path("attack.parquet"), conditions_of(**changes).drop_columns(["answers", "predicted"]))


@pytest.mark.parametrize("images", [1, 8, 899, 10_000])
def test_what_evaluation_keeps_passes(images):
    right = np.random.default_rng(images).random(images) < 0.7
    row = {"images": images, "accuracy": 100 * float(np.mean(right))} | kept(right, "a")
    check(Path("shift.parquet"), pa.Table.from_pylist([row]))
