"""The paper's tables beside what was measured, and its figure 3."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from layerlottery import paths
from layerlottery.paper.printed import SEPARATOR
from layerlottery.paper.render import CAPTIONS, SMALL
from layerlottery.paper.tabulate import read_paper_tables
from layerlottery.report.grids import Cell, Grid
from layerlottery.report.style import BLUE, Draw, Look, Panel, Picture, bars, dots, panel
from layerlottery.words import ABSENT, TIMES, number, signed

MOST_NAMED = 3
INTERVAL = ("measured", "low", "high")
TONES = {"agrees": "win", "disagrees": "lose"}
AGAINST = {"better": "win", "worse": "lose"}
SCORE = Look(BLUE, 0)
FIGURE = "figure3"
SHORT = {"factor": TIMES, "mean absolute kernel sum": ""}
PAPERS = "the paper's"


def read_paper(folder: Path) -> dict[str, pd.DataFrame]:
    """The paper's tables that hold a measurement, in the paper's order. Raises when one is missing or broken."""
    frames = read_paper_tables(folder)
    return {name: frames[name] for name in paths.PAPER if frames[name]["measured"].notna().any()}


def paper_note(paper: dict[str, pd.DataFrame]) -> str:
    """The scale of the comparison, what its columns mean, and which tables nothing here fills."""
    scales = list(dict.fromkeys(scale for frame in paper.values() for scale in frame["scale"].dropna()))
    absent = [name.replace("table", "table ").replace("figure", "figure ") for name in paths.PAPER if name not in paper]
    said = [
        f"Scale: {'; '.join(scales)}." if scales else "",
        SMALL if set(scales) - {PAPERS} else "",
        "Measured: mean over seeds [interval]. It agrees if the whole interval lies within the margin of the printed "
        "figure and disagrees if all of it lies outside. Random: the same with blocks drawn at random, the control "
        "that the paper's figures need; the outcome against it is corrected by Holm for accuracy, and not for other "
        "quantities.",
        f"Not filled by this benchmark: {', '.join(absent)}." if absent else "",
    ]
    return " ".join(filter(None, said))


def paper_grids(paper: dict[str, pd.DataFrame]) -> list[Grid]:
    """A table of the page for each table of the paper and for its claims."""
    return [_grid(name, frame) for name, frame in paper.items() if name != FIGURE]


def _grid(name: str, frame: pd.DataFrame) -> Grid:
    remarks = _remarks(frame)
    columns = ["dataset", "network", "quantity"]
    if name == "claims":
        # a column of its own would push the verdict off the page
        frame = frame.assign(item=frame["item"] + ": " + frame["quantity"])
        columns.remove("quantity")
    places = [column for column in columns if frame[column].nunique() > 1]
    units = list(dict.fromkeys(frame["unit"].dropna()))
    unit = f", {units[0]}" if len(units) == 1 else ""
    heads = ["claim" if name == "claims" else "ticket", *places, f"paper{unit}", f"measured{unit}", "seeds"]
    heads += ["verdict", f"random{unit}", "against random"]
    rows = [_row(row, places, single=bool(unit)) for row in frame.to_dict("records")]
    return Grid(name, CAPTIONS[name].rstrip("."), heads, rows, _margins(frame), remarks)


def _margins(frame: pd.DataFrame) -> str:
    known = frame.dropna(subset=["margin"])[["quantity", "unit", "margin"]].drop_duplicates()
    said = [f"{quantity} {margin:g} {unit}" for quantity, unit, margin in known.itertuples(index=False)]
    return f"Margins: {'; '.join(said)}." if said else ""


def _remarks(frame: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """Every note once, with the items that it is about."""
    items: dict[str, list[str]] = {}
    for item, note in frame[["item", "note"]].dropna().itertuples(index=False):
        for one in filter(None, note.split(SEPARATOR)):
            items.setdefault(one, []).append(item)
    return tuple((_items(list(dict.fromkeys(about))), note) for note, about in items.items())


def _items(names: list[str]) -> str:
    return "; ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")


def _row(row: dict[Hashable, Any], places: list[str], *, single: bool) -> list[Cell]:
    unit = "" if single else SHORT.get(row["unit"], f" {row['unit']}")
    against = ABSENT if pd.isna(row["against_random"]) else row["against_random"]
    held = not pd.isna(row["measured"])
    return [
        Cell(str(row["item"])),
        *(Cell(str(row[name])) for name in places),
        Cell(_figure(row["paper"], row["unit"], unit)),
        Cell(_measured(row, unit) if held else ABSENT),
        Cell(f"{row['seeds']}" if held else ABSENT),
        Cell(row["verdict"], TONES.get(row["verdict"], "muted")),
        Cell(_figure(row["random"], row["unit"], unit)),
        Cell(against, AGAINST.get(against, "muted")),
    ]


def _figure(value: float, unit: str | None, shown: str) -> str:
    if pd.isna(value):
        return ABSENT
    return (signed(value) if _is_difference(unit) else number(value)) + shown


def _measured(row: dict[Hashable, Any], shown: str) -> str:
    unit = row["unit"]
    mean, low, high = (_figure(row[name], unit, shown if name == "measured" else "") for name in INTERVAL)
    return mean if pd.isna(row["low"]) else f"{mean} [{low}, {high}]"


def _is_difference(unit: str | None) -> bool:
    """Whether a row's figures are differences, which show their sign."""
    return unit in ("pp", "CKA")


def figure3_picture(paper: dict[str, pd.DataFrame]) -> Picture:
    """The l1 score of every removable block, by stage; a panel per network and scored weights."""
    panels: list[Panel] = []
    if FIGURE in paper:
        frame = paper[FIGURE].dropna(subset=["measured"])
        for index, (key, rows) in enumerate(
            frame.groupby(["dataset", "network", "criterion", "scored_at"], sort=False)
        ):
            dataset, network, criterion, scored_at = key
            heading = f"{dataset} · {network}, {criterion}{' (trained)' if scored_at == 'trained' else ''}"
            panels.append(panel(f"figure3x{index}", heading, rows["unit"].iloc[0], "score by block", _scores(rows)))
    caption = (
        f"{CAPTIONS[FIGURE]} Look for the stage that holds the lowest scores: l1 removes its blocks first. "
        "Mark: mean over seeds; bar: interval, absent with one seed."
    )
    return Picture(FIGURE, tuple(panels), (), caption)


def _scores(rows: pd.DataFrame) -> Draw:
    blocks = rows["item"].str.split(",").str[0]
    stages = blocks.str.rpartition(".")[0]
    gaps = stages.map({name: gap for gap, name in enumerate(dict.fromkeys(stages))})
    # one step between blocks, one more between stages
    at = pd.Series(range(len(rows)), rows.index) + gaps

    def draw(axes: Axes) -> None:
        bars(axes, at, rows["low"], rows["high"], SCORE)
        dots(axes, at, rows["measured"], SCORE)
        axes.set_ylim(bottom=0)
        axes.set_xticks(at.groupby(stages, sort=False).mean().tolist(), list(dict.fromkeys(stages)))
        axes.set_xlim(-1, float(at.max()) + 1)
        axes.set_xlabel("removable blocks, by stage")

    return draw
