"""The tables against a results folder made by hand: two seeds, a dense network and its tickets, nothing trained."""

import json

import pandas as pd
import pyarrow as pa
import pytest

from layerlottery import paths
from layerlottery.benchmark import AggregateSettings, Run
from layerlottery.cost.carbon import carbon_intensity
from layerlottery.errors import LayerLotteryError
from layerlottery.results.aggregate import aggregate
from layerlottery.results.artifacts import read_table, write_facts, write_table
from layerlottery.results.schemas import TABLES, arrow_schema

DENSE = [Run("digits", "resnet20", seed) for seed in (0, 1)]
TICKETS = [Run("digits", "resnet20", seed, "layers", "l1", "init", 1, 0) for seed in (0, 1)]
ACCURACY = {DENSE[0]: 90.0, DENSE[1]: 94.0, TICKETS[0]: 91.0, TICKETS[1]: 93.0}
SECONDS = {DENSE[0]: 40.0, DENSE[1]: 60.0, TICKETS[0]: 20.0, TICKETS[1]: 40.0}
REMOVED = {TICKETS[0]: ["stage1.1"], TICKETS[1]: ["stage3.2"]}
SETTINGS = {"function": "l1", "keep": "high"}

STUDY = {
    "name": "by_hand",
    "datasets": ["digits"],
    "networks": ["resnet20"],
    "seeds": [0, 1],
    "criteria": ["l1"],
    "densities": [1],
}


def settings(**changes):
    given = {"studies": [STUDY], "energy": {"carbon_intensity": 0.5, "lacoste_intensity": 0.4}}
    return AggregateSettings.model_validate(given | {"statistics": {"xi": [0.0, 1.0, "sd"]}} | changes)


def segment(run, share):
    """Part of a training that drew 100 W by its design power."""
    kwh = SECONDS[run] * share * 1e-5
    parts = {"cpu_kwh": 0.5 * kwh, "gpu_kwh": 0.0, "ram_kwh": 0.5 * kwh}
    return {"kwh": kwh, "seconds": SECONDS[run] * share, "design_watts": 100.0, "power_source": "cpu_load"} | parts


def write_training(root, run):
    # the second ticket was interrupted once
    segments = [segment(run, 0.25), segment(run, 0.75)] if run == TICKETS[1] else [segment(run, 1)]
    facts = {
        "accuracy": -1.0,  # the tables take the clean test set's
        "epochs": 2,
        "train_images": 100,
        "train_seconds": SECONDS[run],
        "images_per_second": 200 / SECONDS[run],
        "segments": segments,
        "device": "a CPU",
        "threads": 1,
        "precision": "float32",
        "seed": run.seed,
        "package_version": "1.2.3",
        "torch_version": "2",
    }
    write_facts(root / paths.training_facts(run.folder), facts, config_hash=f"training of {run.folder}")
    names = ["learning_rate", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds"]
    rows = [{"epoch": epoch} | dict.fromkeys(names, epoch / 4) for epoch in (1, 2)]
    write_table(root / paths.curve(run.folder), pa.Table.from_pylist(rows), config_hash="c")


def write_conditions(root, run):
    fields = ["kind", "name", "level", "accuracy", "nll", "brier", "ece", "images"]
    schema = pa.schema([arrow_schema("robustness").field(name) for name in fields])
    trust = {"nll": 0.25, "brier": 0.125, "ece": 0.0625, "images": 100}
    accuracy = ACCURACY[run]
    shift = [
        {"kind": "clean", "name": "clean", "level": 0.0, "accuracy": accuracy} | trust,
        {"kind": "shift", "name": "mnist", "level": 0.0, "accuracy": accuracy - 40} | trust,
        {"kind": "corruption", "name": "contrast", "level": 3.0, "accuracy": accuracy - 10 - 2 * run.density} | trust,
    ]
    attack = [
        {"kind": "attack", "name": "fgsm", "level": level, "accuracy": accuracy - 5 * level - run.density * level}
        for level in (0.0, 1.0, 3.0)
    ]
    attack = [row | {"images": 50} for row in attack]
    for path, rows in ((paths.shift, shift), (paths.attack, attack)):
        write_table(root / path(run.folder), pa.Table.from_pylist(rows, schema), config_hash=f"{path.__name__} made")


def write_family(root, dense, ticket):
    cost = {"params": 1000, "macs": 8000, "memory_bytes": 4000, "latency_ms": 4.0}
    smaller = {"params": 900, "macs": 6000, "memory_bytes": 3000, "latency_ms": 2.0}
    architectures = [{"removed": []} | cost, {"removed": REMOVED[ticket]} | smaller]
    facts = {"architectures": architectures, "batch_size": 64, "latency_batch": 1, "latency_threads": 1}
    write_facts(root / paths.profile(dense.folder), facts, config_hash="p")
    facts = {"density": 1, "removed": REMOVED[ticket], "kept": [], "ties": [], "criterion_settings": SETTINGS}
    write_facts(root / paths.ticket_facts(ticket.folder), facts, config_hash="t")
    blocks = [
        {"name": "stage1.0", "stage": "stage1", "removable": True, "raw": -2.0, "score": 2.0},
        {"name": "stage1.1", "stage": "stage1", "removable": True, "raw": 1.0, "score": -1.0},
        {"name": "stage2.0", "stage": "stage2", "removable": False, "raw": None, "score": None},
        {"name": "stage2.1", "stage": "stage2", "removable": True, "raw": 1.0, "score": 0.5},
    ]
    write_facts(root / paths.scores(ticket.scored), {"settings": SETTINGS, "blocks": blocks}, config_hash="s")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    for run in [*DENSE, *TICKETS]:
        write_training(root, run)
        write_conditions(root, run)
    for dense, ticket in zip(DENSE, TICKETS, strict=True):
        write_family(root, dense, ticket)
    return root


@pytest.fixture(scope="module")
def tables(results):
    counts = aggregate(results, settings())
    assert counts == {"runs": 4, "robustness": 24, "curves": 8, "scores": 8, "summary": 3}
    return {name: read_table(results / "tables" / f"{name}.parquet") for name in TABLES}


@pytest.fixture(scope="module")
def runs(tables):
    return {(row["density"], row["seed"]): row for row in tables["runs"].to_pylist()}


@pytest.fixture(scope="module")
def summary(tables):
    return {row["xi"]: row for row in tables["summary"].to_pylist()}


@pytest.mark.parametrize("name", TABLES)
def test_schema(tables, name):
    assert tables[name].schema.remove_metadata() == arrow_schema(name)
    assert len(tables[name].schema.metadata[b"config_hash"]) == 64


@pytest.mark.parametrize("name", TABLES)
def test_no_column_is_empty(tables, name):
    # a column that no stage fills would be a promise of the data dictionary that is not kept
    empty = [column for column in tables[name].column_names if tables[name][column].null_count == len(tables[name])]
    assert empty == []


def test_accuracy_is_paired_by_seed(runs):
    assert [runs[1, seed]["accuracy"] for seed in (0, 1)] == [91.0, 93.0]
    assert [runs[1, seed]["dense_accuracy"] for seed in (0, 1)] == [90.0, 94.0]
    assert [runs[1, seed]["delta_accuracy"] for seed in (0, 1)] == [1.0, -1.0]
    assert [runs[0, seed]["delta_accuracy"] for seed in (0, 1)] == [0.0, 0.0]


def test_costs_come_from_the_profile_of_the_same_architecture(runs):
    assert (runs[1, 0]["params"], runs[1, 0]["macs"], runs[1, 0]["latency_ms"]) == (900, 6000, 2.0)
    assert (runs[0, 0]["params"], runs[0, 0]["macs"], runs[0, 0]["latency_ms"]) == (1000, 8000, 4.0)
    assert (runs[1, 0]["macs_reduction"], runs[1, 0]["memory_reduction"]) == (25.0, 25.0)
    assert (runs[0, 1]["macs_reduction"], runs[0, 1]["train_speedup"]) == (0.0, 1.0)


def test_times_and_energy(runs):
    assert [runs[1, seed]["train_speedup"] for seed in (0, 1)] == [2.0, 1.5]
    assert [runs[1, seed]["energy_reduction"] for seed in (0, 1)] == pytest.approx([50.0, 100 / 3])
    for row in runs.values():
        assert row["cpu_kwh"] + row["gpu_kwh"] + row["ram_kwh"] == pytest.approx(row["energy_kwh"])


def test_co2_is_energy_times_intensity(runs):
    for row in runs.values():
        assert row["carbon_intensity"] == 0.5
        assert row["co2_kg"] == pytest.approx(row["train_seconds"] * 1e-5 * 0.5)


def test_co2_of_lacoste_is_design_power_times_time(runs):
    for row in runs.values():
        assert row["co2_lacoste_kg"] == pytest.approx(100 / 1000 * row["train_seconds"] / 3600 * 0.4)


def test_an_interrupted_training_is_the_sum_of_its_segments(runs):
    assert [runs[1, seed]["segments"] for seed in (0, 1)] == [1, 2]
    assert runs[1, 1]["energy_kwh"] == pytest.approx(40e-5)


def test_country_gives_the_intensity(results):
    aggregate(results, settings(energy={"country": "FRA"}))
    rows = read_table(results / "tables" / "runs.parquet").to_pylist()
    aggregate(results, settings())
    assert {row["carbon_intensity"] for row in rows} == {carbon_intensity("FRA")}


def test_unknown_country_is_one_line(results):
    with pytest.raises(LayerLotteryError, match=r"^energy\.country: .*'XYZ'.*allowed"):
        aggregate(results, settings(energy={"country": "XYZ"}))


def test_identity_and_provenance(runs):
    assert runs[0, 0]["criterion"] is runs[0, 0]["scored_at"] is runs[0, 0]["criterion_settings"] is None
    assert (runs[0, 0]["structure"], runs[0, 0]["removed"]) == ("none", [])
    assert (runs[1, 0]["structure"], runs[1, 0]["removed"]) == ("layers", ["stage1.1"])
    assert json.loads(runs[1, 0]["criterion_settings"]) == SETTINGS
    assert runs[1, 0]["config_hash"] == f"training of {TICKETS[0].folder}"


def test_robustness_is_paired_by_condition_and_seed(tables):
    rows = {(r["density"], r["seed"], r["kind"], r["level"]): r for r in tables["robustness"].to_pylist()}
    assert len(rows) == 24
    assert rows[1, 0, "attack", 1.0]["delta_accuracy"] == 1.0 - 1
    assert rows[1, 1, "attack", 3.0]["delta_accuracy"] == -1.0 - 3
    assert rows[1, 0, "corruption", 3.0]["delta_accuracy"] == 1.0 - 2
    assert rows[1, 1, "shift", 0.0]["delta_accuracy"] == -1.0
    assert rows[0, 1, "attack", 3.0]["delta_accuracy"] == 0.0
    assert (rows[1, 0, "attack", 1.0]["config_hash"], rows[1, 0, "clean", 0.0]["config_hash"]) == (
        "attack made",
        "shift made",
    )


def test_attacks_have_no_calibration(tables):
    for row in tables["robustness"].to_pylist():
        assert (row["nll"] is None) == (row["kind"] == "attack")


def test_ranks_follow_the_turned_scores(tables):
    rows = [row for row in tables["scores"].to_pylist() if row["seed"] == 0]
    assert [(row["block"], row["rank"]) for row in rows] == [
        ("stage1.0", 3),
        ("stage1.1", 1),
        ("stage2.0", None),
        ("stage2.1", 2),
    ]
    assert rows[0]["raw"] == -2.0
    assert rows[0]["score"] == 2.0


def test_curves_keep_every_epoch(tables):
    rows = [row for row in tables["curves"].to_pylist() if row["seed"] == 1 and row["density"] == 1]
    assert [(row["epoch"], row["train_loss"]) for row in rows] == [(1, 0.25), (2, 0.5)]


def test_won_counts_seeds_within_the_tolerance(summary):
    assert summary.keys() == {"0", "1", "sd"}
    assert {xi: row["won"] for xi, row in summary.items()} == {"0": 1, "1": 2, "sd": 2}
    assert (summary["0"]["xi_points"], summary["1"]["xi_points"]) == (0.0, 1.0)
    assert summary["sd"]["xi_points"] == pytest.approx(8**0.5)


def test_a_loss_of_exactly_xi_wins_whatever_the_rounding():
    from layerlottery.results.aggregate import _verdicts

    # 100 of 10,000 images: in floating point some of these differences are a hair below -1
    for correct in range(0, 9901):
        delta = 100 * correct / 10_000 - 100 * (correct + 100) / 10_000
        rows = [{"delta_accuracy": delta, "accuracy": 90.0}] * 2
        found = _verdicts(rows, rows, settings(statistics={"xi": [1.0]}))
        assert (found[0]["won"], found[0]["verdict"]) == (2, "winning"), correct


def test_summary_means(summary):
    row = summary["1"]
    assert (row["seeds"], row["accuracy"], row["delta_accuracy"]) == (2, 92.0, 0.0)
    assert (row["accuracy_sd"], row["delta_sd"]) == pytest.approx((2**0.5, 2**0.5))
    # t(0.975, 1) = 12.7062
    assert (row["delta_low"], row["delta_high"]) == pytest.approx((-12.7062, 12.7062), rel=1e-5)
    assert row["verdict"] == "undecided"
    assert row["train_speedup"] == pytest.approx(3**0.5)
    assert (row["latency_speedup"], row["macs_reduction"], row["params_reduction"]) == pytest.approx((2, 25, 10))
    # epsilon 0 is no attack
    assert row["attack_delta"] == pytest.approx((0 - 2 - 2 - 4) / 4)
    assert (row["corruption_delta"], row["shift_delta"]) == pytest.approx((-2, 0))


def test_one_seed_has_no_interval(results, tmp_path):
    aggregate(results, settings(studies=[STUDY | {"seeds": [0]}]))
    rows = {row["xi"]: row for row in read_table(results / "tables" / "summary.parquet").to_pylist()}
    aggregate(results, settings())
    assert {row["verdict"] for row in rows.values()} == {"single seed"}
    assert (rows["1"]["won"], rows["1"]["delta_sd"], rows["1"]["delta_low"]) == (1, None, None)
    assert (rows["sd"]["xi_points"], rows["sd"]["won"]) == (None, None)


def test_a_missing_file_is_named(results, tmp_path):
    with pytest.raises(LayerLotteryError, match=r"seed=2/profile\.json: no such file$"):
        aggregate(results, settings(studies=[STUDY | {"seeds": [0, 1, 2]}]))


@pytest.mark.parametrize("name", TABLES)
def test_three_readers_agree(results, tables, name):
    import duckdb
    import polars

    path = results / "tables" / f"{name}.parquet"
    expected = tables[name].to_pylist()
    assert polars.read_parquet(path).to_dicts() == expected
    found = duckdb.sql(f"select * from read_parquet('{path}')")  # noqa: S608
    columns = found.columns
    assert [dict(zip(columns, row, strict=True)) for row in found.fetchall()] == expected
    frame = pd.read_parquet(path)
    assert list(frame.columns) == tables[name].column_names
    for column in frame:
        kept = frame[column].map(lambda value: value.tolist() if hasattr(value, "tolist") else value)
        found = [None if isinstance(value, float) and pd.isna(value) else value for value in kept]
        assert found == [row[column] for row in expected], column


def test_removed_is_a_list_everywhere(results):
    import duckdb
    import polars

    path = results / "tables" / "runs.parquet"
    assert polars.read_parquet(path)["removed"].to_list() == [[], [], ["stage1.1"], ["stage3.2"]]
    found = duckdb.sql(f"select len(removed) from '{path}' order by density, seed").fetchall()  # noqa: S608
    assert found == [(0,), (0,), (1,), (1,)]
    assert pd.read_parquet(path)["removed"].map(len).tolist() == [0, 0, 1, 1]
