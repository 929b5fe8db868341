"""The command `show` on networks that the real stages made: what it says is what other readers find in the files."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from tests.unit.trained import DENSE, FILTERS, TICKET, WEIGHTS

from layerlottery import paths
from layerlottery.cli.main import cli
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.weights import load_network
from layerlottery.report.network import file_name, network_text
from layerlottery.store.artifacts import read_tensors, write_tensors
from layerlottery.store.lock import NAME, acquire
from layerlottery.upkeep.show import _ranked, describe, is_damaged
from layerlottery.words import ABSENT


@pytest.fixture
def copied(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "results"))


def shown(*words):
    answer = CliRunner().invoke(cli, ["show", *map(str, words)])
    return answer.exit_code, answer.output


def as_json(folder):
    status, output = shown(folder, "--json")
    assert status in (0, 1)
    return json.loads(output)


def raw(path):
    """A facts file as any JSON reader sees it."""
    return json.loads(path.read_text())["facts"]


def states(description):
    return {file["file"]: file["state"] for file in description["files"]}


# what it says


def test_a_dense_network_says_what_its_files_hold(made):
    folder = made / DENSE.folder
    training, clean = raw(folder / "training.json"), pq.read_table(folder / "shift.parquet").to_pylist()[0]
    found = as_json(folder)
    assert found["identity"] == vars(DENSE) | {"folder": str(folder)}
    assert found["result"] == {
        "accuracy": clean["accuracy"],
        "start_epoch": 0,
        **{name: training[name] for name in ("epochs", "train_images", "train_seconds", "images_per_second")},
    }
    assert found["removal"] is None
    assert found["training"]["segments"] == training["segments"]
    assert found["training"]["kwh"] == pytest.approx(sum(segment["kwh"] for segment in training["segments"]))
    assert found["provenance"]["torch_version"] == torch.__version__
    stamp = json.loads((folder / "training.json").read_text())["artifact"]
    assert found["provenance"]["config_hash"] == stamp["config_hash"]


def test_a_ticket_is_set_against_its_dense_network(made):
    own, dense = (
        next(row["accuracy"] for row in pq.read_table(made / run.folder / "shift.parquet").to_pylist())
        for run in (TICKET, DENSE)
    )
    result = as_json(made / TICKET.folder)["result"]
    assert (result["accuracy"], result["dense_accuracy"]) == (own, dense)
    assert result["delta_accuracy"] == pytest.approx(own - dense)


def test_scores_come_in_order_with_what_became_of_each_block(made):
    ticket = raw(made / TICKET.folder / "ticket.json")
    removal = as_json(made / TICKET.folder)["removal"]
    assert removal["removed_blocks"] == ticket["removed_blocks"]
    by_fate = {}
    for block in removal["scores"]:
        by_fate.setdefault(block["fate"], []).append(block)
    assert {block["name"] for block in by_fate["removed"]} == set(ticket["removed_blocks"])
    assert [block["name"] for block in by_fate["can't go"]] == ["stage1.0", "stage2.0", "stage3.0"]
    scores = [block["score"] for block in removal["scores"] if block["removable"]]
    assert scores == sorted(scores)
    worst = max(block["score"] for block in by_fate["removed"])
    assert all(block["score"] >= worst for block in by_fate["kept"])


@pytest.mark.parametrize(
    ("values", "removed_blocks", "ties", "expected"),
    [
        ([1.0, 2.0, 3.0], ["a"], [], ["removed", "kept", "kept"]),
        ([1.0, 2.0, 3.0], ["b"], [], ["kept, two stay in a stage", "removed", "kept"]),
        ([1.0, 1.0, 3.0], ["a"], ["b"], ["removed", "kept in a tie", "kept"]),
        ([1.0, 2.0, 3.0], None, [], [None, None, None]),
    ],
)
def test_the_fate_of_a_block(values, removed_blocks, ties, expected):
    blocks = [{"name": name, "removable": True, "score": value} for name, value in zip("abc", values, strict=True)]
    fixed = {"name": "first", "removable": False, "score": None}
    ranked = _ranked({"blocks": [fixed, *blocks[::-1]]}, {"removed_blocks": removed_blocks, "ties": ties})
    assert [block["fate"] for block in sorted(ranked, key=lambda block: block["name"])] == [*expected, "can't go"]
    assert ranked[-1]["name"] == "first"


def test_costs_are_those_of_its_own_architecture(made):
    counts = {}
    for run in (DENSE, TICKET):
        model, _ = load_network(made / run.folder / "weights.safetensors")
        cost = as_json(made / run.folder)["cost"]
        counts[run] = cost["params"]
        assert counts[run] == sum(one.numel() for one in model.parameters())
    assert cost["params_reduction"] == pytest.approx(100 * (1 - counts[TICKET] / counts[DENSE]))


def masked_or_length(array):
    return int(array.sum()) if array.dtype == bool else len(array)


@pytest.mark.parametrize("run", [FILTERS, WEIGHTS], ids=["filters", "weights"])
def test_filters_and_weights_are_counted_by_layer(made, run):
    removal = as_json(made / run.folder)["removal"]
    tensors, _ = read_tensors(made / run.folder / "initial.safetensors")
    left = {
        re.sub(r"(\.parametrizations\.weight\.0\.mask|\.weight)$", "", name): masked_or_length(array)
        for name, array in tensors.items()
        if array.ndim == 4 and not name.endswith(".original")
    }
    assert removal["left"] == left
    assert (removal["removed_blocks"], removal["scores"]) == ([], [])
    assert removal["budget"] > 0


def test_evaluations_and_similarities_come_row_by_row(made):
    found, folder = as_json(made / TICKET.folder), made / TICKET.folder
    shifted, attacked, compared = (
        pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("shift", "attack", "similarity")
    )
    # answers to single images are for the tables
    kept = ("answers", "images_hash", "predicted")
    shown = [{name: row[name] for name in row if name not in kept} for row in shifted + attacked]
    assert (found["evaluation"], found["similarity"]) == (shown, compared)
    assert {row["kind"] for row in found["evaluation"]} == {
        *("clean", "shift", "corruption", "attack", "transfer", "minimum_norm"),
    }


# which network


@pytest.mark.parametrize("name", ["", "training.json", "weights.safetensors", "nothing_yet.json"])
def test_a_folder_and_any_file_in_it_are_the_network(made, name):
    assert describe(made / TICKET.folder / name)["identity"]["removed"] == TICKET.removed
    assert describe(made / DENSE.folder / name)["identity"]["removed"] == 0


def test_inside_the_folder_a_dot_will_do(made, monkeypatch):
    monkeypatch.chdir(made / TICKET.folder)
    assert describe(Path())["identity"]["criterion"] == "l1"
    monkeypatch.chdir(made)
    assert describe(Path(TICKET.folder))["identity"]["folder"] == TICKET.folder


def test_a_path_with_a_link_in_it_is_followed(made, tmp_path):
    (tmp_path / "mine").symlink_to(made / TICKET.folder)
    assert describe(tmp_path / "mine")["identity"]["removed"] == TICKET.removed


BETWEEN = [f"{DENSE.folder}/structure=layers", f"{TICKET.scored}/scores.json", f"{TICKET.scored}/removed=9"]


@pytest.mark.parametrize("name", ["", "networks", *BETWEEN])
def test_what_is_no_network_is_one_line_that_says_what_is_allowed(made, name):
    path = made / name
    with pytest.raises(LayerLotteryError) as caught:
        describe(path)
    assert str(caught.value).startswith(f"{path}: no network")
    assert "…/recipe=…" in str(caught.value)
    assert ("no such file" in str(caught.value)) == (not path.exists())
    assert "\n" not in str(caught.value)


# the state of the files


def test_all_files_are_named_and_intact(made):
    for run in (DENSE, TICKET):
        description = as_json(made / run.folder)
        found = states(description)
        assert {name for name in found if "/" not in name} == {path.name for path in (made / run.folder).glob("*.*")}
        assert set(found.values()) == {"intact"}
        assert all(len(file["config_hash"]) == 64 for file in description["files"])
    read = {(made / TICKET.folder / name).resolve() for name in found}
    assert read >= {made / TICKET.scored / "scores.json", made / DENSE.folder / "profile.json"}


def damage(path):
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("weights.safetensors", None),
        ("initial.safetensors", None),
        ("curve.parquet", None),
        ("similarity.parquet", "similarity"),
        ("training.json", "provenance"),
        ("ticket.json", "cost"),
        ("shift.parquet", "evaluation"),
        ("attack.parquet", "evaluation"),
    ],
)
def test_one_damaged_file_is_named_and_the_rest_is_shown(copied, name, lost):
    whole = as_json(copied / TICKET.folder)
    damage(copied / TICKET.folder / name)
    status, text = shown(copied / TICKET.folder)
    assert status == 1
    # what does not fit beside the longest path goes on below
    assert f" {name} damaged: its content does not match its hash" in " ".join(text.split())
    found = as_json(copied / TICKET.folder)
    assert {file: state for file, state in states(found).items() if state != "intact"} == {name: "damaged"}
    changed = {key for key in whole if whole[key] != found[key]} - {"files"}
    assert changed - {"result", "training", "removal"} == ({lost} if lost else set())
    # either source of the accuracy will do
    assert found["result"]["accuracy"] == pytest.approx(whole["result"]["accuracy"])


def test_the_advice_names_the_configuration_of_the_last_run(copied):
    damage(path := copied / TICKET.folder / "shift.parquet")
    command = shlex.join(
        ["snakemake", "--cores", "4", "--configfile", "my own.yaml", "--config", "training={epochs: 2}"]
    )
    (copied / NAME).write_text(json.dumps({"command": command}))
    (reason,) = [file["reason"] for file in as_json(copied / TICKET.folder)["files"] if file["state"] == "damaged"]
    advice = shlex.split(reason.partition("recreate it: ")[2])
    expected = ["--configfile", "my own.yaml", "--config", "training={epochs: 2}"]
    assert advice == ["snakemake", "--cores", "all", str(path), *expected]


def test_a_damaged_file_of_the_dense_network_counts(copied):
    damage(copied / DENSE.folder / "profile.json")
    found = as_json(copied / TICKET.folder)
    assert is_damaged(found)
    assert found["cost"] is None
    assert found["result"]["delta_accuracy"] is not None


def test_an_unfinished_network_shows_what_there_is(made):
    status, text = shown(made / FILTERS.folder)
    assert status == 0
    found = states(as_json(made / FILTERS.folder))
    missing = {name for name, state in found.items() if state == "missing"}
    assert missing == {path.name for path in (made / TICKET.folder).glob("*.*")} - {
        "initial.safetensors",
        "ticket.json",
    }
    assert all(re.search(rf"^{name} +missing$", text, re.MULTILINE) for name in missing)


def test_while_a_benchmark_runs_nothing_is_missing_yet(copied):
    before = states(as_json(copied / FILTERS.folder))
    lock = acquire(copied)
    try:
        text, found = shown(copied / FILTERS.folder)[1], states(as_json(copied / FILTERS.folder))
    finally:
        lock.release()
    assert "missing" in before.values()
    assert found == {name: "not yet" if state == "missing" else state for name, state in before.items()}
    assert re.search(r"^attack.parquet +not yet$", text, re.MULTILINE)


def test_without_its_dense_network_a_ticket_has_no_difference(copied):
    for name in ("shift.parquet", "training.json"):
        (copied / DENSE.folder / name).unlink()
    result = as_json(copied / TICKET.folder)["result"]
    assert (result["dense_accuracy"], result["delta_accuracy"], result["accuracy"] is None) == (None, None, False)


def test_start_weights_of_rewound_tickets_are_checked(copied):
    start = copied / paths.start_weights(DENSE.folder, "2")
    write_tensors(start, {}, {"architecture": {}}, config_hash="made")
    assert states(as_json(copied / DENSE.folder))[start.name] == "intact"
    damage(start)
    assert states(as_json(copied / DENSE.folder))[start.name] == "damaged"


def test_what_no_stage_wrote_is_foreign_and_no_damage(copied):
    foreign = {".training.json.x1y2", "notes.txt", "own.json"}
    for name in foreign:
        (copied / DENSE.folder / name).write_text("{}")
    description = as_json(copied / DENSE.folder)
    assert {name for name, state in states(description).items() if state == "foreign"} == foreign
    assert not is_damaged(description)


# how it looks


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("run", [DENSE, TICKET, FILTERS], ids=["dense", "layers", "filters"])
def test_it_fits_the_terminal_and_loses_nothing(made, run, width):
    description = describe(made / run.folder)
    text = network_text(description, width=width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)
    joined = re.sub(r"\s+", "", text)
    assert re.sub(r"\s+", "", str(made / run.folder)) in joined
    for file in description["files"]:
        assert f"{file_name(file['file'])}{file['state']}" in joined
    for value in description["provenance"].values():
        assert re.sub(r"\s+", "", str(value or ABSENT)) in joined


def test_through_a_pipe_there_are_no_colours_and_a_failure_is_one_line(made, copied):
    damage(copied / DENSE.folder / "curve.parquet")
    environment = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "COLUMNS")}

    def command(path):
        program = "from layerlottery.cli.launcher import main; main()"
        words = [sys.executable, "-c", program, "show", str(path)]
        return subprocess.run(words, capture_output=True, text=True, env=environment, check=False)

    ran = command(copied / DENSE.folder)
    assert (ran.returncode, ran.stderr) == (1, "")
    assert "\x1b" not in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80
    failed = command(made)
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (1, "", 1)
