"""The evaluation of one network as text, for the commands `evaluate` and `show`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from layerlottery import paths
from layerlottery.store.artifacts import read_table
from layerlottery.words import ABSENT, number, percent, terminal

Facts = Mapping[str, Any]
Row = tuple[str, ...]

KINDS = {"transfer": "transferred ", "minimum_norm": "minimum norm, "}
# the clean test images that corruptions are made of, as the tables call them
ORIGINALS = "corrupted images"
# what the figures of outliers mean
DETECTION = (("", "AUROC: 1 is perfect, 0.5 chance. FPR95: test images lost to find 95 % of the outliers."),)


def evaluation_text(folder: Path, *, width: int | None = None) -> str:
    """The rows that the stages shift and attack left in a folder, in `width` columns or the terminal's."""
    conditions = [read_table(Path(path(str(folder)))).to_pylist() for path in (paths.shift, paths.attack)]
    found = read_table(Path(paths.detection(str(folder)))).to_pylist()
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        section(console, "accuracy", condition_rows(row for rows in conditions for row in rows))
        section(console, "calibration", trust_rows(conditions[0]))
        section(console, "outliers", [*detection_rows(found), *DETECTION])
    return "\n".join(line.rstrip() for line in captured.get().strip().splitlines())


def section(console: Console, title: str, rows: Iterable[Row], styles: Sequence[str | None] = ()) -> None:
    """A heading and rows of two cells."""
    console.print(f"\n{title}", style="bold")
    grid = Table.grid(padding=(0, 2, 0, 0))
    # a hash of 64 digits beside it fits 80 columns
    grid.add_column(min_width=14)
    grid.add_column(overflow="fold")
    for place, row in enumerate(list(rows) or [(ABSENT,)]):
        grid.add_row(*map(terminal, row), style=styles[place] if styles else None)
    console.print(grid)


def condition_rows(rows: Iterable[Facts]) -> Iterable[Row]:
    """Accuracies by level: severity of a corruption, epsilon of an attack in 1/255; least norms in 1/255."""
    for (kind, name), same in groupby(rows, key=lambda row: (row["kind"], row["name"])):
        tested = list(same)
        title = _title(kind, name)
        if kind == "minimum_norm":
            # a file has no column of nulls
            norm = tested[0].get("norm")
            yield title, "more than half can't be fooled" if norm is None else f"median {number(norm, 2)}/255"
            continue
        plain = len(tested) == 1 and not tested[0]["level"]
        levels = (f"{row['level']:g}: {number(row['accuracy'], 1)}" for row in tested)
        shown = percent(tested[0]["accuracy"]) if plain else f"{', '.join(levels)} %"
        originals = kind == "clean" and name == ORIGINALS
        yield title, f"{shown} of the images that are corrupted below" if originals else shown


def _title(kind: str, name: str) -> str:
    if kind == "clean" and name == ORIGINALS:
        return "uncorrupted"
    return KINDS.get(kind, "") + name.replace("_", " ")


def trust_rows(rows: Iterable[Facts]) -> Iterable[Row]:
    """Calibration on the clean and the shifted test sets, scaled by the fitted temperature in brackets."""
    for row in rows:
        if row["kind"] in ("clean", "shift"):
            yield _title(row["kind"], row["name"]), ", ".join(map(_trust, ("nll", "brier", "ece"), [row] * 3))


def _trust(name: str, row: Facts) -> str:
    scaled = row.get(f"{name}_scaled")
    shown = f"{name.upper() if name != 'brier' else 'Brier'} {number(row[name], 3)}"
    return shown if scaled is None else f"{shown} ({number(scaled, 3)})"


def detection_rows(rows: Iterable[Facts]) -> Iterable[Row]:
    """AUROC by score; in brackets FPR95, the share of test images taken for outliers where 95 % of these are found."""
    for (distance, name), same in groupby(rows, key=lambda row: (row["distance"], row["outliers"])):
        scores = [
            f"{row['score']} {number(row['auroc'], 3)} (FPR95 {number(row['fpr95'], 3)})"
            for row in same
            if row["auroc"] is not None
        ]
        yield f"{distance}, {name}", f"AUROC {', '.join(scores)}" if scores else ABSENT
