"""What the tables of a study say to the questions of docs/evidence: rows of estimate, interval, verdict and power."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from layerlottery.config.benchmark import Benchmark
from layerlottery.config.evaluation import MAIN_CORRUPTIONS
from layerlottery.config.loading import load_benchmark
from layerlottery.config.naming import is_depths
from layerlottery.config.overlay import completed
from layerlottery.config.reading import read_yaml
from layerlottery.errors import LayerLotteryError
from layerlottery.paper.printed import PRINTED
from layerlottery.report.forest import judged
from layerlottery.report.tables import Tables, at_tolerance, dense, read_tables, tolerance_name
from layerlottery.store.artifacts import read_facts, read_table
from layerlottery.tables.crossed import Spread, spread
from layerlottery.tables.looks import level
from layerlottery.tables.power import POWER, detectable
from layerlottery.tables.statistics import Array, described, holm, interval_ends
from layerlottery.words import ABSENT, factor, interval, number, percent, probability

PRESETS = Path(__file__).parents[1] / "workflow" / "presets"
# the studies, and the preset that each is the run of
NAMES = {"cifar10": "evidence.yaml", "digits": "evidence_digits.yaml"}
CALLED = {"cifar10": "CIFAR-10", "digits": "scanned digits", "resnet32": "ResNet32", "snip": "SNIP", "grasp": "GraSP"}
CALLED |= {"kl": "KL", "random": "random blocks"}
CHOSEN = ("snip", "grasp")
PLAIN = {"structure": "layers", "scored_at": "init", "rewind": "0"}
# what makes a run the run of a preset
PARTS = ("datasets", "training", "fine_tuning", "attack", "corruptions", "outliers", "compare", "statistics", "studies")
SINGLE = "one seed: nothing is inferred"
DIFFER, NOT_SHOWN = "the architectures differ", "no difference between the architectures is shown"
POWERED = f"{100 * POWER:.0f}\N{NO-BREAK SPACE}%"


@dataclass(frozen=True)
class Row:
    """One answer: what is compared, the difference with its interval, the verdict, and what would have been found."""

    what: str
    mean: float
    low: float
    high: float
    verdict: str
    detectable: float
    printed: float = math.nan
    unit: str = "pp"
    digits: int = 2

    @property
    def estimate(self) -> str:
        return f"{interval(self.mean, self.low, self.high, self.digits)} {self.unit}".rstrip()

    @property
    def power(self) -> str:
        return ABSENT if math.isnan(self.detectable) else f"{number(self.detectable, self.digits)} {self.unit}".rstrip()

    @property
    def paper(self) -> str:
        return interval(self.printed, math.nan, math.nan)


@dataclass(frozen=True)
class Differ:
    """Whether the architectures differ at all, under one condition, by the test of all of them at once."""

    what: str
    found: Spread
    p_holm: float
    verdict: str

    @property
    def test(self) -> str:
        return f"{self.found.f:.2f} ({self.found.df}, {self.found.df_noise:.0f})"

    @property
    def p(self) -> str:
        return probability(self.p_holm)

    @property
    def spread(self) -> str:
        one = self.found
        return f"{number(100 * one.sd)} [{number(100 * one.low)}, {number(100 * one.high)}]"

    @property
    def power(self) -> str:
        return number(100 * self.found.detectable)

    @property
    def shown(self) -> bool:
        return self.verdict == DIFFER

    @property
    def sentence(self) -> str:
        said = f"{self.verdict} (F = {self.test}, p = {self.p}): they spread by {self.spread} pp"
        return said if self.shown else f"{said}, and {self.power} pp would be found with {POWERED} power"


@dataclass(frozen=True)
class Cost:
    """What a ticket saves: of counts in percent; of time and energy means over seeds, each with its interval's ends."""

    what: str
    macs: float
    memory: float
    speedup: Array
    energy: Array

    @property
    def faster(self) -> str:
        mean, low, high = self.speedup
        return factor(mean) if math.isnan(low) else f"{factor(mean)} [{low:.2f}, {high:.2f}]"

    @property
    def spared(self) -> str:
        mean, low, high = self.energy
        return percent(mean) if math.isnan(low) else f"{percent(mean)} [{number(low, 1)}, {number(high, 1)}]"


@dataclass(frozen=True)
class Study:
    """A study that lies in docs/evidence."""

    name: str
    tables: Tables
    facts: dict[str, Any]
    benchmark: Benchmark
    planned: Benchmark
    claims: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Study:
        """Raises LayerLotteryError where the folder holds another benchmark than the preset of its name.

        It may have the first of the planned seeds alone: others would be a choice.
        """
        facts, preset = read_facts(folder / "manifest.json"), PRESETS / NAMES[folder.name]
        benchmark = load_benchmark(facts["configuration"] | {"results": "results"})
        planned = load_benchmark(completed(read_yaml(preset), PRESETS))
        for part in PARTS:
            if _asked(benchmark, part) != _asked(planned, part):
                raise LayerLotteryError(f"{folder}: {part} is not that of {preset.name}; run that preset")
        for own, wanted in zip(benchmark.studies, planned.studies, strict=True):
            if own.seeds != wanted.seeds[: len(own.seeds)]:
                raise LayerLotteryError(f"{folder}: seeds are not the first of {preset.name}; run them in their order")
        claims = read_table(folder / "tables" / "claims.parquet").to_pandas()
        return cls(folder.name, read_tables(folder / "tables"), facts, benchmark, planned, claims)

    @property
    def called(self) -> str:
        return CALLED[self.name]

    @property
    def network(self) -> str:
        return CALLED[str(self.tables.runs["network"].iloc[0])]

    @property
    def seeds(self) -> int:
        """Seeds of the question which blocks go, of `planned_seeds`."""
        return len(self.benchmark.studies[0].seeds)

    @property
    def planned_seeds(self) -> int:
        return len(self.planned.studies[0].seeds)

    @property
    def alpha(self) -> float:
        """The level of the look that these seeds are."""
        return level(self.benchmark.statistics, self.seeds)

    @property
    def xi(self) -> str:
        return tolerance_name(self.benchmark.report)

    @cached_property
    def summary(self) -> pd.DataFrame:
        return at_tolerance(self.tables.summary, self.xi)

    @property
    def dense(self) -> pd.DataFrame:
        return dense(self.tables.runs)

    @property
    def architectures(self) -> pd.DataFrame:
        """The networks of random weights in all architectures of the tickets' size, against the dense network."""
        rows = self.summary[self.summary["criterion"].map(is_depths)]
        return rows.sort_values("mean", ascending=False, kind="stable")

    def rows(self, kind: str) -> list[Row]:
        """Rows of tickets, robustness, rewinding, or of the comparison with a control."""
        if kind == "tickets":
            return [self._ticket(row) for row in _chosen(self.summary)]
        if kind == "rewinding":
            rows = self.summary[self.summary["scored_at"] == "trained"]
            return [self._ticket(row, _started(row)) for row in rows.to_dict("records")]
        return self._robustness() if kind == "robustness" else self._against(kind)

    def _ticket(self, row: dict[Any, Any], called: str = "") -> Row:
        verdict = SINGLE if row["seeds"] < 2 else judged(row["verdict_holm"], wins=row["winning_holm"] is True)
        size = (row["network"], row["criterion"], row["removed"])
        table = [one.value for one in PRINTED["table2"] if (one.network, one.criterion, one.removed) == size]
        mean, low, high, power = (float(row[name]) for name in ("mean", "low", "high", "detectable"))
        name = called or CALLED[row["criterion"]]
        return Row(name, mean, low, high, verdict, power, math.nan if called else table[0])

    def _against(self, control: str) -> list[Row]:
        """SNIP's and GraSP's tickets against a control."""
        rows = self.tables.comparisons
        return [self._row(CALLED[row["criterion"]], row) for row in _chosen(rows[rows["control"] == control])]

    def _robustness(self) -> list[Row]:
        """The same tickets against the dense network under other conditions than clean images."""
        rows = self.tables.resilience
        kept = rows["measure"].isin(("accuracy, corrupted", "accuracy, shifted", "ECE")) & (
            rows["name"].isna() | (rows["measure"] != "accuracy, corrupted")
        )
        kept |= (rows["measure"] == "accuracy, attacked") & rows["name"].notna()
        found = []
        for _, same in rows[kept].groupby(["measure", "name", "level"], sort=False, dropna=False):
            for row in _chosen(same):
                scale = 100 if row["unit"] == "0 to 1" else 1
                found.append(self._row(f"{CALLED[row['criterion']]}: {_condition(row)}", row, scale))
        return found

    def _row(self, what: str, row: dict[Any, Any], scale: int = 1) -> Row:
        """A row of the tables comparisons or resilience; `scale` makes shares percentage points."""
        power = float(detectable(row["se"], row["df"], level=self.alpha)) if row["seeds"] > 1 else math.nan
        verdict = SINGLE if row["seeds"] < 2 else str(row["outcome"])
        mean, low, high = (scale * float(row[name]) for name in ("difference", "low", "high"))
        return Row(what, mean, low, high, verdict, scale * power)

    @cached_property
    def differ(self) -> list[Differ]:
        """Whether the architectures differ at all, under each primary condition; corrected for these tests by Holm."""
        if self.seeds < 2:
            return []
        asked: dict[str, tuple[str, Collection[str], float | None]] = {"clean test images": ("clean", ["clean"], None)}
        asked["corrupted images"] = ("corruption", MAIN_CORRUPTIONS, None)
        for one in self.benchmark.statistics.primary:
            attack, _, size = one.rpartition(" ")
            asked |= {f"{attack.upper()} at {size}/255": ("attack", [attack], float(size))} if attack else {}
        found = {what: spread(self._answers(*key), level=self.alpha) for what, key in asked.items()}
        corrected = dict(zip(found, holm([one.p_value for one in found.values()]), strict=True))
        told = {what: DIFFER if p <= self.alpha else NOT_SHOWN for what, p in corrected.items()}
        return [Differ(what, one, float(corrected[what]), told[what]) for what, one in found.items()]

    def _answers(self, kind: str, names: Collection[str], size: float | None) -> np.ndarray[Any, Any]:
        """Shares of the conditions that are right, (architectures, seeds, images)."""
        rows = self.tables.answers
        rows = rows[rows["criterion"].fillna("").map(is_depths) & (rows["kind"] == kind) & rows["name"].isin(names)]
        rows = rows if size is None else rows[rows["level"] == size]
        images = int(rows["images"].iloc[0])
        bits = np.stack([np.unpackbits(np.frombuffer(one, np.uint8), count=images) for one in rows["answers"]])
        shares = pd.DataFrame(bits).groupby([rows["criterion"].to_numpy(), rows["seed"].to_numpy()]).mean()
        return np.asarray(shares).reshape(rows["criterion"].nunique(), rows["seed"].nunique(), images)

    def costs(self) -> list[Cost]:
        """What SNIP's and GraSP's tickets save against the dense network."""
        measured = _chosen(self.tables.runs)
        found = []
        for row in _chosen(self.summary):
            own = [one for one in measured if one["criterion"] == row["criterion"]]
            fast, slow = (self._ratio([one["train_speedup"] for one in own]), self._ratio([_left(one) for one in own]))
            saved = 100 * (1 - slow[[0, 2, 1]])
            found.append(Cost(CALLED[row["criterion"]], row["macs_reduction"], row["memory_reduction"], fast, saved))
        return found

    def _ratio(self, values: list[float]) -> Array:
        """The geometric mean over seeds, and the ends of its interval: no verdict, so looks spend nothing on it."""
        one = described(np.log([values]))
        low, high = interval_ends(one, 1 - self.benchmark.statistics.confidence)
        return np.exp([one["mean"].item(), low.item(), high.item()])

    def tested(self) -> list[dict[str, str]]:
        """Claims of the paper's text that were measured, in words."""
        found = []
        for row in self.claims[self.claims["measured"].notna()].to_dict("records"):
            unit = "" if pd.isna(row["unit"]) else f" {row['unit']}"
            # counts that are the same for every network have no interval
            low, high = (math.nan, math.nan) if row["low"] == row["high"] else (row["low"], row["high"])
            measured = interval(row["measured"], low, high)
            paper = ABSENT if pd.isna(row["paper"]) else f"{number(row['paper'])}{unit}"
            found.append(
                row | {"item": f"{row['item']}: {row['quantity']}", "paper": paper, "measured": measured + unit}
            )
        return found

    @property
    def robustness_words(self) -> str:
        """What is decided of the conditions, and how many are not."""
        rows = self.rows("robustness")
        if self.seeds < 2:
            return "With one seed nothing is inferred."
        told = [row for row in rows if row.verdict in ("better", "worse")]
        said = [f"{row.what}: {row.estimate}, {row.verdict}." for row in told]
        said += [] if told else ["No ticket is shown better or worse than the dense network."]
        return " ".join([*said, f"Undecided: {len(rows) - len(told)} of {len(rows)} comparisons."])


def _asked(benchmark: Benchmark, part: str) -> object:
    """A part of a configuration, of the images that it studies, without where they lie and how many seeds there are."""
    asked = benchmark.model_dump()[part]
    if part == "datasets":
        studied = {name for study in benchmark.studies for name in study.datasets}
        return {name: one | {"location": None} for name, one in asked.items() if name in studied}
    return [one | {"seeds": None} for one in asked] if part == "studies" else asked


def _chosen(rows: pd.DataFrame) -> list[dict[Any, Any]]:
    """The rows of tickets that SNIP and GraSP chose at initialization, with the weights that were there."""
    for name, value in PLAIN.items():
        rows = rows[rows[name] == value]
    return [row for one in CHOSEN for row in rows[rows["criterion"] == one].to_dict("records")]


def _started(row: dict[Any, Any]) -> str:
    """What a ticket of a trained network lost, and from which weights it went on."""
    starts = {"0": "from the initial weights", "trained": "fine-tuned"}
    rewind = str(row["rewind"]).partition("-")[0]
    return f"{CALLED[row['criterion']]}, {starts.get(rewind, f'from epoch {rewind}')}"


def _left(row: dict[Any, Any]) -> float:
    """The share of the dense network's energy that a training takes."""
    return float(1 - row["energy_reduction"] / 100)


def _condition(row: dict[Any, Any]) -> str:
    """A measure of the table resilience in a few words."""
    if row["measure"] == "accuracy, attacked":
        return f"{row['name'].upper()} at {row['level']:g}/255"
    if row["measure"] == "accuracy, corrupted":
        return "corruptions"
    return f"{row['measure'].removeprefix('accuracy, ')}, {row['name']}"
