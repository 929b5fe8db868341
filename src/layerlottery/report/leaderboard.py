"""The leaderboard: tickets of many results folders, ranked where networks share a recipe. Docs: leaderboard.md."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from layerlottery.config.criteria import DEPTHS
from layerlottery.config.naming import gone_name
from layerlottery.config.rounds import SHARE
from layerlottery.config.studies import FRESH, TUNED_ON
from layerlottery.cost.carbon import measured
from layerlottery.errors import LayerLotteryError
from layerlottery.report.board import Board, Cell, Row, change, count, figure, ratio, size, texts, verdict
from layerlottery.report.entries import ENTRY, joined, networks_of
from layerlottery.report.submission import (
    NOTHING_LEARNED,
    SHOWN,
    Group,
    Submission,
    differing,
    read_submissions,
    recipe,
    recipe_hash,
)
from layerlottery.report.tables import dense, drawn_criteria, group_name, is_share, is_tuned, tickets, within
from layerlottery.report.texts import TEMPLATES
from layerlottery.report.verdict import NOT_LEARNED, tolerance_words
from layerlottery.store.artifacts import write_document, write_table
from layerlottery.store.hashing import digest
from layerlottery.tables.inference import BY_BOTH
from layerlottery.tables.ranking import Ranking, ranking
from layerlottery.words import counted, either, number, ranges

COLUMNS = (
    *("rank", "ticket", "removed", "Δ to dense [interval]", "accuracy, %", "MACs saved, %", "speed-up"),
    *("energy saved, %", "mCE, %", "seeds", "verdict", "folder"),
)
# of the table beside the page
KEPT = (
    *("dataset", "network", "recipe", "folder", "rank", "better_than", "worse_than", "structure", "criterion"),
    *(
        "scored_at",
        "removed",
        "rewind",
        "step",
        "is_control",
        "seeds",
        "accuracy",
        "delta_accuracy",
        "delta_low",
        "delta_high",
    ),
    *("confidence", "xi", "xi_points", "learned", "winning_holm", "verdict_holm", "macs_reduction"),
    *("train_speedup", "total_speedup", "energy_reduction", "mce"),
)
CONTROLS = {"random": "random removal", "random_spread": "random removal spread over stages", "fresh": "fresh weights"}


@dataclass(frozen=True)
class Contest:
    """Submissions whose networks of one data set and architecture share a recipe."""

    group: Group
    recipe: dict[str, Any]
    entrants: tuple[Submission, ...]

    @property
    def hash(self) -> str:
        """That of the recipe."""
        return recipe_hash(self.recipe)

    @property
    def name(self) -> str:
        """How the page calls the recipe."""
        return self.hash[:SHOWN]


@dataclass(frozen=True)
class Part:
    """What the page shows of one contest."""

    title: str
    board: Board
    folders: Board
    remarks: tuple[str, ...]
    settings: list[tuple[str, str]]


@dataclass(frozen=True)
class Section:
    """What the page shows of one data set and architecture; `apart` is the table of what tells its recipes apart."""

    name: str
    title: str
    apart: Board | None
    parts: tuple[Part, ...]


def leaderboard(folders: Sequence[Path], output: Path, xi: str) -> int:
    """Write the page, and its rows as Parquet beside it; returns the number of rows.

    `xi` is the tolerance of the verdicts as the summary tables call it. Raises LayerLotteryError for a folder that is
    not finished, broken, given twice or without this tolerance.
    """
    if output.suffix not in (".html", ".htm"):
        raise LayerLotteryError(f"--output: found {output}; allowed: a name that ends in .html")
    _require_own(output.with_suffix(".parquet"))
    submissions = read_submissions(folders)
    sections, rows = _sections(submissions, xi)
    made_by = digest([xi, *(one.manifest for one in submissions)])
    page = TEMPLATES.get_template("leaderboard.html.j2").render(
        sections=sections, tolerance=tolerance_words(xi), folders=counted(len(submissions), "folder", "folders")
    )
    table = pa.Table.from_pandas(rows[[*KEPT]], preserve_index=False).replace_schema_metadata(None)
    write_table(output.with_suffix(".parquet"), table, config_hash=made_by)
    write_document(output, page, comment=("<!-- ", " -->"), config_hash=made_by)
    return len(rows)


def _require_own(path: Path) -> None:
    """Raise LayerLotteryError unless the table beside the page is a leaderboard's, or there is none."""
    try:
        own = not path.exists() or {"recipe", "better_than"} <= {*pq.read_schema(path).names}
    except (pa.ArrowException, OSError):
        own = False
    if not own:
        raise LayerLotteryError(
            f"--output: {path} would be overwritten, and is no leaderboard's; allowed: a page with another name"
        )


def _sections(submissions: Sequence[Submission], xi: str) -> tuple[list[Section], pd.DataFrame]:
    """What the page shows, and the rows of all its tables."""
    sections: list[Section] = []
    found: list[pd.DataFrame] = []
    for group, contests in _contests(submissions).items():
        parts: list[Part] = []
        for contest in contests:
            rows, order = _ranked(contest, xi)
            found.append(rows)
            parts.append(_part(contest, rows, order, f"{len(sections)}-{len(parts)}"))
        sections.append(Section(f"group{len(sections)}", group_name(group), _apart(contests), tuple(parts)))
    return sections, pd.concat(found)


def _contests(submissions: Sequence[Submission]) -> dict[Group, list[Contest]]:
    """By data set and architecture, those that share a recipe together, in the order given."""
    groups = dict.fromkeys(group for one in submissions for group in one.tables.by_group)
    found = {}
    for group in sorted(groups):
        recipes = [(recipe(one, group), one) for one in submissions if group in one.tables.by_group]
        kinds = {recipe_hash(held): held for held, _ in recipes}
        found[group] = [
            Contest(group, held, tuple(one for other, one in recipes if recipe_hash(other) == name))
            for name, held in kinds.items()
        ]
    return found


def _ranked(contest: Contest, xi: str) -> tuple[pd.DataFrame, Ranking]:
    """The rows of a contest in the order of the page, and the comparisons behind their ranks."""
    rows = pd.concat([_rows(one, contest, xi).assign(source=place) for place, one in enumerate(contest.entrants)])
    rows = rows.reset_index(drop=True).rename_axis("ticket").reset_index()
    networks, answers = networks_of(contest.entrants, contest.group, rows)
    idle = networks["ticket"].isin(rows.loc[rows["said"] == NOTHING_LEARNED, "ticket"])
    networks["accuracy"] = networks["accuracy"].mask(idle)
    order = ranking(networks, answers, 1 - rows.set_index("ticket")["confidence"])
    rows = rows.drop(columns="rank").join(order.ranks, on="ticket")
    rows["share"] = is_share(rows)
    by = {"share": True, "removed": True, "rank": True, "better_than": False, "mean": False}
    rows = rows.sort_values([*by], ascending=[*by.values()], kind="stable", na_position="last")
    return rows, order


def _rows(one: Submission, contest: Contest, xi: str) -> pd.DataFrame:
    """Rows of the summary with what other tables know of the same tickets."""
    rows = within(one.at(xi), contest.group)
    measure = one.tables.resilience
    mce = measure[(measure["measure"] == "mCE") & measure["name"].isna()]
    rows = joined(rows, mce[[*ENTRY, "value"]].rename(columns={"value": "mce"}))
    return rows.assign(folder=one.name, recipe=contest.hash)


def _part(contest: Contest, rows: pd.DataFrame, order: Ranking, name: str) -> Part:
    board = Board(
        f"tickets{name}",
        f"{counted(len(rows), 'ticket', 'tickets')}, ranked among those with as much removed",
        COLUMNS,
        tuple(_row(values) for values in rows.to_dict("records")),
        head=1,
        sortable=True,
    )
    remarks = [
        *_comparisons(order),
        *_idle(rows),
        *_missing(contest, rows),
        *_criteria(contest),
        *_corruptions(contest),
    ]
    settings = [(key, str(value)) for key, value in contest.recipe.items()]
    title = f"recipe {contest.name}"
    return Part(title, board, _folders(contest, name), tuple(remarks), settings)


def _row(values: dict[Hashable, Any]) -> Row:
    control = bool(values["is_control"])
    cells = (
        count(values["rank"]),
        Cell(str(values["family"])),
        size(values["structure"], values["removed"]),
        change(values["mean"], values["low"], values["high"]),
        figure(values["accuracy"], 2),
        figure(values["macs_reduction"]),
        # with all trainings that a ticket rests on: its own alone would favour fine-tuning
        ratio(values["total_speedup"]),
        figure(values["energy_reduction"]),
        figure(values["mce"]),
        count(values["seeds"]),
        verdict(values["said"]),
        Cell(str(values["folder"]), tone="name"),
    )
    return Row(cells, control)


def _folders(contest: Contest, name: str) -> Board:
    """The folders of a contest: the dense networks that their tickets are compared with, and where they ran."""
    columns = ("folder", "dense accuracy, %", "seeds", "processor", "version", "power", "trained")
    rows = []
    for one in contest.entrants:
        runs = within(one.tables.runs, contest.group)
        own, sources = dense(runs), runs["power_source"].dropna().unique()
        read = "measured" if len(sources) and all(map(measured, sources)) else "modelled from time"
        spans = (str(runs[column].dropna().agg(how))[:10] for column, how in (("started", "min"), ("ended", "max")))
        rows.append(
            (
                one.name,
                number(float(own["accuracy"].mean())),
                ranges(own["seed"].astype(int)),
                either(runs["device"].dropna()),
                either(runs["package_version"].dropna()),
                f"{either(sources)} ({read})",
                " to ".join(dict.fromkeys(spans)),
            )
        )
    return texts(f"folders{name}", "Folders", columns, rows)


def _apart(contests: Sequence[Contest]) -> Board | None:
    """What tells recipes of one data set and architecture apart; None where there is one."""
    if len(contests) < 2:
        return None
    held = {contest.name: contest.recipe for contest in contests}
    rows = [(key, *values.values()) for key, values in differing(held)]
    note = "Accuracies of different recipes are not compared: each has its own table."
    title = "What tells the recipes apart"
    return texts(f"apart-{contests[0].name}", title, ("setting", *(f"recipe {one}" for one in held)), rows, note)


# what a reader must know of a contest


def _comparisons(order: Ranking) -> Iterable[str]:
    pairs, known = len(order.pairs), order.pairs["p_value"].notna()
    if not pairs:
        return ["There is nothing to rank: no two tickets that are judged have as much removed."]
    both = int((order.pairs["method"] == BY_BOTH).sum())
    told = int(order.pairs["outcome"].isin(("better", "worse")).sum())
    said = f"{counted(pairs, 'pair', 'pairs')} of tickets compared, {told} of them told apart after Holm's correction"
    said += f"; {both} by seeds and test images, {int(known.sum()) - both} by seeds alone"
    lacking = pairs - int(known.sum())
    return [f"{said}{f', {lacking} not at all for want of two common seeds' if lacking else ''}."]


def _idle(rows: pd.DataFrame) -> Iterable[str]:
    for name in rows.loc[rows["said"] == NOTHING_LEARNED, "folder"].unique():
        yield f"{NOT_LEARNED} in {name}: dense is not told from chance, so no ticket is judged or ranked."


def _missing(contest: Contest, rows: pd.DataFrame) -> Iterable[str]:
    for one in contest.entrants:
        own = tickets(within(one.tables.runs, contest.group))
        depths = drawn_criteria(own, (DEPTHS,))
        fresh = own[(own["rewind"] == FRESH) & ~own["criterion"].isin(depths)]
        held = {name: own[own["criterion"].isin(drawn_criteria(own, (name,)))] for name in list(CONTROLS)[:2]}
        held["fresh"] = fresh
        asked = rows[rows["folder"] == one.name]
        for name, words in CONTROLS.items():
            for structure, lacking in _lacking(asked, held[name]):
                said = gone_name(structure, ranges(map(int, lacking)))
                yield f"{one.name}: the control {words} is missing with {said} removed."
        if own["rewind"].map(is_tuned).any() and TUNED_ON not in {*own["structure"]}:
            yield f"{one.name}: the control of the dense network, fine-tuned as often, is missing."


def _lacking(asked: pd.DataFrame, held: pd.DataFrame) -> Iterable[tuple[str, set[int]]]:
    """By unit, named by a structure, what is removed in tickets and in no control."""
    for structure, own, known in (
        ("layers", ~is_share(asked), ~is_share(held)),
        (SHARE, is_share(asked), is_share(held)),
    ):
        if lacking := {*asked.loc[own, "removed"]} - {*held.loc[known, "removed"]}:
            yield structure, lacking


def _criteria(contest: Contest) -> Iterable[str]:
    """Criteria of one name that folders set differently."""
    held: dict[str, set[str]] = {}
    for one in contest.entrants:
        own = tickets(within(one.tables.runs, contest.group))
        for name, settings in own[["criterion", "criterion_settings"]].drop_duplicates().itertuples(index=False):
            held.setdefault(str(name), set()).add(str(settings))
    names = [name for name, settings in held.items() if len(settings) > 1]
    return [f"{name}: folders use this name with different settings of the criterion." for name in names]


def _corruptions(contest: Contest) -> Iterable[str]:
    """Whether mCE is a mean over the same corruptions everywhere."""
    columns = ["name", "level", "origin", "images"]
    kinds = {
        frozenset(own[columns].astype(str).itertuples(index=False, name=None))
        for one in contest.entrants
        for held in [within(one.tables.robustness, contest.group)]
        if len(own := held[held["kind"] == "corruption"])
    }
    if len(kinds) < 2:
        return []
    return ["mCE: folders tested other corruptions, severities or images, so that it can't be compared between them."]
