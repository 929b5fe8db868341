"""The stage `score`: its file, its draws, its ties."""

import logging
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from layerlottery.config.criteria import CRITERIA
from layerlottery.config.data import Digits
from layerlottery.criteria.score import score, score_blocks, scoring_batch
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import FACTS, PreparedSet
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.resnet import initialize
from layerlottery.networks.selection import removal_order
from layerlottery.networks.weights import build, save_network
from layerlottery.store.artifacts import read_facts
from layerlottery.store.hashing import derived_seed

CPU = torch.device("cpu")
ARCHITECTURE = {"network": {"depth": 20, "width": 2}, "channels": 1, "classes": 10, "removed_blocks": []}


class Bench(NamedTuple):
    """A network, the file of its weights and the facts file of its images."""

    model: torch.nn.Module
    weights: Path
    data: Path


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    prepare(Digits(source="digits", train_size=50, test_size=10), folder)
    model = build(ARCHITECTURE)
    initialize(model, seed=3)
    # two blocks that no criterion of weights can tell apart
    model.stage2[2].load_state_dict(model.stage2[1].state_dict())
    save_network(folder / "weights.safetensors", model, {"architecture": ARCHITECTURE}, config_hash="0" * 64)
    return Bench(model, folder / "weights.safetensors", folder / FACTS)


def scored(bench, folder, chosen, **options):
    output = folder / "scores.json"
    score(bench.weights, bench.data, output, chosen, **{"seed": 5, "device": CPU, **options})
    return read_facts(output)


def raw_values(record):
    return {row["name"]: row["raw"] for row in record["blocks"] if row["removable"]}


@pytest.mark.parametrize("name", ["random", "snip"])
def test_draw_zero_is_the_seed_itself(name, bench, tmp_path):
    chosen = CRITERIA[name].model_copy(update={"images_per_class": 2})
    batch = scoring_batch(PreparedSet.open(bench.data), 2, seed=5, device=CPU)
    expected = score_blocks(bench.model, batch, chosen, seed=5)
    assert raw_values(scored(bench, tmp_path, chosen)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["random", "random_spread", "snip", "kl"])
def test_draws_differ_and_repeat(name, bench, tmp_path):
    chosen = CRITERIA[name].model_copy(update={"images_per_class": 2})
    records = [scored(bench, tmp_path, chosen, draw=draw) for draw in (0, 1, 2, 1)]
    values = [raw_values(record) for record in records]
    assert values[1] == values[3]
    assert values[0] != values[1] != values[2] != values[0]
    hashes = [record["config_hash"] for record in records]
    assert hashes[1] == hashes[3]
    assert len(set(hashes)) == 3


def test_draws_of_other_seeds_are_others(bench, tmp_path):
    orders = [
        tuple(removal_order(scored(bench, tmp_path, CRITERIA["random"], seed=seed, draw=draw)["blocks"]))
        for seed in range(3)
        for draw in range(3)
    ]
    # 48 orders of one block a stage are equally likely
    assert len(set(orders)) > 5


def test_a_draw_is_a_seed_of_its_own(bench, tmp_path):
    drawn = scored(bench, tmp_path, CRITERIA["random"], seed=5, draw=2)
    as_seed = scored(bench, tmp_path, CRITERIA["random"], seed=derived_seed("draw", 5, 2))
    assert raw_values(drawn) == raw_values(as_seed)


def test_equal_blocks_are_recorded_as_ties_in_one_line(bench, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="layerlottery"):
        record = scored(bench, tmp_path, CRITERIA["l1"])
    assert record["ties"] == ["stage2.1", "stage2.2"]
    assert [message for message in caplog.messages if "equal" in message] == [
        "l1: equal scores, ranked in network order: stage2.1, stage2.2"
    ]
    order = removal_order(record["blocks"])
    assert "stage2.1" in order
    assert "stage2.2" not in order


def test_no_ties_no_line(bench, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="layerlottery"):
        assert scored(bench, tmp_path, CRITERIA["snip"].model_copy(update={"images_per_class": 2}))["ties"] == []
    assert not [message for message in caplog.messages if "equal" in message]


def test_rows_of_low_keeping_criteria_turn_the_sign(bench, tmp_path):
    chosen = CRITERIA["grasp"].model_copy(update={"images_per_class": 2})
    for row in scored(bench, tmp_path, chosen)["blocks"]:
        assert row["score"] == (-row["raw"] if row["removable"] else None)


def test_rows_of_criteria_that_score_again_hold_value_and_round(bench, tmp_path):
    chosen = CRITERIA["l1"].model_copy(update={"select": "one_by_one"})
    once, again = (scored(bench, tmp_path, one) for one in (CRITERIA["l1"], chosen))
    assert raw_values(once) == raw_values(again)
    rounds = {row["name"]: row["score"] for row in again["blocks"] if row["removable"]}
    # weights do not change, so the rounds follow the values: one block of each stage, the stages' lowest first
    assert [rounds[name] for name in removal_order(once["blocks"])] == [0, 1, 2]
    assert sorted(rounds.values()) == [0, 1, 2, 3, 3, 3]
    assert all(row["raw"] is None and row["score"] is None for row in again["blocks"] if not row["removable"])


def test_data_free_criteria_read_no_image(bench, tmp_path):
    assert scored(bench, tmp_path, CRITERIA["synflow"])["images"] == 0
    assert scored(bench, tmp_path, CRITERIA["expectabs"].model_copy(update={"images_per_class": 3}))["images"] == 30


def test_more_images_than_there_are(bench, tmp_path):
    with pytest.raises(LayerLotteryError, match="images_per_class: found 10; this training set gives at most 5"):
        scored(bench, tmp_path, CRITERIA["kl"])
