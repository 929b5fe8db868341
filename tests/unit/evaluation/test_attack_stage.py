"""The stage: what it reads, writes and says."""

import logging

import numpy as np
import pytest
import torch
from tests.unit.evaluation.attacked import floats, plain_pgd
from torch.nn import functional as F

from layerlottery.config.evaluation import AttackSettings
from layerlottery.data.prepared import select_images
from layerlottery.evaluation.attack import attack
from layerlottery.networks.predictor import load_predictor
from layerlottery.networks.resnet import initialize
from layerlottery.networks.weights import build, save_network
from layerlottery.store.artifacts import read_table
from layerlottery.store.schemas import arrow_schema

EVERYTHING = ["fgsm", "pgd", "pgd_restarts", "transfer", "fgsm_l2", "pgd_l2", "fmn", "fmn_l2", "deepfool"]
LINF, IN_L2 = [0.0, 1.0, 8.0], [0.0, 16.0]


@pytest.fixture
def dense(tmp_path):
    """Weights of a network like the bench's, of another seed and depth."""
    architecture = {"network": {"depth": 14, "width": 4}, "channels": 1, "classes": 10, "removed_blocks": []}
    network = build(architecture)
    initialize(network, seed=4)
    save_network(tmp_path / "dense.safetensors", network, {"architecture": architecture}, config_hash="0" * 64)
    return tmp_path / "dense.safetensors"


@pytest.mark.parametrize(("images", "count"), [(20, 20), (None, 60), (1000, 60)])
def test_the_stage_writes_a_row_per_attack_and_epsilon(bench, tmp_path, cpu, images, count):
    settings = AttackSettings(
        attacks=EVERYTHING, epsilons=LINF[1:], l2_epsilons=IN_L2[1:], images=images, pgd_steps=2, norm_steps=2
    )
    attack(bench.weights, bench.data, tmp_path / "attack.parquet", settings, device=cpu)
    table = read_table(tmp_path / "attack.parquet")
    rows = table.to_pylist()
    expected = [("attack", name, e) for name in ("fgsm", "pgd", "pgd_restarts") for e in LINF]
    expected += [("transfer", "pgd", e) for e in LINF]
    expected += [("attack", name, e) for name in ("fgsm_l2", "pgd_l2") for e in IN_L2]
    expected += [("minimum_norm", name, 0) for name in ("fmn", "fmn_l2", "deepfool")]
    assert [(row["kind"], row["name"], row["level"]) for row in rows] == expected
    assert {row["images"] for row in rows} == {count}
    assert len({row["accuracy"] for row in rows if row["level"] == 0}) == 1
    # a column without any value is left out
    assert not {"nll", "brier", "ece", "origin", "temperature"} & set(table.column_names)
    assert all(row["norm"] is None for row in rows if row["kind"] != "minimum_norm")
    known = {field.name: field.type for name in ("robustness", "answers") for field in arrow_schema(name)}
    assert all(field.type == known[field.name] for field in table.schema)


def test_the_stage_attacks_the_chosen_images_of_the_saved_network(bench, tmp_path, cpu):
    settings = AttackSettings(images=30, epsilons=[4.0], attacks=["fgsm"], seed=5)
    attack(bench.weights, bench.data, tmp_path / "attack.parquet", settings, device=cpu)
    model, _ = load_predictor(bench.weights, bench.prepared, cpu)
    test = bench.prepared.split("test")
    chosen = test.take(select_images(test.labels, 30, seed=5))
    assert np.bincount(chosen.labels, minlength=10).tolist() == [3] * 10
    images, labels = floats(chosen)
    images.requires_grad_(True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(images), labels, reduction="sum"), images)
    changed = (images + 4 / 255 * gradient.sign()).clamp(0, 1)
    right = (model(images).argmax(1) == labels) & (model(changed).argmax(1) == labels)
    found = read_table(tmp_path / "attack.parquet")["accuracy"][1].as_py()
    assert found == pytest.approx(100 * float(right.float().mean()))


def test_transfer_reads_the_dense_network(bench, dense, tmp_path, cpu):
    settings = AttackSettings(attacks=["transfer"], epsilons=[32.0], images=None, pgd_steps=5)
    attack(bench.weights, bench.data, tmp_path / "attack.parquet", settings, device=cpu, dense=dense)
    model, source = (load_predictor(path, bench.prepared, cpu)[0] for path in (bench.weights, dense))
    images, labels = floats(bench.prepared.split("test"))
    changed = plain_pgd(source, images, labels, 32 / 255, steps=5, step=8 / 255, seed=9)
    right = (model(images).argmax(1) == labels) & (model(changed).argmax(1) == labels)
    found = round(read_table(tmp_path / "attack.parquet")["accuracy"][1].as_py() * 60 / 100)
    assert abs(found - int(right.sum())) <= 1


def test_the_hash_follows_settings_weights_and_the_dense_network_where_it_is_used(bench, dense, tmp_path, cpu):
    hashes = []
    for name, seed, source in [("fgsm", 0, None), ("fgsm", 1, None), ("fgsm", 0, dense), ("transfer", 0, dense)]:
        settings = AttackSettings(images=10, epsilons=[1.0], attacks=[name], seed=seed, pgd_steps=1)
        attack(bench.weights, bench.data, tmp_path / "attack.parquet", settings, device=cpu, dense=source)
        hashes.append(read_table(tmp_path / "attack.parquet").schema.metadata[b"config_hash"])
    own = AttackSettings(images=10, epsilons=[1.0], attacks=["transfer"], pgd_steps=1)
    attack(bench.weights, bench.data, tmp_path / "attack.parquet", own, device=cpu)
    hashes.append(read_table(tmp_path / "attack.parquet").schema.metadata[b"config_hash"])
    assert hashes[0] == hashes[2]  # fgsm asks no dense network
    assert len(set(hashes)) == 4


def test_a_suspicion_is_logged_in_one_line(bench, tmp_path, cpu, caplog, monkeypatch):
    monkeypatch.setattr("layerlottery.evaluation.attack.gradient_check", lambda rows: ["pgd is weak"])
    settings = AttackSettings(images=10, epsilons=[1.0], attacks=["fgsm"])
    with caplog.at_level(logging.WARNING, logger="layerlottery"):
        attack(bench.weights, bench.data, tmp_path / "attack.parquet", settings, device=cpu)
    assert caplog.messages == ["gradients may be masked: pgd is weak"]
