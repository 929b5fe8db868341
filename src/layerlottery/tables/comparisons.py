"""The table `comparisons`: what decides whether a ticket means anything, its difference to its controls."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pandas as pd

from layerlottery.config.results import StatisticsSettings
from layerlottery.config.studies import FRESH
from layerlottery.tables.seeds import identities, per_seed, pruned
from layerlottery.tables.statistics import bootstraps, holm, infer, outcome

SIZE = ["dataset", "network", "removed"]


@dataclass(frozen=True)
class Control:
    """Which tickets of the same dataset, network and number of removed blocks a ticket is measured against.

    Those that hold `value` in `column`, which the ticket does not, and that it shares the `alike` columns with;
    `paired` names the columns that pair their networks.
    """

    column: str
    value: str
    alike: tuple[str, ...]
    paired: tuple[str, ...]

    def fits(self, pairs: pd.DataFrame) -> pd.Series:
        """Of which pairs of tickets the other, whose columns end in _other, is a control."""
        found = (pairs[f"{self.column}_other"] == self.value) & (pairs[self.column] != self.value)
        for name in self.alike:
            found &= pairs[name] == pairs[f"{name}_other"]
        return found


# a fresh start and a layer ticket share the architecture or the budget of the same draw; random draws share nothing
CONTROLS = {
    "random": Control("function", "random", alike=("structure", "rewind"), paired=("seed",)),
    "random_spread": Control("function", "random_spread", alike=("structure", "rewind"), paired=("seed",)),
    "fresh": Control("rewind", FRESH, alike=("structure", "criterion", "scored_at"), paired=("seed", "draw")),
    "layers": Control("structure", "layers", alike=("budget", "scored_at", "rewind"), paired=("seed", "draw")),
}


def comparisons(networks: pd.DataFrame, settings: StatisticsSettings) -> pd.DataFrame:
    """One row per ticket and control that shares a seed with it; draws are averaged within a seed first."""
    tickets = pruned(networks)
    pairs = _pairs(tickets)
    by_control = [_differences(tickets, _others(pairs, control), control) for control in CONTROLS.values()]
    differences = pd.concat(by_control, keys=range(len(CONTROLS)), names=["control"])
    if differences.empty:
        return pd.DataFrame()
    seeds = differences.reorder_levels(["ticket", "control", "seed"]).unstack("seed")
    found = infer(seeds.to_numpy(), confidence=settings.confidence).set_axis(seeds.index)
    ends = bootstraps(seeds.to_numpy(), confidence=settings.confidence, resamples=settings.resamples)
    rows = found.assign(boot_low=ends[:, 0], boot_high=ends[:, 1]).reset_index().join(identities(tickets), on="ticket")
    rows["control"] = rows["control"].map(dict(enumerate(CONTROLS)))
    family = rows.groupby(["dataset", "network", "control"])["p_value"]
    rows["p_holm"] = family.transform(holm)
    rows["compared"] = family.transform("count").where(rows["p_holm"].notna())
    rows["outcome"] = outcome(rows["mean"], rows["p_holm"], confidence=settings.confidence)
    return rows.rename(columns={"mean": "difference"})


def _pairs(tickets: pd.DataFrame) -> pd.DataFrame:
    """All pairs of tickets of one size, with the function of the criterion and whose layer ticket is the budget."""
    named = identities(tickets).reset_index()
    settings = tickets.drop_duplicates("ticket")["criterion_settings"].map(json.loads)
    named["function"] = [one["function"] for one in settings]
    named["budget"] = [one.get("budget") or name for one, name in zip(settings, named["criterion"], strict=True)]
    # the criterion of a layer ticket is what others name as their budget
    return named.merge(named.assign(budget=named["criterion"]), on=SIZE, suffixes=("", "_other"))


def _others(pairs: pd.DataFrame, control: Control) -> pd.DataFrame:
    """Pairs of a ticket and one that is its control."""
    found = pairs[control.fits(pairs)]
    same = found["scored_at"] == found["scored_at_other"]
    # what is drawn at random looks at no weights, so one that was drawn for other weights serves as well
    return found[same | ~same.groupby(found["ticket"]).transform("any")]


def _differences(tickets: pd.DataFrame, pairs: pd.DataFrame, control: Control) -> pd.Series:
    """Accuracy of ticket minus control, by ticket and seed; networks without a partner do not count."""
    ours = tickets[["ticket", "seed", "draw", "accuracy"]]
    others = ours.rename(columns={"ticket": "ticket_other"}).reset_index(names="place")
    # the control's networks in the order of the table
    theirs = pairs[["ticket", "ticket_other"]].merge(others).sort_values("place", kind="stable")
    keys = [pd.MultiIndex.from_frame(side[["ticket", *control.paired]]) for side in (ours, theirs)]
    ours, theirs = ours[keys[0].isin(keys[1])], theirs[keys[1].isin(keys[0])]
    return (per_seed(ours, ours[["accuracy"]]) - per_seed(theirs, theirs[["accuracy"]]))["accuracy"]
