"""The paper's tables beside what was measured, and its figure 3."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from layerlottery import paths
from layerlottery.paper.printed import PRINTED, SEPARATOR
from layerlottery.paper.render import CAPTIONS, REMARKS, SIGNED
from layerlottery.paper.tabulate import read_paper_tables
from layerlottery.report.charts import Picture, lines, picture
from layerlottery.report.facets import Facet
from layerlottery.report.grids import Cell, Grid, grid, tone
from layerlottery.report.style import BLUE, Look
from layerlottery.report.texts import TEXTS
from layerlottery.words import ABSENT, TIMES, number, signed

MOST_NAMED = 3
SCORE = Look(BLUE, 0)
FIGURE = "figure3"
SHORT = {"factor": TIMES, "mean absolute kernel sum": ""}


def read_paper(folder: Path) -> dict[str, pd.DataFrame]:
    """The printed figures of the papers' tables that hold one beside a measurement, in the papers' order.

    Figure 3 is a plot, and prints none; of a table for which no figure is known, all rows. There may be no such tables;
    raises when some are missing or broken.
    """
    if not any(Path(paths.table(str(folder), name)).exists() for name in paths.PAPER):
        return {}
    frames = read_paper_tables(folder)
    bare = {FIGURE} | {name for name in paths.CONNECTED if not PRINTED[name]}
    printed = {name: one if name in bare else one[one["paper"].notna()] for name, one in frames.items()}
    return {name: printed[name] for name in paths.PAPER if printed[name]["measured"].notna().any()}


def paper_note(paper: dict[str, pd.DataFrame]) -> str:
    """The scale of the comparison, what its columns mean, and which tables of the paper nothing here fills."""
    scales = list(dict.fromkeys(scale for frame in paper.values() for scale in frame["scale"].dropna()))
    expected = [name for name in paths.PAPER if name not in (*paper, *paths.CONNECTED)]
    absent = [name.replace("table", "table ").replace("figure", "figure ") for name in expected]
    said = [
        f"Scale: {'; '.join(scales)}." if scales else "",
        REMARKS["small"] if set(scales) - {"the paper's"} else "",
        TEXTS["notes"]["paper"],
        f"Not filled by this benchmark: {', '.join(absent)}." if absent else "",
    ]
    return " ".join(filter(None, said))


def paper_grids(paper: dict[str, pd.DataFrame]) -> list[Grid]:
    """A table of the page for each table of the paper and for its claims."""
    return [
        grid(name, CAPTIONS[name].rstrip("."), _frame(name, frame), _margins(frame), _remarks(frame))
        for name, frame in paper.items()
        if name != FIGURE
    ]


def _frame(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    columns, items = ["dataset", "network", "quantity"], frame["item"]
    if name == "claims":
        # a column of its own would push the verdict off the page
        items = items + ": " + frame[columns.pop()]
    units = frame["unit"].dropna().unique()
    # one unit stands in the heads, several beside their figures
    unit = f", {units[0]}" if len(units) == 1 else ""
    shown = ["" if unit else SHORT.get(one, f" {one}") for one in frame["unit"]]
    figures = {column: _figures(frame, column, shown) for column in ("paper", "measured", "random")}
    places = {column: frame[column].tolist() for column in columns if frame[column].nunique() > 1}
    cells = places | {
        f"paper{unit}": figures["paper"],
        f"measured{unit}": [mean + reach for mean, reach in zip(figures["measured"], _reaches(frame), strict=True)],
        "seeds": frame["seeds"].where(frame["measured"].notna()).astype("Int64").tolist(),
        "verdict": [Cell(one, tone(one)) for one in frame["verdict"]],
        f"random{unit}": figures["random"],
        "against random": [Cell(one, tone(one)) for one in frame["against_random"].fillna(ABSENT)],
    }
    return pd.DataFrame(cells, pd.Index(items, name="claim" if name == "claims" else "ticket"), dtype=object)


def _figures(frame: pd.DataFrame, column: str, shown: list[str]) -> list[str]:
    """The figures of a column with their units; a dash where there is none."""
    held = zip(frame[column], frame["unit"], shown, strict=True)
    return [ABSENT if pd.isna(value) else _write(value, unit) + words for value, unit, words in held]


def _write(value: float, unit: str | None) -> str:
    return signed(value) if unit in SIGNED else number(value)


def _reaches(frame: pd.DataFrame) -> list[str]:
    held = zip(frame["low"], frame["high"], frame["unit"], strict=True)
    return ["" if pd.isna(low) else f" [{_write(low, unit)}, {_write(high, unit)}]" for low, high, unit in held]


def _margins(frame: pd.DataFrame) -> str:
    known = frame.dropna(subset=["margin"])[["quantity", "unit", "margin"]].drop_duplicates()
    said = [f"{quantity} {margin:g} {unit}" for quantity, unit, margin in known.itertuples(index=False)]
    return f"Margins: {'; '.join(said)}." if said else ""


def _remarks(frame: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """Every note once, with the items that it is about."""
    notes = frame.assign(note=frame["note"].str.split(SEPARATOR)).explode("note").dropna(subset=["note"])
    notes = notes[notes["note"] != ""]
    return tuple(
        (_items(items.unique().tolist()), str(note)) for note, items in notes.groupby("note", sort=False)["item"]
    )


def _items(names: list[str]) -> str:
    return "; ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")


def figure3_picture(paper: dict[str, pd.DataFrame]) -> Picture:
    """The l1 score of every removable block, by stage; a panel per network and scored weights."""
    facets: list[Facet] = []
    if FIGURE in paper:
        frame = paper[FIGURE].dropna(subset=["measured"])
        for key, rows in frame.groupby(["dataset", "network", "criterion", "scored_at"], sort=False):
            dataset, network, criterion, scored_at = key
            heading = f"{dataset} · {network}, {criterion}{' (trained)' if scored_at == 'trained' else ''}"
            facets.append(Facet(f"figure3x{len(facets)}", heading, (), rows.assign(mean=rows["measured"])))
    return picture(FIGURE, facets, _scores, paper=CAPTIONS[FIGURE])


def _scores(axes: Axes, rows: pd.DataFrame) -> None:
    stages = rows["item"].str.split(",").str[0].str.rpartition(".")[0]
    # one step between blocks, one more between stages
    at = pd.Series(range(len(rows)), rows.index) + pd.factorize(stages)[0]
    lines(axes, rows.assign(at=at), dict.fromkeys(rows["criterion"], SCORE), "at", line=0, bar=1.6)
    axes.set_ylim(bottom=0)
    axes.set_xticks(at.groupby(stages, sort=False).mean().tolist(), list(dict.fromkeys(stages)))
    axes.set_xlim(-1, float(at.max()) + 1)
    axes.set_xlabel("removable blocks, by stage")
