"""Lines of the page of goals and measurements."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Row:
    """One line of the page: what, the goal and what was measured."""

    what: str
    goal: str
    measured: str
    met: bool
    figures: dict[str, float]


def show(rows: list[Row]) -> list[Row]:
    for row in rows:
        verdict = "met" if row.met else "missed"
        print(f"{row.what} | goal {row.goal} | {row.measured} | {verdict}", flush=True)
    return rows
