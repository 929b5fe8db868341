"""Result tables typed by hand: every test states the figures that it is about, all other columns are null."""

import json

import pytest

from layerlottery.config.criteria import CRITERIA
from layerlottery.config.studies import TabulateSettings
from layerlottery.paper.measure import Results
from layerlottery.paper.rows import Context
from layerlottery.store.schemas import TABLES


def _row(table, **columns):
    return dict.fromkeys(column.name for column in TABLES[table]) | columns


def _identity(seed=0, criterion="snip", removed=1, **columns):
    start = {"dataset": "cifar10", "network": "resnet32", "structure": "layers", "draw": 0}
    named = {"seed": seed, "criterion": criterion, "removed": removed, "scored_at": "init", "rewind": "0", "step": 0}
    return start | named | columns


@pytest.fixture
def run():
    """A function that makes a row of runs: ResNet32 without one block on 2,000 images of CIFAR-10 by default."""

    def make(delta=None, **columns):
        identity = _identity(**columns)
        settings = CRITERIA[identity["criterion"]].model_dump() if identity["criterion"] in CRITERIA else {}
        recorded = {"train_images": 2000, "criterion_settings": json.dumps(settings), "delta_accuracy": delta}
        recorded |= {"power_source": "rapl"}
        counted = {"macs_reduction": 6.826 * identity["removed"]}
        return _row("runs", **recorded | counted | identity)

    return make


@pytest.fixture
def condition():
    """A function that makes a row of robustness."""

    def make(delta, kind, name, level=0.0, **columns):
        measured = {"delta_accuracy": delta, "kind": kind, "name": name, "level": level, "images": 100}
        return _row("robustness", **_identity(**columns) | measured)

    return make


@pytest.fixture
def similar():
    """A function that makes a row of similarity."""

    def make(cka, layer="penultimate", **columns):
        return _row("similarity", **_identity(**columns) | {"cka": cka, "layer": layer})

    return make


@pytest.fixture
def score():
    """A function that makes a row of scores."""

    def make(block, raw, **columns):
        place = {"block": block, "stage": block.split(".")[0], "removable": raw is not None, "raw": raw}
        return _row("scores", **{"criterion": "l1"} | _identity(**{"criterion": "l1"} | columns) | place)

    return make


@pytest.fixture
def ticket():
    """A function that makes a row of summary or comparisons, which have no seed of their own."""

    def make(table, **columns):
        known = {column.name for column in TABLES[table]}
        return _row(table, **{name: value for name, value in _identity(**columns).items() if name in known})

    return make


@pytest.fixture
def context():
    """A function that puts tables and studies together; a study has one seed unless it says otherwise."""

    def make(*studies, runs=(), training=None, tuning=None, margins=None, **tables):
        plain = {
            "datasets": ["cifar10"],
            "networks": ["resnet32"],
            "seeds": [0],
            "criteria": ["snip"],
            "removed": [1],
        }
        named = [{"name": f"study{number}"} | plain | study for number, study in enumerate(studies)]
        given = {"studies": named, "training": {"epochs": 8} | (training or {}), "margins": margins or {}}
        given |= {"fine_tuning": tuning} if tuning else {}
        return Context(Results(list(runs), **tables), TabulateSettings.model_validate(given))

    return make
