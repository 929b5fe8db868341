"""The page's tables: what stands in every cell."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from layerlottery.config.evaluation import EXTRA_CORRUPTIONS
from layerlottery.report.controls import CONTROLS
from layerlottery.report.series import accuracy_by_condition, difference_by_condition, over_seeds
from layerlottery.report.tables import DENSE, GROUP, Tables, at_tolerance, drawn_criteria, group_name, title, within
from layerlottery.words import ABSENT, at, factor, interval, number, percent, probability, signed

TICKET = ["family", "removed"]


@dataclass(frozen=True)
class Cell:
    """Text, a CSS class and, in heat maps, a background between -1 and 1."""

    text: str
    tone: str = ""
    heat: float = math.nan

    @property
    def style(self) -> str:
        """Blue above zero, orange below: told apart by every kind of colour vision, and readable in the dark."""
        if math.isnan(self.heat):
            return ""
        colour = "0 114 178" if self.heat > 0 else "230 120 0"
        return f"background: rgb({colour} / {min(1.0, abs(self.heat)) * 0.6:.2f})"


@dataclass(frozen=True)
class Grid:
    """One table; the first column heads the rows."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[Cell]] = field(default_factory=list)
    note: str = ""
    remarks: tuple[tuple[str, str], ...] = ()


def ticket_name(family: Hashable, removed: Hashable) -> str:
    """How a row is headed."""
    return DENSE if family == DENSE else f"{family}, {at(removed)}"


def summary_grids(tables: Tables) -> list[Grid]:
    """One table per dataset and network: a row per ticket, the verdict at every tolerance."""
    tolerances = list(dict.fromkeys(tables.summary["xi"]))
    heads = ["ticket", "seeds", "accuracy, %", "Δ [low, high], pp", *(f"ξ = {_xi(xi)}" for xi in tolerances)]
    found = []
    for index, group in enumerate(tables.groups()):
        summary = within(tables.summary, group)
        parts = summary.groupby(["family", *GROUP, "removed"], sort=False)
        rows = [_summary_row(one, tolerances) for _, one in parts]
        found.append(Grid(f"summary{index}", group_name(group), heads, rows))
    return [grid for grid in found if grid.rows]


def _xi(xi: str) -> str:
    return "1 sd" if xi == "sd" else f"{xi} pp"


def _summary_row(rows: pd.DataFrame, tolerances: list[str]) -> list[Cell]:
    first = rows.iloc[0]
    judged = {row["xi"]: row for row in rows.to_dict("records")}
    sd = "" if pd.isna(first["accuracy_sd"]) else f" ± {number(first['accuracy_sd'])}"
    return [
        Cell(ticket_name(first["family"], first["removed"])),
        Cell(f"{first['seeds']}"),
        Cell(number(first["accuracy"]) + sd),
        Cell(interval(first["delta_accuracy"], first["delta_low"], first["delta_high"])),
        *(_verdict_cell(judged[xi]) if xi in judged else Cell(ABSENT) for xi in tolerances),
    ]


def _verdict_cell(row: dict[Hashable, Any]) -> Cell:
    if pd.isna(row["won"]):
        return Cell("not computable", "muted")
    tone = {"winning": "win", "losing": "lose"}.get(row["verdict"], "muted")
    return Cell(f"{row['verdict']}{holm_mark(row)} {int(row['won'])}/{row['networks']}", tone)


def holm_mark(row: dict[Hashable, Any]) -> str:
    """A star where a clear verdict stands after Holm's correction."""
    return "*" if row["verdict"] in ("winning", "losing") and row["verdict_holm"] == row["verdict"] else ""


def outcome_cell(row: dict[Hashable, Any]) -> Cell:
    """A row of the comparisons: the paired difference, in the tone of its outcome."""
    tone = {"better": "win", "worse": "lose"}.get(row["outcome"], "muted")
    return Cell(interval(row["difference"], row["low"], row["high"]), tone)


def control_grids(tables: Tables) -> list[Grid]:
    """Per network, every ticket against every control that was trained."""
    held = set(tables.comparisons["control"])
    shown = [control for control in CONTROLS if control.name in held]
    heads = ["ticket", *(control.term.lower() for control in shown)]
    note = (
        "Mean paired difference of accuracies, ticket minus control with as many blocks removed, percentage points [t "
        "interval]. Coloured where it is better or worse after Holm's correction."
    )
    found = []
    for index, group in enumerate(tables.groups()):
        parts = within(tables.comparisons, group).groupby(TICKET, sort=False)
        rows = [_control_row(one, [control.name for control in shown]) for _, one in parts]
        found.append(Grid(f"controls{index}", title(tables, group, "Against the controls"), heads, rows, note))
    return [grid for grid in found if grid.rows]


def _control_row(rows: pd.DataFrame, controls: list[str]) -> list[Cell]:
    cells = {row["control"]: outcome_cell(row) for row in rows.to_dict("records")}
    heading = Cell(ticket_name(rows["family"].iloc[0], rows["removed"].iloc[0]))
    return [heading, *(cells.get(name, Cell(ABSENT)) for name in controls)]


def stability_grids(tables: Tables) -> list[Grid]:
    """Per network, how far the rankings of a criterion agree over seeds and draws."""
    note = (
        "Kendall's W: 1 where every seed and draw ranks the blocks alike, 0 where they have nothing in common. "
        "p: Friedman's test that they have nothing in common."
    )
    known = tables.stability.dropna(subset=["kendall_w"])
    heads = ["criterion", "Kendall's W", "p", "rankings", "blocks"]
    found = []
    for index, group in enumerate(tables.groups()):
        rows = [_stability_row(row) for row in within(known, group).to_dict("records")]
        found.append(Grid(f"stability{index}", title(tables, group, "Agreement of rankings"), heads, rows, note))
    return [grid for grid in found if grid.rows]


def _stability_row(row: dict[Hashable, Any]) -> list[Cell]:
    return [
        Cell(row["family"]),
        Cell(number(row["kendall_w"]), "heat", row["kendall_w"] * 0.8),
        Cell(probability(row["p_value"])),
        Cell(f"{row['rankings']}"),
        Cell(f"{row['blocks']}"),
    ]


def cost_grid(costs: pd.DataFrame) -> Grid:
    """Savings and speed-ups per network and number of blocks removed."""
    saved = ["macs_reduction", "params_reduction", "memory_reduction", "energy_reduction"]
    faster = ["predicted_speedup", "train_speedup", "latency_speedup"]
    heads = ["network", "p", "MACs", "parameters", "memory", "energy", "predicted", "training", "latency"]
    rows = [
        [
            Cell(one["group"] if one["structure"] == "layers" else f"{one['group']}, {one['structure']}"),
            Cell(f"{one['removed']}"),
            *(Cell(percent(one[name])) for name in saved),
            *(Cell(factor(one[name])) for name in faster),
        ]
        for one in costs.to_dict("records")
    ]
    note = "Savings in percent of the dense network; predicted, training and latency are speed-ups (1 = dense)."
    return Grid("costs", "Cost by blocks removed", heads, rows, note)


def heat_grids(tables: Tables, kind: str, words: str) -> list[Grid]:
    """Ticket by condition: difference to dense in colour, the dense networks' accuracy above."""
    found = []
    for index, group in enumerate(tables.groups()):
        own = tables.of(group).robustness
        matrix = difference_by_condition(own, kind)
        if not matrix.empty:
            reference = accuracy_by_condition(own, kind)
            origins = set(own.loc[own["kind"] == kind, "origin"].dropna())
            heading = title(tables, group, words)
            found.append(_heat(f"{kind}{index}", heading, matrix, reference, ORIGINS.get(frozenset(origins), "")))
    return found


ORIGINS = {
    frozenset({"official"}): " The images are the published files'.",
    frozenset({"generated"}): " The images were generated with the constants of CIFAR-10-C.",
}


def _heat(name: str, heading: str, matrix: pd.DataFrame, reference: pd.Series, origin: str) -> Grid:
    # the extra corruptions come last, and are in no mean
    extra = [column for column in matrix.columns if column in EXTRA_CORRUPTIONS]
    main = [column for column in matrix.columns if column not in extra]
    averaged = len(main) > 1
    values = matrix[main].assign(mean=matrix[main].mean(axis=1)) if averaged else matrix[main]
    values = values.join(matrix[extra])
    limit = max(1.0, float(np.nanquantile(matrix.abs().to_numpy(), 0.95)))
    known = {column: float(reference.get(column, math.nan)) for column in matrix.columns}
    known |= {"mean": sum(known[column] for column in main) / len(main)} if averaged else {}
    rows = [[Cell("dense, %"), *(Cell(number(known[column], 1), "muted") for column in values.columns)]]
    for key, row in zip(values.index.tolist(), values.to_numpy().tolist(), strict=True):
        rows.append([Cell(ticket_name(*key)), *(Cell(signed(value, 1), "heat", value / limit) for value in row)])
    heads = ["ticket", *(str(column).replace("_", " ") for column in values.columns)]
    note = f"Full colour at ±{limit:.1f} percentage points: blue is better than dense, orange worse.{origin}"
    return Grid(name, heading, heads, rows, note)


def calibration_grids(tables: Tables) -> list[Grid]:
    """Expected calibration error, clean and where else it was measured, with likelihood and Brier score."""
    found = []
    for index, group in enumerate(tables.groups()):
        own = tables.of(group)
        names = [name for name in TRUST if own.runs[name].notna().any()]
        if not names:
            continue
        joined = pd.concat([_means(own.runs, name).rename(name) for name in names], axis=1)
        for kind in ("corruption", "shift"):
            other = own.robustness[own.robustness["kind"] == kind]
            joined = joined if other.empty else joined.join(_means(other, "ece").rename(kind))
        if joined.notna().any(axis=None):
            found.append(_calibration(f"calibration{index}", title(tables, group, "Calibration"), joined))
    return found


def _means(rows: pd.DataFrame, value: str) -> pd.Series:
    return over_seeds(rows, TICKET, value).set_index(TICKET)["mean"]


TRUST = ("ece", "nll", "brier", "ece_scaled", "nll_scaled")
TRUST_HEADS = {
    "ece": "ECE",
    "corruption": "ECE, corrupted",
    "shift": "ECE, shifted",
    "nll": "NLL",
    "brier": "Brier",
    "ece_scaled": "ECE, scaled",
    "nll_scaled": "NLL, scaled",
}


def _calibration(name: str, heading: str, rows: pd.DataFrame) -> Grid:
    known = {column: head for column, head in TRUST_HEADS.items() if column in rows}
    cells = [
        [Cell(ticket_name(*key)), *(Cell(number(value, 3)) for value in row)]
        for key, row in zip(rows.index.tolist(), rows[list(known)].to_numpy().tolist(), strict=True)
    ]
    note = "Lower is better in every column. ECE: expected calibration error, 0 to 1; means over seeds."
    if "ece_scaled" in known:
        note += " Scaled: after dividing the logits by a temperature that was fitted to held-out training images."
    return Grid(name, heading, ["ticket", *known.values()], cells, note)


def robustness_means(tables: Tables, xi: str) -> list[tuple[str, str]]:
    """Per network, the range of the mean differences of tickets that are not random."""
    rows = at_tolerance(tables.summary, xi)
    rows = rows[~rows["criterion"].isin(drawn_criteria(tables.runs))]
    names = {"attack_delta": "attacks", "corruption_delta": "corruptions", "shift_delta": "shifted sets"}
    return [(words, _range(rows[column].dropna())) for column, words in names.items() if rows[column].notna().any()]


def _range(values: Iterable[Any]) -> str:
    known = [float(value) for value in values]
    low, high = signed(min(known)), signed(max(known))
    return f"{low} percentage points" if low == high else f"{low} to {high} percentage points"
