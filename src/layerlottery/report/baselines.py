"""Criteria beside those that `statistics.baselines` names: a forest plot for each of these, a table, and sentences."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from layerlottery.report.controls import against_words, chosen_tickets, listed
from layerlottery.report.forest import Forest, baseline_forest
from layerlottery.report.grids import Grid, interval_cells, per_network, pivoted
from layerlottery.report.series import confidence_of
from layerlottery.report.tables import TICKET, Tables, tickets
from layerlottery.report.texts import TEXTS
from layerlottery.tables.comparisons import BASELINE

WORDS = TEXTS["baselines"]


@dataclass(frozen=True)
class Plot:
    """A forest plot of a section, with its title and caption; `name` ends the figure's id."""

    name: str
    forest: Forest
    words: dict[str, str]


def baselines(comparisons: pd.DataFrame) -> list[str]:
    """The names of the criteria that others were compared with."""
    named = sorted(set(comparisons["control"]))
    return [one.removeprefix(BASELINE) for one in named if one.startswith(BASELINE)]


def baseline_plots(tables: Tables) -> list[Plot]:
    """A forest plot for each baseline."""
    confidence = f"{100 * confidence_of(tables.summary):g}"
    found = []
    for place, name in enumerate(baselines(tables.comparisons)):
        plot = baseline_forest(tables, f"{BASELINE}{name}")
        if plot is not None:
            words = {key: WORDS[key].format(name=name, confidence=confidence) for key in ("title", "caption")}
            found.append(Plot(f"baseline{place}", plot, words))
    return found


def baseline_grids(tables: Tables) -> list[Grid]:
    """Per network, every ticket against every baseline."""
    return per_network(tables, "baselines", lambda own: _differences(own.comparisons))


def _differences(comparisons: pd.DataFrame) -> pd.DataFrame:
    rows = comparisons[comparisons["control"].str.startswith(BASELINE)]
    heads = [f"minus {control.removeprefix(BASELINE)}" for control in rows["control"]]
    return pivoted(rows.assign(heads=heads), "heads", interval_cells(rows, "difference"))


def baseline_statements(runs: pd.DataFrame, comparisons: pd.DataFrame, names: list[str]) -> list[tuple[str, str]]:
    """One statement per baseline, which also names the tickets beside which it was not run.

    Both tables hold one dataset and network; `names` are the baselines of the whole benchmark.
    """
    return [(f"Against {name}", _against(name, runs, comparisons)) for name in names]


def _against(name: str, runs: pd.DataFrame, comparisons: pd.DataFrame) -> str:
    rows = comparisons[comparisons["control"] == f"{BASELINE}{name}"]
    told = against_words(name, rows) if len(rows) else ""
    asked = chosen_tickets(tickets(runs)).drop_duplicates(TICKET)
    asked = asked[asked["criterion"] != name]
    compared = set(rows[TICKET].itertuples(index=False, name=None))
    lacking = [one not in compared for one in asked[TICKET].itertuples(index=False, name=None)]
    alone = WORDS["alone"].format(name=name, tickets=listed(asked[lacking])) if any(lacking) else ""
    return " ".join(filter(None, [told, alone])) or WORDS["nothing"]
