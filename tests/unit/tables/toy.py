"""Toy networks as the statistics take them: rows of the table runs in their order, with or without kept answers."""

import json

import numpy as np
import pandas as pd

from layerlottery.tables.inference import Inference, Measured
from layerlottery.tables.measures import CLEAN, CLEAN_ACCURACY
from layerlottery.tables.resilience import resilience

FAMILY = ["dataset", "network", "seed"]


class Kept:
    """Answers (places, images) to the clean test set alone, or none; `lacking` are places whose were not kept."""

    def __init__(self, answers=None, lacking=()):
        self.answers, self.lacking = answers, lacking

    def lists(self, places, conditions):
        return np.array([-1 if self.answers is None or place in self.lacking else 0 for place in places])

    def right(self, places, conditions):
        assert not set(self.lacking) & set(places)
        return self.answers[places]


class OnlyAccuracy:
    """The one measure that these networks have."""

    def __init__(self, networks):
        values = networks["accuracy"].to_numpy(float)
        self.measured = Measured(values, None, {place: [CLEAN] for place in networks["place"]})

    def each(self, networks):
        yield CLEAN_ACCURACY, self.measured


def filled(networks, **defaults):
    return networks.assign(**{name: value for name, value in defaults.items() if name not in networks})


def placed(rows):
    """The networks as a frame, each with its place and that of its dense network."""
    networks = pd.DataFrame(rows).reset_index(names="place")
    own = networks[networks["removed"] == 0].set_index(FAMILY)["place"]
    known = pd.MultiIndex.from_frame(networks[FAMILY])
    networks["dense"] = own.reindex(known).fillna(-1).to_numpy(int) if len(own) else -1
    networks = filled(
        networks, removed_blocks=None, architecture=None, power_source="cpu_load", step=0, macs=1, params=1
    )
    trainings = [f"training {place}" for place in networks["place"]]
    networks = filled(networks, round=(networks["removed"] > 0).astype(int), config_hash=trainings)
    if "criterion_settings" not in networks:
        networks["criterion_settings"] = [json.dumps({"function": name}) for name in networks["criterion"]]
    networks["architecture"] = networks["architecture"].fillna(networks["place"].astype(str))
    # blocks of their own, in the stage that an architecture is named after
    lost = zip(networks["removed_blocks"], networks["architecture"], networks["place"], strict=True)
    networks["removed_blocks"] = [own or [f"{stage}.{at}"] for own, stage, at in lost]
    return networks


def inferred(networks, settings, answers=None, lacking=()):
    """What the table resilience says of the accuracy of these networks, and what infers it."""
    measured, inference = OnlyAccuracy(networks), Inference(networks, Kept(answers, lacking), settings)
    return resilience(networks, measured, inference), measured.measured, inference


def records(frame):
    """Rows as dictionaries, None where there is no value."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def answers_of(logits, *, seed=0):
    """Answers drawn from logits (networks, images)."""
    drawn = np.random.default_rng(seed).random(logits.shape)
    return (drawn < 1 / (1 + np.exp(-logits))).astype(np.uint8)
