"""Every stage that reads a prepared set gives with an encoded one what it gives with the decoded one."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.unit.data.encoded_sets import twins

from layerlottery.config.criteria import CriterionSettings
from layerlottery.config.evaluation import (
    AttackSettings,
    CompareSettings,
    CorruptionSettings,
    EvaluationSettings,
    OutlierSettings,
)
from layerlottery.config.networks import NetworkSettings
from layerlottery.config.results import ProfileSettings
from layerlottery.config.training import TrainingSettings
from layerlottery.cost.profile import profile
from layerlottery.criteria.score import score
from layerlottery.data.prepared import PreparedSet
from layerlottery.evaluation.compare import compare
from layerlottery.evaluation.evaluate import evaluate
from layerlottery.networks.initialize import initialize_network
from layerlottery.networks.prune import prune
from layerlottery.store.artifacts import read_facts, read_tensors
from layerlottery.training.rewind import rewind
from layerlottery.training.train import train

CPU = torch.device("cpu")
TRAINING = TrainingSettings(epochs=2, batch_size=15)
TESTS = EvaluationSettings(
    attack=AttackSettings(attacks=["fgsm"], epsilons=[8.0], images=12),
    corruptions=CorruptionSettings(names=["contrast", "fog"], severities=[2], images=10),
    outliers=OutlierSettings(images=6),
)
STAGES = {
    "initialize": "initial.safetensors",
    "score": "scores.json",
    "prune": "ticket.safetensors",
    "train": "trained/weights.safetensors",
    "the curve of train": "trained/curve.parquet",
    "rewind": "start.safetensors",
    "profile": "profile.json",
    "compare": "similarity.parquet",
    "corrupt": "tested/corrupted_images.npy",
    "outliers": "tested/outlier_images.npy",
    "shift": "tested/shift.parquet",
    "detection": "tested/detection.parquet",
    "attack": "tested/attack.parquet",
}
# these differ between any two runs, or name the set that a file was made of
APART = ("seconds", "latency_ms")


def run_all(data, folder):
    initial, ticket = folder / "initial.safetensors", folder / "ticket.safetensors"
    network = NetworkSettings(depth=20, width=2)
    initialize_network(data, initial, network, seed=0, asked=("removed", "tiny", 1))
    snip = CriterionSettings(function="snip", images_per_class=3)
    score(initial, data, folder / "scores.json", snip, seed=0, device=CPU)
    prune(initial, folder / "scores.json", ticket, folder / "ticket.json", removed=1)
    train(initial, data, folder / "dense", TRAINING, seed=0, device=CPU)
    train(ticket, data, folder / "trained", TRAINING, seed=0, device=CPU)
    rewind(initial, data, folder / "start.safetensors", TRAINING, epoch=1, seed=0, device=CPU)
    quick = ProfileSettings(rounds=1, min_seconds=0.001, latency_batch=2)
    profile(
        initial, [folder / "ticket.json"], data, folder / "profile.json", quick, batch_size=8, threads=1, device=CPU
    )
    weights, dense = (folder / name / "weights.safetensors" for name in ("trained", "dense"))
    compare(weights, dense, data, folder / "similarity.parquet", CompareSettings(images=9), device=CPU)
    evaluate(weights, data, folder / "tested", TESTS, device=CPU)
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    return [run_all(data, data.parent) for data in twins(folder, held_out=6)]


def values(path):
    """What a file says, without times and hashes."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        kept = [name for name in table.column_names if name not in APART and not name.endswith("_hash")]
        return table.select(kept).to_pydict()
    if path.suffix == ".npy":
        return np.load(path).tolist()
    if path.suffix == ".json":
        text = json.dumps(read_facts(path) | {"config_hash": ""})
        return json.loads(text, object_hook=lambda held: {key: held[key] for key in held if key not in APART})
    return {name: array.tolist() for name, array in read_tensors(path)[0].items()}


@pytest.mark.parametrize("stage", STAGES)
def test_values_are_those_of_the_decoded_set(both, stage):
    decoded, encoded = (values(folder / STAGES[stage]) for folder in both)
    assert decoded
    assert repr(encoded) == repr(decoded)


def test_the_twins_are_told_apart(both):
    decoded, encoded = (PreparedSet.open(folder / "facts.json") for folder in both)
    assert encoded.split("train").is_encoded
    assert not decoded.split("train").is_encoded
    assert decoded.content != encoded.content
