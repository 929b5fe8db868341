"""Two runs side by side: each ticket's difference, verdict and cost in both, and what tells the runs apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from layerlottery.config.results import ReportSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.report.board import Board, Cell, Row, change, figure, ratio, size, texts, verdict
from layerlottery.report.entries import ENTRY
from layerlottery.report.paired_forest import Axis
from layerlottery.report.submission import NOTHING_LEARNED, Group, Submission, changes, read_submissions
from layerlottery.report.tables import dense, group_name, sizes, tolerance_name, within
from layerlottery.report.texts import TEMPLATES
from layerlottery.report.verdict import NOT_LEARNED, tolerance_words
from layerlottery.store.artifacts import write_document
from layerlottery.store.hashing import digest
from layerlottery.tables.statistics import VERDICTS
from layerlottery.words import ABSENT, counted, number, ranges, seconds

SIDES = ("A", "B")
# of the columns that both runs have
ENDS = ("", "_other")
# of the manifest, what says how a run was made, beside its configuration
FACTS = {
    "package_version": "version of layerlottery",
    "git_commit": "commit",
    "torch_version": "torch",
    "cuda_version": "CUDA",
    "driver_version": "NVIDIA driver",
    "device": "processor",
    "seeds": "seeds",
    "networks": "networks",
}
COSTS = {
    "MACs saved, %": ("macs_reduction", figure),
    # with all trainings that a ticket rests on
    "speed-up": ("total_speedup", ratio),
    "energy saved, %": ("energy_reduction", figure),
}
Pair = tuple[Submission, Submission]


@dataclass(frozen=True)
class Section:
    """One data set and architecture: `alone` names the tickets that only one of the runs has, by its letter."""

    name: str
    title: str
    headline: str
    boards: tuple[Board, ...]
    alone: tuple[tuple[str, str], ...]


def against(results: Path, other: Path, output: Path, settings: ReportSettings) -> None:
    """Write the page of two results folders.

    Raises LayerLotteryError when one is not finished or broken, or lacks the tolerance settings.xi.
    """
    pair = read_submissions([results, other])
    one, two = pair
    xi = tolerance_name(settings)
    groups = dict.fromkeys([*one.tables.by_group, *two.tables.by_group])
    sections = [_section((one, two), group, xi, f"group{place}") for place, group in enumerate(groups)]
    page = TEMPLATES.get_template("against.html.j2").render(
        names=dict(zip(SIDES, (one.name, two.name), strict=True)),
        tolerance=tolerance_words(xi),
        sections=sections,
        apart=_apart((one, two)),
    )
    made_by = digest([xi, one.manifest, two.manifest])
    write_document(output, page, comment=("<!-- ", " -->"), config_hash=made_by)


def results_of(tables: Path) -> Path:
    """The results folder of a folder of tables; raises LayerLotteryError for a folder of another name."""
    if tables.absolute().name != "tables":
        raise LayerLotteryError(f"--tables: found {tables}; allowed with --against: the folder tables of results")
    return tables.absolute().parent


def _section(pair: Pair, group: Group, xi: str, name: str) -> Section:
    rows = [within(one.at(xi), group) for one in pair]
    both = rows[0].merge(rows[1], on=ENTRY, suffixes=ENDS)
    boards = [_dense(pair, group, name)]
    if not both.empty:
        boards += [_effects(both, name), _costs(both, name)]
    kept = pd.MultiIndex.from_frame(both[ENTRY])
    alone = [own[~pd.MultiIndex.from_frame(own[ENTRY]).isin(kept)] for own in rows]
    named = [(side, _named(own)) for side, own in zip(SIDES, alone, strict=True) if len(own)]
    return Section(name, group_name(group), _headline(both), tuple(boards), tuple(named))


def _headline(both: pd.DataFrame) -> str:
    if both.empty:
        return "No ticket is in both runs."
    points = [both[f"xi_points{end}"].dropna() for end in ENDS]
    sizes = [number(one.iloc[0]) for one in points if len(one)]
    said = f"{counted(len(both), 'ticket is', 'tickets are')} in both runs; {_changed(both)}.{_idle(both)}"
    # one standard deviation of each run's own dense networks
    return f"{said} ξ is {sizes[0]} points in A and {sizes[1]} in B." if len(set(sizes)) > 1 else said


def _changed(both: pd.DataFrame) -> str:
    """In how many tickets the verdicts differ, of those that have one in both runs."""
    held = both[both[["said", "said_other"]].isin(VERDICTS).all(axis=1)]
    if held.empty:
        return "none has a verdict in both"
    changed = int((held["said"] != held["said_other"]).sum())
    among = f"of {len(held)} with a verdict in both, it" if len(held) < len(both) else "the verdict"
    return f"{among} differs in {changed}"


def _idle(both: pd.DataFrame) -> str:
    """The runs of which no ticket is judged, since their dense networks are at chance."""
    idle = [side for side, end in zip(SIDES, ENDS, strict=True) if both[f"said{end}"].eq(NOTHING_LEARNED).any()]
    if not idle:
        return ""
    where = " and ".join(idle)
    return f" {NOT_LEARNED} in {where}: dense is not told from chance there, so no ticket is judged against it."


def _named(rows: pd.DataFrame) -> str:
    return "; ".join(f"{family} with {sizes(own)}" for family, own in rows.groupby("family", sort=False))


def _effects(both: pd.DataFrame, name: str) -> Board:
    """Differences to dense and verdicts of both runs."""
    ends = [both[f"{column}{end}"] for column in ("mean", "low", "high") for end in ENDS]
    axis = Axis.over(pd.concat(ends).tolist(), [*both["xi_points"], *both["xi_points_other"]])
    drawn = f"Δ on one axis, {axis.words}"
    columns = ("ticket", "removed", drawn, "Δ, A", "Δ, B", "verdict, A", "verdict, B", "verdicts")
    rows = []
    for values in both.to_dict("records"):
        one, other = ((values[f"mean{end}"], values[f"low{end}"], values[f"high{end}"]) for end in ENDS)
        words = [values["said"], values["said_other"]]
        drawing = Cell("", values["mean"], drawing=axis.drawing(one, other))
        cells = (*_head(values), drawing, change(*one), change(*other), *map(verdict, words), _agreement(*words))
        rows.append(Row(cells, bool(values["is_control"])))
    note = (
        "Verdicts are corrected within each run. That two of them differ is no proof that the runs do: look at how "
        "far the intervals overlap."
    )
    return Board(f"effects-{name}", "Difference to the dense network", columns, tuple(rows), sortable=True, note=note)


def _agreement(one: Any, other: Any) -> Cell:
    """Whether two verdicts are the same; a dash unless both are verdicts."""
    if {one, other} <= {*VERDICTS}:
        return Cell("agree", tone="muted") if one == other else Cell("differ", tone="changed")
    return Cell(ABSENT, tone="muted")


def _costs(both: pd.DataFrame, name: str) -> Board:
    """Accuracy and savings of both runs."""
    heads = ["accuracy, %", *COSTS]
    columns = ("ticket", "removed", *(f"{head}, {side}" for head in heads for side in SIDES))
    rows = []
    for values in both.to_dict("records"):
        cells = [figure(values[f"accuracy{end}"], 2) for end in ENDS]
        cells += [shown(values[f"{column}{end}"]) for column, shown in COSTS.values() for end in ENDS]
        rows.append(Row((*_head(values), *cells), bool(values["is_control"])))
    note = "Speed-up and energy are against the dense networks of the same run, on its own machine."
    return Board(f"costs-{name}", "Accuracy and cost", columns, tuple(rows), sortable=True, note=note)


def _head(values: Mapping[Any, Any]) -> tuple[Cell, Cell]:
    return Cell(str(values["family"])), size(values["structure"], values["removed"])


def _dense(pair: Pair, group: Group, name: str) -> Board:
    """The dense networks of both runs."""
    held = [dense(within(one.tables.runs, group)) for one in pair]
    rows = [
        ("networks", *(str(len(own)) for own in held)),
        ("seeds", *(ranges(own["seed"].astype(int)) or "none" for own in held)),
        ("accuracy, %", *(number(_mean(own, "accuracy")) for own in held)),
        ("training", *(seconds(_mean(own, "train_seconds")) for own in held)),
        ("energy of a training, Wh", *(number(1000 * _mean(own, "energy_kwh"), 3) for own in held)),
        ("latency, ms", *(number(_mean(own, "latency_ms")) for own in held)),
    ]
    return texts(f"dense-{name}", "What tickets are compared with, means over seeds", ("dense networks", *SIDES), rows)


def _mean(rows: pd.DataFrame, column: str) -> float:
    return float(rows[column].astype(float).mean())


# what tells the runs apart


def _apart(pair: Pair) -> list[Board]:
    """What differs in the runs' configurations, and in what they ran with."""
    configurations, environments = (
        list(changes("", *held))
        for held in ([one.configuration for one in pair], [_environment(one.manifest) for one in pair])
    )
    return [
        _differences("configuration", "Configurations", configurations, "setting"),
        _differences("environment", "Code and machines", environments, "fact"),
    ]


def _environment(manifest: Mapping[str, Any]) -> dict[str, Any]:
    found = {words: _counted(manifest.get(name)) for name, words in FACTS.items()}
    return found | {"revision": manifest.get("revisions")}


def _counted(value: Any) -> str:
    """The keys of what was counted, the numbers of a list, or the value itself."""
    if isinstance(value, dict):
        return "; ".join(map(str, value))
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


def _differences(name: str, title: str, rows: Sequence[tuple[str, str, str]], head: str) -> Board:
    note = "What is not set has its default." if rows else "They don't differ."
    return texts(name, f"{title}: what differs", (head, *SIDES), rows, note)
