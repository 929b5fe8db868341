"""Lines of the page of goals and measurements."""

from __future__ import annotations

from dataclasses import dataclass

VERDICTS = {True: "met", False: "missed", None: ""}


@dataclass
class Row:
    """One line of the page: what, the goal and what was measured; `met` is None where there is no goal."""

    what: str
    goal: str
    measured: str
    met: bool | None
    figures: dict[str, float]


def show(rows: list[Row]) -> list[Row]:
    for row in rows:
        print(f"{row.what} | goal {row.goal or 'none'} | {row.measured} | {VERDICTS[row.met]}", flush=True)
    return rows
