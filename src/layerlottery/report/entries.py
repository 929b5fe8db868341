"""Networks of several submissions as one frame, with their answers: what tickets are ranked from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from layerlottery.report.submission import Group, Submission
from layerlottery.report.tables import within
from layerlottery.store.schemas import IDENTITY, TICKET
from layerlottery.tables.answers import Answers
from layerlottery.tables.measures import CLEAN

ENTRY, OWN = ([column.name for column in columns] for columns in (TICKET, IDENTITY))
BITS = ["answers", "images_hash"]


def joined(rows: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Rows with the columns of others of the same ticket."""
    return rows.merge(other, how="left", on=ENTRY)


def networks_of(submissions: Sequence[Submission], group: Group, rows: pd.DataFrame) -> tuple[pd.DataFrame, Answers]:
    """Networks of a data set and architecture as tables/ranking.py takes them, and their answers to clean test images.

    `rows` are tickets: their number `ticket`, the place of their submission `source`, and what names them.
    """
    held = pd.concat([_networks(one, group).assign(source=place) for place, one in enumerate(submissions)])
    held = held.merge(rows[["source", "ticket", *ENTRY]], how="left", on=["source", *ENTRY])
    held["ticket"] = held["ticket"].fillna(-1 - held["source"]).astype(int)
    held["place"] = np.arange(len(held))
    answers = Answers()
    kept = held[held["answers"].notna()]
    kind, name, level = CLEAN
    columns = kept[["place", "images", *BITS]].assign(kind=kind, name=name, level=level, predicted=None)
    answers.add(pa.Table.from_pandas(columns.astype({"images": int}), preserve_index=False))
    held["answered"] = [hashlib.sha256(one).hexdigest() if isinstance(one, bytes) else "" for one in held["answers"]]
    return held.rename(columns={"images_hash": "listed"}).drop(columns="answers"), answers


def _networks(one: Submission, group: Group) -> pd.DataFrame:
    """Rows of runs with how many test images there were, and the answers to them where these were kept."""
    runs = within(one.tables.runs, group)[[*OWN, "accuracy"]]
    tested, answered = (_clean(within(table, group)) for table in (one.tables.robustness, one.tables.answers))
    rows = runs.merge(tested[[*OWN, "images"]], how="left", on=OWN)
    return rows.merge(answered[[*OWN, *BITS]], how="left", on=OWN)


def _clean(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["kind"] == CLEAN.kind) & (rows["name"] == CLEAN.name)]
