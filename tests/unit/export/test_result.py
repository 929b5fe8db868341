"""The command `export`: a trained network of a benchmark, as others can use it."""

import json
import re
import shlex
import shutil
import sys

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import load_file
from tests.unit.export.test_card import rows
from tests.unit.trained import DENSE, TICKET, TRAINING, WEIGHTS

from layerlottery import paths
from layerlottery.cli.main import cli
from layerlottery.config.studies import AggregateSettings, Study
from layerlottery.errors import LayerLotteryError
from layerlottery.export.result import export_result
from layerlottery.networks.weights import load_network
from layerlottery.store.artifacts import read_tensors
from layerlottery.tables.aggregate import aggregate
from layerlottery.upkeep.show import describe

# the program's own weights are wiped, so that those of the file are seen to load
LOADED = """
import torch, safetensors.torch
network = torch.export.load("{folder}/network.pt2").module()
for tensor in network.state_dict().values():
    tensor.zero_()
network.load_state_dict(safetensors.torch.load_file("{folder}/weights.safetensors"))
logits = network(torch.from_numpy(images)).detach().numpy()
"""


def images(count=6):
    return np.random.default_rng(0).random((count, 1, 8, 8), dtype=np.float32)


def expected(made, run, seen):
    """Logits of the network of a run, normalised by hand."""
    network, _ = load_network(made / run.folder / "weights.safetensors")
    facts = json.loads((made / "datasets" / "dataset=digits" / "facts.json").read_text())["facts"]
    with torch.no_grad():
        return network.eval()((torch.from_numpy(seen) - facts["mean"][0]) / facts["std"][0])


@pytest.fixture(scope="module")
def exported(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    answer = CliRunner().invoke(cli, ["export", str(made / TICKET.folder), "--output", str(folder)])
    assert answer.exit_code == 0, answer.output
    assert answer.output.split() == [str(folder / name) for name in FILES]
    return folder


FILES = ["weights.safetensors", "network.pt2", "network.onnx", "README.md"]


def card(folder):
    return (folder / "README.md").read_text()


# the files


def test_the_weights_load_into_the_program(made, exported, alone):
    found = alone(LOADED.format(folder=exported), images())
    torch.testing.assert_close(found, expected(made, TICKET, images()), atol=1e-5, rtol=1e-5)


def test_the_weights_load_into_a_class_of_ones_own(made, exported):
    network, _ = load_network(made / TICKET.folder / "weights.safetensors")
    own = {name: torch.from_numpy(array) for name, array in load_file(exported / "weights.safetensors").items()}
    mean, std = own.pop("mean"), own.pop("std")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in own.items()})
        found = network.eval()((torch.from_numpy(images()) - mean) / std)
    torch.testing.assert_close(found, expected(made, TICKET, images()), atol=1e-5, rtol=1e-5)


def test_the_program_and_the_onnx_file_take_plain_images(made, exported):
    logits = expected(made, TICKET, images())
    found = torch.export.load(exported / "network.pt2").module()(torch.from_numpy(images()))
    torch.testing.assert_close(found, logits, atol=1e-5, rtol=1e-5)
    (found,) = onnxruntime.InferenceSession(exported / "network.onnx").run(["logits"], {"images": images()})
    torch.testing.assert_close(torch.from_numpy(found), logits, atol=1e-5, rtol=1e-5)


def test_masks_are_folded(made, tmp_path, alone):
    export_result(made / WEIGHTS.folder, tmp_path, ["weights", "program"])
    held, masked = (
        load_file(tmp_path / "weights.safetensors"),
        read_tensors(made / WEIGHTS.folder / "weights.safetensors"),
    )
    masks = {name: array for name, array in masked[0].items() if name.endswith(".mask")}
    assert masks
    for name, mask in masks.items():
        weight = held[f"network.{name.replace('.parametrizations.weight.0.mask', '.weight')}"]
        assert not weight[~mask].any()
        assert weight[mask].any()
    assert not any("parametrizations" in name for name in held)
    found = alone(LOADED.format(folder=tmp_path), images())
    torch.testing.assert_close(found, expected(made, WEIGHTS, images()), atol=1e-5, rtol=1e-5)


def test_the_lines_of_the_card_load_the_weights(made, tmp_path, monkeypatch):
    found = export_result(made / TICKET.folder, tmp_path, ["weights", "program", "card"])
    assert [path.name for path in found] == ["weights.safetensors", "network.pt2", "README.md"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in found)
    code = re.findall(r"```python\n(.*?)```", card(tmp_path), re.DOTALL)[-1]
    assert "load_state_dict" in code
    monkeypatch.chdir(tmp_path)
    held = {"images": torch.from_numpy(images())}
    exec(code, held)  # noqa: S102
    torch.testing.assert_close(held["logits"], expected(made, TICKET, images()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("formats", "names"), [("card", FILES[3:]), ("program", FILES[1:2]), ("weights", FILES[:1])])
def test_only_what_is_asked_for_is_written(made, tmp_path, formats, names):
    CliRunner().invoke(cli, ["export", str(made / DENSE.folder), "--output", str(tmp_path), "--format", formats])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_the_results_stay_as_they_are(made, exported):
    assert {file["state"] for file in describe(made / TICKET.folder)["files"]} <= {"intact", "missing"}


# the card


@pytest.fixture(scope="module")
def tables(made, tmp_path_factory):
    results = shutil.copytree(made, tmp_path_factory.mktemp("tables") / "results")
    study = Study(
        name="all", datasets=["digits"], networks=["tiny"], seeds=[0], criteria=["l1"], removed=[TICKET.removed]
    )
    aggregate(results, AggregateSettings(studies=[study], training=TRAINING))
    return {name: pq.read_table(results / "tables" / f"{name}.parquet").to_pylist() for name in ("runs", "resilience")}


def test_accuracy_and_cost_are_the_tables(tables, exported):
    (run,) = (row for row in tables["runs"] if row["removed"])
    found = {row[0]: row[1] for row in rows(card(exported), "Accuracy")}
    assert found["this network"] == f"{run['accuracy']:.2f} %"
    assert found["dense network, same seed"] == f"{run['dense_accuracy']:.2f} %"
    cost = {row[0]: row[1:] for row in rows(card(exported), "Cost")[1:]}
    assert cost["parameters"][0] == f"{run['params']:,}"
    share = f"{run['macs_reduction']:.1f}\N{NO-BREAK SPACE}%"
    assert cost["multiply-accumulates, one image"] == [f"{run['macs']:,}", share]
    assert cost["training memory, one batch (bytes)"][0] == f"{run['memory_bytes']:,}"
    assert cost["latency, 1 image, 1 thread (ms)"][0] == f"{run['latency_ms']:.3g}"


def test_robustness_is_the_tables(tables, exported):
    shown = [row for row in rows(card(exported), "Robustness") if row[0] not in ("measure", "---")]
    found = {row[0]: row[1:] for row in shown}
    assert len(found) == len(shown)

    def number(value, unit):
        text = f"{value:.{2 if unit in ('%', 'pp', '1/255') else 4}f}".replace("-", "\N{MINUS SIGN}")
        return text if value is not None else "\N{EN DASH}"

    for row in tables["resilience"]:
        words = [row["measure"], (row["name"] or "").replace("_", " "), f"{row['level']:g}/255" if row["level"] else ""]
        title = ", ".join([*filter(None, words), ("from " if " to " in row["unit"] else "in ") + row["unit"]])
        assert found.pop(title) == [number(row["value"], row["unit"]), number(row["dense"], row["unit"])], title
    # transferred examples are compared with nothing; what no network has has no row in the table
    assert [title for title, row in found.items() if row[0] != "\N{EN DASH}"] == [
        "accuracy, examples of the dense network, pgd, 8/255, in %"
    ]


def test_the_mean_corruption_error_is_worked_out(made, exported):
    def errors(run):
        rows = pq.read_table(made / run.folder / "shift.parquet").to_pylist()
        main = [row for row in rows if row["kind"] == "corruption" and row["name"] in ("contrast", "fog")]
        return {name: sum(100 - row["accuracy"] for row in main if row["name"] == name) for name in ("contrast", "fog")}

    own, dense = errors(TICKET), errors(DENSE)
    found = {row[0]: row[1] for row in rows(card(exported), "Robustness")}
    assert float(found["mCE, in %"]) == pytest.approx(sum(50 * own[name] / dense[name] for name in own), abs=0.005)


def test_a_dense_network_has_no_second_column(made, tmp_path):
    export_result(made / DENSE.folder, tmp_path, ["card"])
    assert {len(row) for row in rows(card(tmp_path), "Robustness")} == {2}
    assert {len(row) for row in rows(card(tmp_path), "Cost")} == {2}
    assert "removed" not in dict(rows(card(tmp_path), "What it is"))


def test_what_was_not_tested_is_said(made, tmp_path):
    copied = shutil.copytree(made, tmp_path / "results")
    for name in ("shift", "attack", "detection"):
        (copied / TICKET.folder / f"{name}.parquet").unlink()
    (copied / DENSE.folder / "profile.json").unlink()
    export_result(copied / TICKET.folder, tmp_path / "out", ["card"])
    assert "## Robustness\n\nNot tested: " in card(tmp_path / "out")
    assert "## Cost\n\nNot profiled." in card(tmp_path / "out")


def test_files_are_named_with_their_hashes(exported):
    from hashlib import sha256

    held = {name: sha256((exported / name).read_bytes()).hexdigest() for name in FILES[:-1]}
    found = {row[0].strip("`"): row[2].strip("`") for row in rows(card(exported), "Provenance") if len(row) == 4}
    found.pop("file")
    assert found == held


def test_the_card_tells_no_path_of_the_machine(made, exported):
    for name in FILES:
        assert str(made).encode() not in (exported / name).read_bytes()


@pytest.mark.parametrize("run", [DENSE, TICKET], ids=["dense", "ticket"])
def test_the_commands_of_the_card_make_the_same_weights(run, made, tmp_path, monkeypatch):
    export_result(made / run.folder, tmp_path / "out", ["card"])
    (commands,) = re.findall(r"```bash\n(.*?)```", card(tmp_path / "out"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for line in commands.splitlines():
        program, *words = shlex.split(line)
        assert program == "layerlottery"
        answer = CliRunner().invoke(cli, words)
        assert answer.exit_code == 0, (line, answer.output, answer.exception)
    weights = paths.trained_weights(run.folder)
    assert read_tensors(tmp_path / "results" / weights)[1] == read_tensors(made / weights)[1]


def test_other_structures_are_made_by_snakemake(made, tmp_path):
    export_result(made / WEIGHTS.folder, tmp_path, ["card"])
    weights = paths.trained_weights(f"results/{WEIGHTS.folder}")
    assert f"```bash\nsnakemake --cores all {weights}\n```" in card(tmp_path)


# what goes wrong


@pytest.mark.parametrize("formats", ["onxx", "card,pickle", ""])
def test_unknown_formats_are_named(made, tmp_path, formats):
    answer = CliRunner().invoke(
        cli, ["export", str(made / DENSE.folder), "--output", str(tmp_path), "--format", formats]
    )
    assert isinstance(answer.exception, LayerLotteryError)
    assert "allowed: weights, program, onnx, card" in str(answer.exception)


def test_a_network_that_is_not_trained_is_refused(made, tmp_path):
    copied = shutil.copytree(made, tmp_path / "results")
    (copied / TICKET.folder / "weights.safetensors").unlink()
    with pytest.raises(LayerLotteryError, match=r"weights.safetensors: no such file; allowed: networks that are"):
        export_result(copied / TICKET.folder, tmp_path / "out")


@pytest.mark.parametrize("name", ["weights.safetensors", "attack.parquet", "ticket.json"])
def test_a_damaged_file_is_named_and_nothing_is_written(made, tmp_path, name):
    copied = shutil.copytree(made, tmp_path / "results")
    path = copied / TICKET.folder / name
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)
    with pytest.raises(LayerLotteryError, match=f"{re.escape(name)}: its content does not match its hash"):
        export_result(copied / TICKET.folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_the_extra_nothing_is_written(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(LayerLotteryError, match=r"layerlottery\[export\]"):
        export_result(made / TICKET.folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
