"""The command `verify` on a results folder made by hand: what it finds, what it removes, and what it leaves alone."""

import json
import os
import shlex

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from layerlottery import paths
from layerlottery.cli.main import cli
from layerlottery.errors import LayerLotteryError
from layerlottery.store import seals
from layerlottery.store.arrays import write_array
from layerlottery.store.artifacts import write_document, write_facts, write_table, write_tensors
from layerlottery.store.lock import acquire
from layerlottery.store.records import records_writer
from layerlottery.upkeep.verify import described, remove, verify

SEED = "networks/dataset=digits/network=tiny/seed=0"
DENSE = f"{SEED}/recipe=default-1a2b3c4d"
SET = "datasets/dataset=digits"
CHECKPOINT = f"checkpoints/{DENSE}.safetensors"
KEPT = f"checkpoints/{DENSE}/kept/epoch=3.safetensors"


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    images = write_array(folder / f"{SET}/train_images.npy", np.arange(9, dtype=np.uint8))
    write_facts(folder / f"{SET}/facts.json", {"arrays": {"train_images.npy": images}}, config_hash="a")
    corrupted = write_array(folder / f"{SET}/corrupted_images.npy", np.ones(9, dtype=np.uint8))
    write_facts(folder / f"{SET}/corrupted.json", {"array": corrupted}, config_hash="a")
    for name in (f"{DENSE}/weights.safetensors", f"{SEED}/rewind=random.safetensors", CHECKPOINT, KEPT):
        write_tensors(folder / name, {"weight": np.ones(3)}, {}, config_hash="a")
    write_facts(folder / f"{DENSE}/training.json", {"accuracy": 1.0}, config_hash="a")
    write_table(folder / f"{DENSE}/curve.parquet", pa.table({"epoch": [1]}), config_hash="a")
    write_document(folder / "report/index.html", "<p>page</p>", comment=("<!-- ", " -->"), config_hash="a")
    return folder


def damage(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    return path


def test_an_intact_folder_is_good(results):
    found = verify(results)
    assert found.good
    assert found.intact == 11
    assert described(found) == ["11 files are intact"]


def test_a_folder_that_vanishes_while_files_are_listed_is_no_error(results, monkeypatch):
    (results / "networks" / ".temporary").mkdir()
    scan = os.scandir

    def vanishing(folder):
        if str(folder).endswith(".temporary"):
            raise FileNotFoundError(folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert described(verify(results)) == ["11 files are intact"]


@pytest.mark.parametrize(
    "name",
    [f"{SET}/train_images.npy", f"{SET}/corrupted_images.npy", f"{DENSE}/training.json", "report/index.html", KEPT],
)
def test_a_damaged_file_is_named(results, name):
    path = damage(results / name)
    found = verify(results)
    assert found.damaged == {path: "its content does not match its hash"}
    assert described(found) == [f"{path}: its content does not match its hash", "10 files are intact, 1 damaged"]


def test_a_file_without_its_seal_is_damaged(results):
    path = results / DENSE / "weights.safetensors"
    path.write_bytes(path.read_bytes().replace(seals.MARK.encode(), b"layerlottery-sha512:"))
    assert list(verify(results).damaged) == [path]


def test_arrays_are_not_called_damaged_for_their_facts(results):
    facts = damage(results / SET / "facts.json")
    found = verify(results)
    assert list(found.damaged) == [facts]
    assert found.unknown == {results / SET / "train_images.npy": facts}
    facts.unlink()
    assert not verify(results).good


def test_what_is_not_ours_is_left_alone(results):
    others = ["tables/mine.parquet", f"{DENSE}/notes.json", "weights.safetensors", f"{SET}/.facts.json.swp", ".lock"]
    for name in others:
        (results / name).parent.mkdir(exist_ok=True)
        (results / name).write_text("nothing of the benchmark's")
    found = verify(results)
    assert found.good
    assert found.leftovers == []
    remove(results, found)
    assert all((results / name).is_file() for name in others)


def test_leftovers_are_found_and_removed_but_not_beside_a_running_benchmark(results):
    leftover = results / DENSE / ".weights.safetensors.ab_cd123"
    leftover.touch()
    assert verify(results).leftovers == [leftover]
    lock = acquire(results)
    assert verify(results).leftovers == []
    lock.release()
    assert remove(results, verify(results)) == ""
    assert not leftover.exists()
    assert verify(results).good


def test_the_command_makes_anew_what_snakemake_makes(results):
    damaged = [damage(results / name) for name in (CHECKPOINT, f"{SET}/facts.json", f"{DENSE}/training.json")]
    command = shlex.split(remove(results, verify(results)))
    assert command == ["snakemake", "--cores", "all", str(damaged[1]), str(damaged[2])]
    assert not any(path.exists() for path in damaged)
    # the array whose facts are gone keeps asking for them
    assert str(damaged[1]) in remove(results, verify(results))


def test_the_command_has_the_configuration_of_the_last_run(results):
    words = ["snakemake", "--cores", "2", "--configfile", "my file.yaml", "b.yaml", "-n", "--config", "x={y: 1}"]
    (results / ".lock").write_text(json.dumps({"command": shlex.join(words)}))
    path = damage(results / DENSE / "training.json")
    expected = [str(path), "--configfile", "my file.yaml", "b.yaml", "--config", "x={y: 1}"]
    assert shlex.split(remove(results, verify(results)))[3:] == expected


def test_nothing_is_removed_while_a_benchmark_runs(results):
    path = damage(results / DENSE / "training.json")
    lock = acquire(results)
    ran = CliRunner().invoke(cli, ["verify", "--results", str(results), "--remove"])
    assert isinstance(ran.exception, LayerLotteryError)
    assert str(ran.exception).startswith(f"{results}: in use by a benchmark (process {os.getpid()} on ")
    assert path.is_file()
    # looking is allowed
    assert list(verify(results).damaged) == [path]
    lock.release()


def test_the_command_line_exits_with_1_unless_all_is_intact(results):
    words = ["verify", "--results", str(results)]
    ran = CliRunner().invoke(cli, words)
    assert (ran.exit_code, ran.output) == (0, "11 files are intact\n")
    path = damage(results / DENSE / "training.json")
    ran = CliRunner().invoke(cli, [*words, "--remove"])
    assert ran.exit_code == 1
    assert ran.output.splitlines()[-2:] == ["removed; to recreate them:", f"snakemake --cores all {path}"]
    ran = CliRunner().invoke(cli, words)
    assert ran.exit_code == 1
    assert ran.output.splitlines()[0] == f"{path}: missing; {path.with_name('weights.safetensors')} was made with it"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LayerLotteryError, match="nowhere: no such folder"):
        verify(tmp_path / "nowhere")


def test_every_path_of_the_benchmark_is_known(tmp_path):
    """A file under each of the names in paths.py is looked at, and none of them passes unread."""
    values = {"dataset": "d", "network": "n", "seed": 0, "structure": "layers", "criterion": "l1", "draw": 0}
    values |= {
        "scored_at": "init",
        "step": 1,
        "rewind": "random",
        "epoch": 2,
        "trained": "",
        "rounds": "",
        "later": "/round=2",
    }
    values |= {"recipe": "default-1a2b3c4d"}
    folders = paths.Folders(str(tmp_path))
    patterns = [
        name(folder) for folder in (folders.dense, folders.first, folders.round) for name in (paths.attack, paths.curve)
    ]
    patterns += [paths.scores(folders.scored), paths.element_scores(folders.scored), folders.manifest()]
    patterns += [paths.start_weights(folders.dense, "{epoch}"), paths.profile(folders.dense)]
    patterns += [folders.checkpoint(paths.TICKET), folders.checkpoint(paths.START), *paths.table_files(folders.tables)]
    for pattern in patterns:
        path = tmp_path.joinpath(pattern.format(**values))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = verify(tmp_path)
    assert len(found.damaged) == len(patterns)
    assert set(found.damaged.values()) == {"not a file of this project: it is empty"}


# encoded images


@pytest.fixture
def encoded(results, monkeypatch):
    """The set with its training images encoded, in two shards."""
    monkeypatch.setattr("layerlottery.store.records.SHARD", 5)
    with records_writer(results / f"{SET}/train_images.npy", 3) as writer:
        for record in (b"one", b"tw", b"three"):
            writer.write(record)
    write_facts(results / f"{SET}/facts.json", {"arrays": {"train_images.npy": writer.content}}, config_hash="a")
    return results


def test_shards_are_checked_with_their_index(encoded):
    assert (encoded / f"{SET}/train_images-00001.bin").read_bytes() == b"three"
    found = verify(encoded)
    assert found.good
    assert found.intact == 11


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda shard: shard.unlink(), "No such file or directory"),
        (lambda shard: shard.write_bytes(b"thre"), "found 4 bytes, expected 5"),
        (damage, "record 2 does not match its hash"),
    ],
)
def test_a_damaged_shard_is_recreated_with_its_index(encoded, change, said):
    index, shard = (encoded / SET / name for name in ("train_images.npy", "train_images-00001.bin"))
    change(shard)
    found = verify(encoded)
    assert found.damaged == {index: f"{shard}: {said}"}
    assert shlex.split(remove(encoded, found))[3:4] == [str(index)]
    assert not index.exists()


def test_what_a_killed_prepare_left_of_a_shard_is_found(encoded):
    left = encoded / SET / ".train_images-00002.bin.k3_9abcd"
    left.write_bytes(b"fo")
    assert verify(encoded).leftovers == [left]
