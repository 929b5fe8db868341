"""Settings of cost, tables and page."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from layerlottery.config.base import MOST, Count, Distinct, Name, NonNegative, Positive, Settings, later


class ProfileSettings(Settings):
    """Measurement of a network's cost, on the machine that runs the profile stage."""

    latency_batch: int = Field(1, ge=1, le=100_000, description="images a forward pass while timing latency")
    rounds: int = Field(
        5, ge=1, le=1000, description="timing rounds; all architectures take turns, the median of means counts"
    )
    min_seconds: float = Field(
        0.05, gt=0, le=3600, description="least time of one architecture's timing in one round, s"
    )


class EnergySettings(Settings):
    """How measured energy becomes CO2; changing it never trains again."""

    country: str = Field("USA", pattern=r"^[A-Z]{3}$", description="ISO 3166 code whose energy mix codecarbon knows")
    carbon_intensity: NonNegative | None = Field(None, description="kg CO2 a kWh; null takes the country's mix")
    lacoste_intensity: NonNegative = Field(0.432, description="kg CO2 a kWh of the Lacoste et al. (2019) column")


PRIMARY = ("clean", "corruption", "pgd 8", "macs")


def _endpoint(name: str) -> str:
    """A primary endpoint in one spelling: an attack's epsilon as the tables have it."""
    attack, _, level = name.rpartition(" ")
    with suppress(ValueError):
        return f"{attack} {float(level):g}" if attack and attack != "shift" else name
    return name


Endpoint = Annotated[
    str, Field(pattern=r"^(clean|corruption|co2|macs|\S+ \S+)$", max_length=100), AfterValidator(_endpoint)
]


class StatisticsSettings(Settings):
    """What the benchmark is to decide, and what counts as decided."""

    xi: Distinct[NonNegative | Literal["sd"]] = Field(
        [0.0, 1.0, "sd"],
        description="allowed loss in percentage points; sd is the dense networks' standard deviation",
        min_length=1,
    )
    confidence: float = Field(0.95, gt=0, lt=1, description="level of the intervals, for other seeds and test images")
    primary: Distinct[Endpoint] = Field(
        list(PRIMARY),
        description="what the benchmark is to decide, corrected together; all else is exploratory: clean, corruption "
        "(mean over corruptions), an attack and its epsilon (pgd 8), shift and a test set's name, co2, macs",
    )
    baselines: Distinct[Name] = later(
        [],
        "criteria that every other criterion is compared with, where both removed as much of the same structure; each "
        "baseline is corrected on its own",
    )
    looks: Distinct[Count] = Field(
        [], description="numbers of seeds at which results are or were looked at; each look spends a part of the level"
    )
    most: Count | None = Field(None, description="seeds at which looking ends, decided or not")
    resamples: int = Field(9999, ge=99, le=MOST, description="resamples of the bootstrap intervals")

    @model_validator(mode="after")
    def _looks_end(self) -> Self:
        if self.looks != sorted(self.looks):
            raise ValueError(f"looks: found {self.looks}; allowed: ascending numbers of seeds")
        if (self.most is None) != (not self.looks):
            raise ValueError("looks, most: found one of them; allowed: both or none")
        if self.looks and self.most is not None and self.looks[-1] > self.most:
            raise ValueError(f"looks: found {self.looks[-1]}; allowed: at most {self.most}, which is statistics.most")
        return self


class MarginSettings(Settings):
    """How far a measured figure may lie from the printed one and still agree with it."""

    accuracy: Positive = Field(0.5, description="differences in accuracy, percentage points")
    robustness: Positive = Field(1.0, description="differences in accuracy on corrupted and shifted sets, pp")
    flops: Positive = Field(0.02, description="FLOPs saved, percentage points")
    memory: Positive = Field(2.0, description="memory saved, percentage points")
    co2: Positive = Field(5.0, description="CO2 saved, percentage points")
    speedup: Positive = Field(0.1, description="training speed-up, as a factor")


class ReportSettings(Settings):
    """The page."""

    title: str = Field("layerlottery", description="heading of the report", min_length=1)
    xi: NonNegative | Literal["sd"] = Field(
        1.0, description="the tolerance that the verdict quotes, one of statistics.xi"
    )
