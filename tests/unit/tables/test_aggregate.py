"""The tables against a results folder made by hand: two seeds, a dense network and its tickets, nothing trained."""

import json
import shutil

import pytest
from tests.unit.tables.by_hand import COUNTS, STUDIES, STUDY, TICKET, settings

from layerlottery import paths
from layerlottery.config.countries import carbon_intensity
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_facts, read_table, write_facts
from layerlottery.store.schemas import TABLES, arrow_schema
from layerlottery.tables.aggregate import aggregate

# of each kind one
NAMED = ("clean", "mnist", "contrast", "fgsm")


def of_l1(table, structures=("none", "layers")):
    return [row for row in table.to_pylist() if row["criterion"] != "random" and row["structure"] in structures]


@pytest.fixture(scope="module")
def runs(tables):
    return {(row["removed"], row["seed"]): row for row in of_l1(tables["runs"])}


@pytest.fixture(scope="module")
def summary(tables):
    return {row["xi"]: row for row in of_l1(tables["summary"])}


@pytest.mark.parametrize("name", TABLES)
def test_schema(tables, name):
    assert tables[name].schema.remove_metadata() == arrow_schema(name)
    assert len(tables[name].schema.metadata[b"config_hash"]) == 64


@pytest.mark.parametrize("name", TABLES)
def test_no_column_is_empty(tables, name):
    # a column that no stage fills would be a promise of the data dictionary that is not kept
    empty = {column for column in tables[name].column_names if tables[name][column].null_count == len(tables[name])}
    # two seeds without kept answers, and no network under two names
    allowed = {"boot_low", "boot_high", "image_variance", "more_seeds", "same_as", "copied_from"}
    assert empty <= allowed or name in ("answers", "agreement")


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
    assert [runs[1, seed]["segments"] for seed in (0, 1)] == [1, 3]
    assert runs[1, 1]["energy_kwh"] == pytest.approx(40e-5)


def test_a_training_names_each_host_and_job_once_and_its_beginning_and_end(runs):
    names = ("host", "slurm_job_id", "started", "ended")
    assert [runs[1, 0][name] for name in names] == ["gpu-0", "40", "2030-01-01T00:00:00Z", "2030-01-01T00:30:00Z"]
    resumed = ["gpu-0, gpu-1", "40, 41", "2030-01-01T00:00:00Z", "2030-01-01T01:30:00Z"]
    assert [runs[1, 1][name] for name in names] == resumed
    assert (runs[1, 1]["git_commit"], runs[1, 1]["cuda_version"], runs[1, 1]["driver_version"]) == ("0123", "13", "600")


def test_facts_without_provenance_leave_it_null(results, tmp_path):
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    path = tmp_path / paths.training_facts(TICKET.folder)
    facts = read_facts(path)
    nowhere = ("host", "slurm_job_id", "started", "ended")
    segments = [{name: held for name, held in part.items() if name not in nowhere} for part in facts.pop("segments")]
    unknown = ("git_commit", "cuda_version", "driver_version", "training_settings")
    kept = {name: held for name, held in facts.items() if name not in unknown}
    write_facts(path, kept | {"segments": segments}, config_hash="t")
    aggregate(tmp_path, settings())
    row = of_l1(read_table(tmp_path / "tables" / "runs.parquet"))[2]
    assert (row["removed"], row["seed"]) == (1, 0)
    assert {row[name] for name in (*nowhere, *unknown)} == {None}
    assert row["torch_version"] == "2"


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
    assert (runs[0, 0]["structure"], runs[0, 0]["removed_blocks"]) == ("none", [])
    assert (runs[1, 0]["structure"], runs[1, 0]["removed_blocks"]) == ("layers", ["stage1.1"])
    assert json.loads(runs[1, 0]["criterion_settings"]) == {"function": "l1", "keep": "high"}
    assert runs[0, 0]["training_settings"] == runs[1, 0]["training_settings"] == '{"epochs":2,"precision":"auto"}'
    assert runs[1, 0]["config_hash"] == f"training of {TICKET.folder}"


def test_robustness_is_paired_by_condition_and_seed(tables):
    rows = {
        (r["removed"], r["seed"], r["kind"], r["level"]): r for r in of_l1(tables["robustness"]) if r["name"] in NAMED
    }
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
        attacked = row["kind"] in ("attack", "transfer", "minimum_norm")
        assert {row[name] is None for name in ("nll", "brier", "ece", "nll_scaled")} == {attacked}


def test_what_only_some_conditions_have(tables):
    for row in tables["robustness"].to_pylist():
        assert row["origin"] == ("generated" if row["kind"] == "corruption" else None)
        assert (row["norm"] is None) == (row["kind"] != "minimum_norm")
    assert {row["temperature"] for row in tables["runs"].to_pylist()} == {1.5}


def test_detection_is_paired_with_the_dense_network(tables):
    rows = {(row["removed"], row["score"]): row for row in of_l1(tables["detection"]) if row["seed"] == 1}
    assert (rows[1, "msp"]["auroc"], rows[1, "msp"]["dense_auroc"], rows[1, "msp"]["delta_auroc"]) == (
        0.8125,
        0.75,
        0.0625,
    )
    assert rows[1, "energy"]["delta_auroc"] == rows[0, "msp"]["delta_auroc"] == 0
    assert {row["config_hash"] for row in rows.values()} == {"detected"}


def test_ranks_follow_the_turned_scores(tables):
    rows = [row for row in of_l1(tables["scores"]) if row["seed"] == 0]
    assert [(row["block"], row["rank"]) for row in rows] == [
        ("stage1.0", 3),
        ("stage1.1", 1),
        ("stage2.0", None),
        ("stage2.1", 2),
    ]
    assert rows[0]["raw"] == -2.0
    assert rows[0]["score"] == 2.0


def test_curves_keep_every_epoch(tables):
    rows = [row for row in of_l1(tables["curves"]) if row["seed"] == 1 and row["removed"] == 1]
    assert [(row["epoch"], row["train_loss"]) for row in rows] == [(1, 0.25), (2, 0.5)]


def test_won_counts_seeds_within_the_tolerance(summary):
    assert summary.keys() == {"0", "1", "sd"}
    assert {xi: row["won"] for xi, row in summary.items()} == {"0": 1, "1": 2, "sd": 2}
    assert (summary["0"]["xi_points"], summary["1"]["xi_points"]) == (0.0, 1.0)
    assert summary["sd"]["xi_points"] == pytest.approx(8**0.5)


def test_summary_means(summary):
    row = summary["1"]
    assert (row["seeds"], row["networks"], row["accuracy"], row["delta_accuracy"]) == (2, 2, 92.0, 0.0)
    assert (row["accuracy_sd"], row["delta_sd"]) == pytest.approx((2**0.5, 2**0.5))
    # t(0.975, 1) = 12.7062
    assert (row["delta_low"], row["delta_high"]) == pytest.approx((-12.7062, 12.7062), rel=1e-5)
    assert row["verdict"] == "undecided"
    assert row["train_speedup"] == pytest.approx(3**0.5)
    assert (row["latency_speedup"], row["macs_reduction"], row["params_reduction"]) == pytest.approx((2, 25, 10))
    # epsilon 0 is no attack
    assert row["attack_delta"] == pytest.approx((0 - 2 - 2 - 4) / 4)
    assert (row["corruption_delta"], row["shift_delta"]) == pytest.approx(((-2 + 0 + 4) / 3, 0))


def test_filters_come_with_their_budget_and_no_removed_block(tables):
    rows = {(row["structure"], row["seed"]): row for row in of_l1(tables["runs"], ("none", "layers", "filters"))}
    assert (rows["filters", 0]["budget"], rows["filters", 0]["filters"], rows["filters", 0]["removed_blocks"]) == (
        90,
        90,
        [],
    )
    assert (rows["layers", 0]["budget"], rows["layers", 0]["filters"]) == (None, 90)
    assert (rows["none", 0]["budget"], rows["none", 0]["filters"]) == (None, 100)
    assert [rows[structure, 1]["ties"] for structure in ("none", "layers", "filters")] == [0, 1, 1]


def test_similarity_of_every_ticket(tables):
    rows = {
        (row["structure"], row["criterion"], row["seed"], row["layer"]): row for row in tables["similarity"].to_pylist()
    }
    assert len(rows) == 12
    assert rows["layers", "random", 1, "penultimate"]["cka"] == 0.75
    assert rows["filters", "l1", 0, "penultimate"]["stage"] is None
    assert {row["config_hash"] for row in rows.values()} == {"compared"}


def test_controls_are_found_by_what_was_recorded(tables):
    rows = {(row["structure"], row["control"]): row for row in tables["comparisons"].to_pylist()}
    assert rows.keys() == {("layers", "random"), ("filters", "layers")}
    # 91 - 88 and 93 - 94; 89 - 91 and 93 - 93
    assert (rows["layers", "random"]["difference"], rows["filters", "layers"]["difference"]) == (1.0, -1.0)
    assert rows["layers", "random"]["sd"] == pytest.approx(8**0.5)


def test_equal_rankings_agree_in_full(tables):
    for row in tables["stability"].to_pylist():
        assert (row["blocks"], row["rankings"], row["kendall_w"]) == (3, 2, pytest.approx(1))


def collected(results, **changes):
    """All tables under other settings; the usual ones come back."""
    aggregate(results, settings(**changes))
    tables = {name: read_table(results / "tables" / f"{name}.parquet").to_pylist() for name in TABLES}
    aggregate(results, settings())
    return tables


def test_one_seed_has_no_interval(results):
    tables = collected(results, studies=[study | {"seeds": [0]} for study in STUDIES])
    rows = {(row["structure"], row["criterion"], row["xi"]): row for row in tables["summary"]}
    assert {row[name] for row in rows.values() for name in ("verdict", "verdict_holm")} == {"single seed"}
    inferred = [
        "delta_sd",
        "delta_se",
        "delta_low",
        "delta_high",
        "p_winning",
        "p_difference_holm",
        "winning",
        "tickets",
    ]
    assert {row[name] for row in rows.values() for name in inferred} == {None}
    assert rows["layers", "l1", "1"]["won"] == 1
    assert {(row["xi_points"], row["won"]) for row in rows.values() if row["xi"] == "sd"} == {(None, None)}
    # random removal drew the same blocks
    assert {row["outcome"] for row in tables["comparisons"]} == {"single seed", "null by construction"}
    inferred = ["sd", "low", "high", "boot_low", "boot_high", "p_value", "p_holm", "compared"]
    assert {row[name] for row in tables["comparisons"] for name in inferred} == {None}
    assert {row[name] for row in tables["stability"] for name in ("kendall_w", "p_value")} == {None}


def test_a_study_that_only_scores_leaves_empty_tables(results):
    tables = collected(results, studies=[STUDY | {"removed": []}])
    assert tables["summary"] == tables["comparisons"] == tables["similarity"] == []
    assert len(tables["scores"]) == COUNTS["scores"]
    assert {row["structure"] for row in tables["runs"]} == {"none"}


def test_no_study_at_all_is_empty_and_valid(results, tmp_path):
    assert aggregate(tmp_path, settings(studies=[])) == dict.fromkeys(TABLES, 0)
    for name in TABLES:
        table = read_table(tmp_path / "tables" / f"{name}.parquet")
        assert (len(table), table.schema.remove_metadata()) == (0, arrow_schema(name))
