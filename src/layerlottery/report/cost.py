"""A ticket's savings: two figures and a table."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.config.naming import gone_name, variant_name
from layerlottery.config.studies import AT_COST, TUNED_ON
from layerlottery.report.charts import Picture, lines, picture, removed_axis
from layerlottery.report.facets import Facet
from layerlottery.report.grids import Cell, Grid, grid, per_network, pivoted
from layerlottery.report.series import cost_by_removed, over_seeds
from layerlottery.report.style import INK, MUTED, Look, legend
from layerlottery.report.tables import (
    AFTER_ALL,
    STRUCTURES,
    TICKET,
    Tables,
    at_tolerance,
    dense,
    group_name,
    is_tuned,
    start_rank,
    tickets,
)
from layerlottery.report.texts import TEXTS
from layerlottery.words import factor, grams, percent, seconds, watt_hours

# dense networks as controls
WHOLE = (AT_COST[1], TUNED_ON)
SPENT = ("energy_kwh", "co2_kg")
SAVED_LOOKS = Look(INK, 0), Look(INK, 3, "4 2"), Look(MUTED, 1), Look(MUTED, 2, "1 2")
SAVED = dict(zip(TEXTS["savings"].values(), SAVED_LOOKS, strict=True))
FASTER = dict(zip(TEXTS["speedups"].values(), (Look(MUTED, 0, "4 2"), Look(INK, 1), Look(INK, 2, "1 2")), strict=True))


def cost_of(tables: Tables, xi: str) -> pd.DataFrame:
    """cost_by_removed of every dataset and network, with its name and structure in `place`.

    Tickets that start from a later epoch are left out: their shorter training would pass for a saving; so are the dense
    networks that are controls, trained more briefly or fine-tuned: they are no smaller. Fine-tuned tickets and those
    of rounds have a place of their own, and cost all the trainings that they rest on.
    """
    found = []
    for group, own in tables.by_group.items():
        rows = at_tolerance(own.summary, xi)
        rows = rows[rows["rewind"].map(start_rank).isin((0, AFTER_ALL, math.inf)) & ~rows["structure"].isin(WHOLE)]
        rows = _in_all(rows, own.runs)
        starts = rows["rewind"].where(rows["rewind"].map(is_tuned), "0")
        named = zip(rows["structure"], starts, rows["step"], strict=True)
        rows = rows.assign(protocol=[variant_name(structure, None, start, step) for structure, start, step in named])
        costs = cost_by_removed(rows).sort_values(["structure", "protocol"], key=_place, kind="stable")
        places = [", ".join(filter(None, [group_name(group), protocol])) for protocol in costs["protocol"]]
        found.append(costs.assign(place=places))
    return pd.concat(found, ignore_index=True)


def _in_all(rows: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Speed-up and saved energy of tickets that continue other trainings, with these trainings."""
    goes_on = rows["rewind"].map(is_tuned).astype(bool) | (rows["step"] > 0)
    spent = rows["total_kwh"] / dense(runs)["energy_kwh"].mean()
    return rows.assign(
        train_speedup=rows["train_speedup"].mask(goes_on, rows["total_speedup"]),
        energy_reduction=rows["energy_reduction"].mask(goes_on, 100 * (1 - spent)),
    )


def _place(column: pd.Series) -> pd.Series:
    return column.map(STRUCTURES.index) if column.name == "structure" else column


def savings_picture(costs: pd.DataFrame) -> Picture:
    """Percent saved by blocks removed."""
    return _picture("savings", costs, SAVED)


def speed_picture(costs: pd.DataFrame) -> Picture:
    """Measured speed-ups against what MACs predict."""
    return _picture("speed", costs, FASTER)


def _picture(name: str, costs: pd.DataFrame, looks: dict[str, Look]) -> Picture:
    known = costs.dropna(subset=["mean"])
    names = legend(looks, known, None, by="quantity")
    places = costs.groupby("place", sort=False)
    facets = [Facet(f"{name}{index}", str(place), (), rows) for index, (place, rows) in enumerate(places)]

    def draw(axes: Axes, rows: pd.DataFrame) -> None:
        lines(axes, rows, dict(names), "removed", by="quantity", line=1.3, bar=0.8)
        removed_axis(axes, rows)

    missing = [quantity for quantity in looks if quantity not in dict(names)]
    return picture(name, facets, draw, names, more=f" Not measured: {', '.join(missing)}." if missing else "")


def cost_grids(costs: pd.DataFrame) -> list[Grid]:
    """Savings and speed-ups per network and number of blocks removed."""
    means = zip(costs["quantity"], costs["mean"], strict=True)
    cells = [Cell((percent if quantity in SAVED else factor)(mean)) for quantity, mean in means]
    sizes = [
        gone_name(structure, removed) for structure, removed in zip(costs["structure"], costs["removed"], strict=True)
    ]
    frame = pivoted(costs.assign(size=sizes), "quantity", cells, ["place", "size"])
    frame = frame.rename_axis(index=["network", "removed"]).reset_index("removed")
    words = TEXTS["tables"]["costs"]
    return [grid("costs", words["title"], frame, words["note"])] if len(frame) else []


def total_grids(tables: Tables, xi: str) -> list[Grid]:
    """Per network with tickets that rest on other trainings, the cost of a ticket's own training and that of all."""
    return per_network(tables, "totals", lambda own: _totals(own, at_tolerance(own.summary, xi)))


def _totals(own: Tables, rows: pd.DataFrame) -> pd.DataFrame:
    runs = tickets(own.runs)
    if not (runs["total_seconds"] > runs["train_seconds"]).any():
        return pd.DataFrame()
    means = {name: over_seeds(runs, TICKET, name).set_index(TICKET)["mean"] for name in ("train_seconds", *SPENT)}
    rows = rows.set_index(TICKET)
    columns = {
        "time, own": means["train_seconds"].map(seconds),
        "time, all": rows["total_seconds"].map(seconds),
        "speed-up, own": rows["train_speedup"].map(factor),
        "speed-up, all": rows["total_speedup"].map(factor),
        "energy, own": means["energy_kwh"].map(watt_hours),
        "energy, all": rows["total_kwh"].map(watt_hours),
        "CO2, own": means["co2_kg"].map(grams),
        "CO2, all": rows["total_co2_kg"].map(grams),
    }
    return pd.DataFrame({name: column.reindex(rows.index) for name, column in columns.items()})
