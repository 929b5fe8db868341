"""The facts of a study's design and run in words, as docs/evidence says them: from its manifest and tables alone."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd
from evidence_tables import CALLED, NAMES, PLAIN, POWERED, Study

from layerlottery.config.evaluation import MAIN_CORRUPTIONS
from layerlottery.config.naming import is_depths
from layerlottery.paper.printed import EPOCHS, PRINTED
from layerlottery.report.tables import trainings
from layerlottery.tables.looks import level
from layerlottery.words import counted, duration, either, interval, number


class Told:
    """A study with its words; what it does not have itself is the study's."""

    power = POWERED
    paper_epochs = EPOCHS

    def __init__(self, study: Study) -> None:
        self.study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self.study, name)

    @property
    def preset(self) -> str:
        return NAMES[self.study.name]

    @property
    def level(self) -> str:
        return f"{100 * level(self.study.benchmark.statistics, self.study.seeds):.3g}\N{NO-BREAK SPACE}%"

    @property
    def confidence(self) -> str:
        return f"{100 * self.study.benchmark.statistics.confidence:g}\N{NO-BREAK SPACE}%"

    @property
    def removed(self) -> int:
        return int(self.study.benchmark.studies[0].removed[0])

    @property
    def rewinding_seeds(self) -> int:
        runs = self.study.tables.runs
        return int(runs.loc[runs["scored_at"] == "trained", "seed"].nunique())

    @property
    def choices(self) -> str:
        """Which sets of blocks each criterion chose over the seeds, by what goes from each stage."""
        runs, said = self.study.tables.runs, list[str]()
        for row in self.study.rows("tickets"):
            own = runs[
                (runs["criterion"].map(CALLED.get) == row.what) & (runs[[*PLAIN]] == [*PLAIN.values()]).all(axis=1)
            ]
            sets = len({tuple(one) for one in own["removed_blocks"]})
            depths = own["removed_blocks"].map(self._depths).value_counts(sort=True)
            named = ", ".join(f"{name} with {counted(seeds, 'seed', 'seeds')}" for name, seeds in depths.items())
            said.append(f"{row.what} chose {counted(sets, 'set', 'sets')} of blocks ({named})")
        return " and ".join(said)

    def _depths(self, removed: Sequence[str]) -> str:
        stages = Counter(block.partition(".")[0] for block in removed)
        return "-".join(str(stages[f"stage{number}"]) for number in range(1, len(self.stages) + 1))

    @property
    def extremes(self) -> str:
        """The architectures with the highest and the lowest mean, against the dense network."""
        rows = self.study.architectures
        best, worst = (
            f"{interval(row['mean'], math.nan, math.nan)} pp (without {'-'.join(row['criterion'].split('_')[1:])})"
            for _, row in rows.iloc[[0, -1]].iterrows()
        )
        return f"from {best} to {worst}"

    def verdicts(self, kind: str) -> str:
        """Of each ticket, on one line."""
        return "; ".join(f"{row.what} {row.verdict}" for row in self.study.rows(kind))

    def within(self, kind: str) -> str:
        """Whose undecided intervals against a control lie wholly within the tolerance; "" if none does."""
        xi = float(self.study.summary["xi_points"].max())
        rows = [row for row in self.study.rows(kind) if row.verdict == "undecided"]
        inside = [row.what for row in rows if -xi < row.low and row.high < xi]
        return " and ".join(inside)

    @property
    def slowest(self) -> str:
        """How much longer than the fastest the slowest of the networks took that compute the same."""
        runs = trainings(self.study.tables.runs)
        times = runs.loc[runs["criterion"].fillna("").map(is_depths), "train_seconds"]
        return f"{times.max() / times.min():.1f} ({self.called})"

    @property
    def architectures_winning(self) -> int:
        return int((self.study.architectures["winning_holm"] == True).sum())  # noqa: E712 - null where untested

    @property
    def architectures_above(self) -> int:
        """Whose means are above the dense network's."""
        return int((self.study.architectures["mean"] > 0).sum())

    @property
    def stages(self) -> list[str]:
        """Of the architecture, as its depth vectors have them."""
        return str(self.study.architectures["criterion"].iloc[0]).split("_")[1:]

    @property
    def primary(self) -> str:
        called = {"clean": "clean test images", "corruption": "corrupted images", "macs": "multiply-accumulates"}
        primary = self.study.planned.statistics.primary
        said = [called.get(one, f"{one.upper().replace(' ', ' at ')}/255") for one in primary]
        return f"{', '.join(said[:-1])} and {said[-1]}"

    @property
    def train_images(self) -> str:
        return f"{int(self.study.dense['train_images'].iloc[0]):,}"

    @property
    def test_images(self) -> str:
        rows = self.study.tables.robustness
        return f"{int(rows.loc[(rows['kind'] == 'clean') & (rows['name'] == 'clean'), 'images'].iloc[0]):,}"

    @property
    def setting(self) -> dict[str, Any]:
        """Of the dense networks' training, as recorded."""
        return dict(json.loads(self.study.dense["training_settings"].iloc[0]))

    @property
    def corrupted(self) -> str:
        """Which corruptions enter the means, and how many were made beside them."""
        asked = self.study.benchmark.corruptions
        kinds = [name for name in asked.names if name in MAIN_CORRUPTIONS]
        more = len(asked.names) - len(kinds)
        apart = f" (and {more} not in means)" if more else ""
        return f"{len(kinds)}, at {' and '.join(map(str, asked.severities))}{apart}"

    @property
    def augmentation(self) -> str:
        crop, flip = self.setting["crop"], self.setting["flip"]
        kinds = {f"crops after {crop} px of padding": crop, "mirrored at random": flip}
        return ", ".join(kind for kind, used in kinds.items() if used) or "none"

    @property
    def dense_accuracy(self) -> str:
        values = self.study.dense["accuracy"]
        spread = f" ± {number(values.std())}" if len(values) > 1 else ""
        return f"{number(values.mean())}{spread}\N{NO-BREAK SPACE}%"

    @property
    def networks(self) -> int:
        """Distinct ones: an architecture that is a ticket's control too is trained once."""
        return int(self.study.tables.runs["same_as"].isna().sum())

    @property
    def hours_text(self) -> str:
        return duration(float(trainings(self.study.tables.runs)["train_seconds"].sum()))

    @property
    def device(self) -> str:
        return either(self.study.tables.runs["device"].dropna())

    @property
    def instructions(self) -> bool:
        """Whether the processor's are recorded that torch used."""
        return "(" in self.device

    @property
    def versions(self) -> str:
        runs = self.study.tables.runs
        commits = pd.unique(runs["git_commit"].dropna()).tolist()
        code = f" ({counted(len(commits), 'commit', 'commits')}: {', '.join(one[:7] for one in commits)})"
        return (
            f"layerlottery {either(runs['package_version'].dropna())}{code}, "
            f"torch {either(runs['torch_version'].dropna())}"
        )

    def printed_saving(self, quantity: str) -> float:
        """What the paper prints for a network of as many blocks."""
        size = (str(self.study.tables.runs["network"].iloc[0]), self.removed)
        return next(
            one.value for one in PRINTED["table4"] if (one.network, one.removed, one.quantity) == (*size, quantity)
        )
