"""Kept answers: what goes in comes out, and what can't be compared is not."""

import numpy as np
import pyarrow as pa
import pytest

from layerlottery.tables.answers import Answers
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


@pytest.mark.parametrize(
    "rows",
    [
        # a network lacks a condition, or has it from an earlier version
        [(0, FOG[0], [1, 0], "a"), (0, FOG[1], [1, 0], "a"), (1, FOG[0], [1, 0], "a")],
        [(0, FOG[0], [1, 0], "a"), (0, FOG[1], [1, 0], "a"), (1, FOG[0], [1, 0], "a"), (1, FOG[1], None, None)],
        # other images
        [(0, FOG[0], [1, 0], "a"), (0, FOG[1], [1, 0], "a"), (1, FOG[0], [1, 0], "b"), (1, FOG[1], [1, 0], "b")],
        [(0, FOG[0], [1, 0], "a"), (0, FOG[1], [1, 0, 1], "a"), (1, FOG[0], [1, 0], "a"), (1, FOG[1], [1, 0], "a")],
    ],
)
def test_what_lacks_or_is_of_other_images_is_not_compared(rows):
    assert held(*rows).right([0, 1], FOG) is None


def test_no_condition_is_no_answer():
    assert held((0, CLEAN, [1, 0], "a")).right([0], [ConditionName("shift", "mnist", 0.0)]) is None
