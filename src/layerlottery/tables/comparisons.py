"""The table `comparisons`: what a ticket's difference to its controls is, and to the criteria that are baselines."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from layerlottery.config.criteria import DEEPEST, DEPTHS
from layerlottery.config.results import StatisticsSettings
from layerlottery.config.rounds import SHARE
from layerlottery.config.studies import AT_COST, FRESH, TUNED_ON
from layerlottery.paths import TUNED
from layerlottery.tables.inference import Contrasts, Inference, Measured
from layerlottery.tables.seeds import are_controls, identities, pruned, selection, shapes
from layerlottery.tables.statistics import NULL, bootstraps, holm, outcome

SIZE = ["dataset", "network", "removed"]
# of every network that is compared
NEEDED = ["seed", "draw", "place", "structure", "scored_at", "rewind", "round", "blocks", "architecture"]


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
        if self.column != "criterion" and self.value in (*AT_COST, TUNED_ON, DEEPEST):
            # their cost is a layer ticket's, not that of as many filters or weights, which no block's place selects
            found &= pairs["structure"] == "layers"
        # percent of the filters are no number of blocks
        found &= (pairs["structure"] == SHARE) == (pairs["structure_other"] == SHARE)
        for name in self.alike:
            found &= pairs[name] == pairs[f"{name}_other"]
        return found


SAME_BUDGET = ("budget", "scored_at", "rewind", "step")
# a fresh start and a layer ticket share the architecture or the budget of the same draw; others share none
CONTROLS = {
    "random": Control("function", "random", alike=("structure", "rewind", "step"), paired=("seed",)),
    "random_spread": Control("function", "random_spread", alike=("structure", "rewind", "step"), paired=("seed",)),
    DEEPEST: Control("select", DEEPEST, alike=("structure", "rewind", "step"), paired=("seed",)),
    "fresh": Control("rewind", FRESH, alike=("structure", "criterion", "scored_at", "step"), paired=("seed", "draw")),
    "architecture": Control("function", DEPTHS, alike=("structure",), paired=("seed",)),
    "layers": Control("structure", "layers", alike=SAME_BUDGET, paired=("seed", "draw")),
    "dense_at_cost": Control("structure", "dense_at_cost", alike=SAME_BUDGET, paired=("seed", "draw")),
    "filters_at_macs": Control("structure", "filters_at_macs", alike=SAME_BUDGET, paired=("seed", "draw")),
    TUNED_ON: Control("structure", TUNED_ON, alike=SAME_BUDGET, paired=("seed", "draw")),
}

# the name of a control that is a criterion begins so; no other has a space
BASELINE = "baseline "
AS_CHOSEN = ("structure", "scored_at", "rewind", "step")


def controls(settings: StatisticsSettings) -> dict[str, Control]:
    """What tickets are compared with: the controls, and each criterion that is a baseline."""
    baselines = {
        f"{BASELINE}{name}": Control("criterion", name, alike=AS_CHOSEN, paired=("seed",))
        for name in settings.baselines
    }
    return CONTROLS | baselines


# controls that draw what the ticket chose: where the choice leaves one architecture, both are drawn alike
SAME_LAW = ("random", "random_spread")


def comparisons(networks: pd.DataFrame, accuracy: Measured, inference: Inference) -> pd.DataFrame:
    """One row per ticket and control or baseline that shares a seed with it; draws are averaged within a seed first.

    The control `architecture` are other architectures than that of the network which they stand beside.
    `networks` are all rows of the table runs, `accuracy` is that on clean test images.
    """
    tickets = pruned(networks)
    tickets["blocks"], tickets["architecture"] = tickets["removed_blocks"].map(tuple), shapes(tickets)
    pairs = _pairs(tickets)
    found = [
        _compared(tickets, _others(pairs, control), control, accuracy, inference).assign(
            control=name, control_order=order
        )
        for order, (name, control) in enumerate(controls(inference.settings).items())
    ]
    rows = pd.concat(found).rename_axis("ticket").reset_index()
    rows = rows.sort_values(["ticket", "control_order"], kind="stable", ignore_index=True)
    rows["null"] = _null_by_construction(rows)
    rows["p_value"] = rows["p_value"].mask(rows["null"])
    rows = rows.join(identities(tickets), on="ticket")
    family = rows.groupby(["dataset", "network", "control"])["p_value"]
    rows["p_holm"] = family.transform(holm)
    rows["compared"] = family.transform("count").where(rows["p_holm"].notna())
    told = outcome(rows, rows["p_holm"], rows["alpha"])
    return rows.assign(outcome=np.where(rows["null"], NULL, told)).rename(columns={"mean": "difference"})


def _compared(
    tickets: pd.DataFrame, pairs: pd.DataFrame, control: Control, accuracy: Measured, inference: Inference
) -> pd.DataFrame:
    """Of every ticket with such a control its inference, bootstrap, and how much both have in common."""
    shared, settings = _shared(tickets, pairs, control), inference.settings
    ours = shared[["contrast", "seed", "place"]]
    contrasts = Contrasts.between(ours, ours.assign(place=shared["place_other"]), len(accuracy.values))
    found, samples = inference.of(contrasts, accuracy), contrasts.samples(accuracy.values).to_numpy()
    ends = bootstraps(samples, confidence=settings.confidence, resamples=settings.resamples)
    layers = shared["structure"].eq("layers") & shared["structure_other"].eq("layers")
    same = pd.DataFrame(
        {
            "same_blocks": layers & (shared["blocks"] == shared["blocks_other"]),
            "same_architecture": shared["architecture"] == shared["architecture_other"],
            "drawn": shared["scored_at"].eq("init")
            & shared["rewind"].isin(("0", FRESH))
            & shared["rewind_other"].isin(("0", FRESH)),
            "same_start": (shared["rewind"] == shared["rewind_other"]) & ~_inherited(shared),
        }
    )
    return found.assign(boot_low=ends[:, 0], boot_high=ends[:, 1]).join(same.groupby(shared["contrast"]).mean())


def _inherited(shared: pd.DataFrame) -> pd.Series:
    """Which networks go on from the weights of a round before, where the order in which blocks went counts."""
    return shared["rewind"].str.fullmatch(TUNED.pattern) & (shared["round"] > 1)


def _null_by_construction(rows: pd.DataFrame) -> pd.Series:
    """Where there is nothing to find: the networks are the same, or of one architecture and equally drawn.

    So is a ticket of the only architecture of its size, beside other architectures.
    """
    same = rows["same_architecture"] == 1
    identical = (rows["same_blocks"] == 1) & (rows["same_start"] == 1)
    alike = same & (rows["drawn"] == 1) & rows["control"].isin(SAME_LAW)
    return identical | alike | (same & (rows["control"] == "architecture"))


def _pairs(tickets: pd.DataFrame) -> pd.DataFrame:
    """All pairs of tickets of one size, with the function of the criterion and whose layer ticket is the budget."""
    named = identities(tickets).reset_index()
    settings = tickets.drop_duplicates("ticket")["criterion_settings"].map(json.loads)
    named["function"] = [one["function"] for one in settings]
    named["select"] = [selection(one) for one in settings]
    named["is_control"] = are_controls(tickets.drop_duplicates("ticket")).to_numpy()
    named["budget"] = [one.get("budget") or name for one, name in zip(settings, named["criterion"], strict=True)]
    # the criterion of a layer ticket is what others name as their budget
    return named.merge(named.assign(budget=named["criterion"]), on=SIZE, suffixes=("", "_other"))


def _others(pairs: pd.DataFrame, control: Control) -> pd.DataFrame:
    """Pairs of a ticket and one that is its control."""
    # controls have no controls, but filters drawn at random are compared with layers drawn so
    drawn_filters = pairs["structure"].isin(("filters", "weights")) & (
        (control.column, control.value) == ("structure", "layers")
    )
    found = pairs[control.fits(pairs) & (~pairs["is_control"] | drawn_filters)]
    same = found["scored_at"] == found["scored_at_other"]
    # what is drawn at random looks at no weights, so one that was drawn for other weights serves as well
    return found[same | ~same.groupby(found["ticket"]).transform("any")]


def _shared(tickets: pd.DataFrame, pairs: pd.DataFrame, control: Control) -> pd.DataFrame:
    """Pairs of networks of the tickets and of their controls, by `contrast`; the other's columns end in _other."""
    ours = tickets[NEEDED].assign(contrast=tickets["ticket"])
    others = tickets[[*NEEDED, "ticket"]].rename(columns={"ticket": "ticket_other"})
    theirs = pairs[["ticket", "ticket_other"]].merge(others).rename(columns={"ticket": "contrast"})
    shared = ours.merge(theirs, on=["contrast", *control.paired], suffixes=("", "_other"))
    if (control.column, control.value) != ("function", DEPTHS):
        return shared
    unequal = shared["architecture"] != shared["architecture_other"]
    # a ticket that no other architecture stands beside keeps its own
    return shared[unequal | ~unequal.groupby(shared["contrast"]).transform("any")]
