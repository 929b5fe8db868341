"""Accuracy under attack by strength of the attack, and every measure of robustness beside the dense network's."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from layerlottery.config.evaluation import EXTRA_CORRUPTIONS
from layerlottery.evaluation.masking import gradient_check
from layerlottery.report.charts import BY_REMOVED, Picture, dense_line, lines, name_ends, picture, ranks
from layerlottery.report.facets import facets, hidden, siblings
from layerlottery.report.grids import Cell, Grid, below_dense, interval_cells, per_network, pivoted
from layerlottery.report.series import accuracy_by_condition, difference_by_condition, over_seeds
from layerlottery.report.style import legend, looks
from layerlottery.report.tables import GROUP, SETTING, TICKET, Tables, at_tolerance, drawn_criteria, first_starts
from layerlottery.report.texts import TEXTS
from layerlottery.tables.measures import CORRUPTED, PRIMARY, SHIFTED
from layerlottery.words import counted, either, number, signed

MOST_SIZES, MOST_PANELS, MOST_NAMED = 3, 12, 3
# means over all conditions of a kind, and what has no condition
SUMMARIES = ("accuracy, corrupted", "accuracy, extra corruptions", "mCE", "relative mCE", "accuracy, attacked")
HEATED = {"corruption": CORRUPTED, "shift": SHIFTED}
MINIMUM_NORM, AUROC = "median minimum norm", "AUROC"


def attack_picture(tables: Tables) -> Picture:
    """One panel per attack and size of tickets, dense networks thick; a readable selection where there are many."""
    entries = looks(tables.runs)
    rows = first_starts(attacked(tables.robustness))
    attacks = max(1, rows["name"].nunique())
    parts = facets(tables, rows, "attack")
    held, shown = [], []
    for part in parts:
        most = min(MOST_SIZES // siblings(part, parts), MOST_PANELS // attacks)
        for name, own in part.rows.groupby("name", sort=False):
            held.append(part.narrowed(str(name), _called(str(name)), by_level(own)))
            shown += held[-1].sizes(most)

    def draw(axes: Axes, own: pd.DataFrame) -> None:
        own = own.assign(at=ranks(own["level"]))
        dense_line(axes, own, "at")
        lines(axes, own, entries, "at", mark=4)
        name_ends(axes, own, entries, "at")
        levels = sorted(set(own["level"]))
        axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
        axes.set_ylim(0, 103)
        axes.set_xlabel("ε, in 1/255")

    return picture("attacks", shown, draw, legend(entries, rows), more=hidden(held, shown))


def by_level(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds; level 0 are the same images untouched."""
    return over_seeds(rows, [*BY_REMOVED, "level"], "accuracy").sort_values("level", kind="stable")


def _called(attack: str) -> str:
    # attacks of the user's own have the names that the configuration gives them
    return str(TEXTS["attacks"].get(attack, attack.replace("_", " ")))


def attacked(robustness: pd.DataFrame) -> pd.DataFrame:
    """The rows of attacks by epsilon; the dense network's examples on other networks are the attack `transfer`."""
    transferred = robustness["kind"] == "transfer"
    rows = robustness.assign(name=robustness["name"].mask(transferred, "transfer"))
    return rows[transferred | (robustness["kind"] == "attack")]


def robustness_grids(tables: Tables) -> list[Grid]:
    """Every table on robustness, in the order of the page."""
    return [
        *per_network(tables, "primary", _primary),
        *resilience_grids(tables),
        *heat_grids(tables, "corruption"),
        *heat_grids(tables, "shift"),
        *detection_grids(tables),
        *per_network(tables, "calibration", _calibration),
    ]


def _primary(own: Tables) -> pd.DataFrame:
    rows = own.resilience[own.resilience["role"] == PRIMARY]
    levels = ["" if pd.isna(level) else f", {level:g}/255" for level in rows["level"]]
    heads = rows["measure"] + (", " + _spaced(rows["name"])).fillna("") + pd.Series(levels, rows.index, dtype=str)
    return _differences(rows, heads, digits=2)


def resilience_grids(tables: Tables) -> list[Grid]:
    """Per network: means over corruptions and attacks, errors relative to the dense network, least perturbations."""

    def make(own: Tables) -> pd.DataFrame:
        rows = own.resilience
        summaries = rows["measure"].isin(SUMMARIES) & rows["name"].isna()
        rows = rows[(summaries | (rows["measure"] == MINIMUM_NORM)) & (rows["role"] != PRIMARY)]
        return _differences(rows, rows["measure"] + (", " + _spaced(rows["name"])).fillna(""), digits=2)

    return per_network(tables, "resilience", make)


def detection_grids(tables: Tables) -> list[Grid]:
    """Per network: how well outliers are told from test images, by set and score."""

    def make(own: Tables) -> pd.DataFrame:
        rows = own.resilience[own.resilience["measure"] == AUROC]
        return _differences(rows, _spaced(rows["name"]), digits=3)

    return per_network(tables, "detection", make)


def _spaced(names: pd.Series) -> pd.Series:
    # a column without any name is no text
    return names.astype("str").str.replace("_", " ")


def _differences(rows: pd.DataFrame, heads: pd.Series, *, digits: int) -> pd.DataFrame:
    """A row per ticket, a column per head; tickets of the same seeds share their dense networks."""
    rows = rows.assign(head=heads)
    dense = [Cell(number(value, digits), "muted") for value in rows.groupby("head", sort=False)["dense"].first()]
    return below_dense(dense, pivoted(rows, "head", interval_cells(rows, "difference", digits=digits)))


def heat_grids(tables: Tables, kind: str) -> list[Grid]:
    """Ticket by condition: difference to dense in colour, the dense networks' accuracy above."""

    def make(own: Tables) -> pd.DataFrame:
        rows = own.robustness[own.robustness["kind"] == kind]
        matrix = difference_by_condition(rows)
        if matrix.empty:
            return matrix
        origins = rows["origin"].dropna().unique()
        origin = TEXTS["notes"][origins[0]] if len(origins) == 1 else ""
        limit = max(1.0, float(np.nanquantile(matrix.abs().to_numpy(), 0.95)))
        cells = _shaded(_arranged(matrix), _apart(own.resilience, HEATED[kind]), limit)
        reference = _arranged(accuracy_by_condition(rows).reindex(matrix.columns).to_frame().T).iloc[0]
        cells = below_dense([Cell(number(value, 1), "muted") for value in reference], cells, "dense, %")
        cells.attrs = {"limit": limit, "origin": origin}
        return cells

    return per_network(tables, kind, make)


def _apart(resilience: pd.DataFrame, measure: str) -> set[tuple[str, str, str]]:
    """Tickets and conditions with a difference that stands at the false discovery rate."""
    rows = resilience[(resilience["measure"] == measure) & resilience["outcome"].isin(("better", "worse"))]
    names = rows["name"].fillna("mean").str.replace("_", " ")
    return set(zip(rows["family"], rows["gone"], names, strict=True))


def _shaded(values: pd.DataFrame, apart: set[tuple[str, str, str]], limit: float) -> pd.DataFrame:
    """Colour where the difference stands, grey figures elsewhere."""
    shades = {
        name: [
            Cell(signed(value, 1), "heat", value / limit) if (*key, name) in apart else Cell(signed(value, 1), "muted")
            for key, value in column.items()
        ]
        for name, column in values.items()
    }
    return pd.DataFrame(shades, values.index)


def _arranged(values: pd.DataFrame) -> pd.DataFrame:
    """With the mean over the columns; the extra corruptions come last, and are in no mean."""
    extra = [column for column in values if column in EXTRA_CORRUPTIONS]
    main = values.drop(columns=extra)
    if main.shape[1] > 1:
        main = main.assign(mean=main.mean(axis=1))
    return main.join(values[extra]).rename(columns=lambda name: name.replace("_", " "))


def _calibration(own: Tables) -> pd.DataFrame:
    """Expected calibration error, clean and where else it was measured, with likelihood and Brier score."""
    kinds = own.robustness["kind"]
    columns = {name: _means(own.runs, name) for name in TEXTS["calibration"] if name in own.runs}
    columns |= {kind: _means(own.robustness[kinds == kind], "ece") for kind in ("corruption", "shift")}
    means = pd.DataFrame({words: columns[name] for name, words in TEXTS["calibration"].items()}, columns["ece"].index)
    means = means.dropna(axis=1, how="all")
    cells = means.map(lambda value: number(value, 3))
    cells.attrs = {"scaled": TEXTS["notes"]["scaled"] if TEXTS["calibration"]["ece_scaled"] in means else ""}
    return cells


def _means(rows: pd.DataFrame, value: str) -> pd.Series:
    return over_seeds(rows, TICKET, value).set_index(TICKET)["mean"]


def robustness_note(tables: Tables, xi: str) -> str:
    """The range of the mean differences of tickets that are not random, and whether gradients look masked."""
    rows = at_tolerance(tables.summary, xi)
    rows = rows[~rows["criterion"].isin(drawn_criteria(tables.runs))]
    names = {"attack_delta": "attacks", "corruption_delta": "corruptions", "shift_delta": "shifted sets"}
    means = [f"{words} {_range(rows[column])}" for column, words in names.items() if rows[column].notna().any()]
    said = f"Tickets against dense, means over conditions and seeds: {'; '.join(means)}." if means else ""
    return " ".join(filter(None, [said, masking_note(tables)]))


def _range(values: pd.Series) -> str:
    ends = dict.fromkeys((signed(values.min()), signed(values.max())))
    return f"{' to '.join(ends)} percentage points"


def masking_note(tables: Tables) -> str:
    """Whether the attacks of every network behave as those on unmasked gradients do."""
    rows = attacked(tables.robustness)
    if rows.empty:
        return ""
    identity = [*GROUP, "seed", *SETTING, "draw", "removed"]
    networks = tables.robustness.fillna({"criterion": "", "scored_at": ""}).groupby(identity, sort=False)
    problems = [gradient_check(network.to_dict("records")) for _, network in networks]
    failed = [problem for network in problems for problem in network]
    if not failed:
        return f"Gradients: no sign of masking in {counted(len(problems), 'network', 'networks')}."
    some = counted(sum(map(bool, problems)), "network", "networks")
    return f"Gradients may be masked in {some} of {len(problems)}: {either(failed[:MOST_NAMED])}."
