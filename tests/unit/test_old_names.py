"""Keys, targets, commands and options under their old names: one line that names the new one."""

import re
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner
from tests.unit.cli.test_cli import call
from tests.unit.config.test_benchmark import changed, message
from tests.unit.test_tickets import IMAGES, LABELS, Own

import layerlottery
from layerlottery.cli.main import cli
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_result_table, read_tensors, read_weights, write_table, write_tensors
from layerlottery.store.schemas import arrow_schema
from layerlottery.upkeep import stale, verify
from layerlottery.upkeep.show import find_network


def test_the_configuration():
    expected = "studies.0: densities: now called removed, the numbers of residual blocks to remove"
    assert message(changed(densities=[1])) == expected


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["clean"], "clean --stale: now called stale; its --yes is now stale --remove"),
        (["clean", "--stale", "--yes"], "clean --stale: now called stale; its --yes is now stale --remove"),
        (["prune", "--density", "3"], "--density: now called --removed"),
        (["prune", "--weights", "w", "--removed", "3", "--density=3"], "--density: now called --removed"),
    ],
)
def test_commands_and_options(words, line):
    assert call(*words).line == line


def test_help_does_not_mention_them():
    commands, options = (CliRunner().invoke(cli, [*words, "--help"]).output for words in ([], ["prune"]))
    assert not re.search(r"^ +clean ", commands, re.MULTILINE)
    assert "--density" not in options


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"density": 3}, "density: now called remove"),
        ({"flops": 0.3}, "flops: now called remove_flops"),
        ({"params": 0.3, "remove": 1}, "params: now called remove_params"),
        ({"remove_flops": 30}, "remove_flops: found 30; allowed: a share from 0 to 1; did you mean 0.3?"),
        ({"remove_params": 2.5}, "remove_params: found 2.5; allowed: a share from 0 to 1; did you mean 0.025?"),
        ({"remove_flops": 300}, "remove_flops: found 300; allowed: a share from 0 to 1"),
        ({"remove_params": -0.1}, "remove_params: found -0.1; allowed: a share from 0 to 1"),
        ({"remove_params": True}, "remove_params: found True; allowed: a share from 0 to 1"),
        ({"remove_flops": "0.3"}, "remove_flops: found '0.3'; allowed: a share from 0 to 1"),
        ({"remove": "2"}, "remove: found '2'; allowed: a whole number of blocks"),
        ({"remove": True}, "remove: found True; allowed: a whole number of blocks"),
        (
            {"remove": 0.3},
            "remove: found 0.3; allowed: a whole number of blocks; a share goes with remove_flops or remove_params",
        ),
    ],
)
def test_old_targets_and_percentages_are_answered_with_what_is_meant(target, message):
    with pytest.raises(LayerLotteryError) as caught:
        layerlottery.find_ticket(Own(), (IMAGES, LABELS), "l1", **target)
    assert str(caught.value) == message


@pytest.mark.parametrize("target", [{"remove": np.int64(2)}, {"remove": torch.tensor(2)}])
def test_whole_numbers_of_other_libraries_count(target):
    assert len(layerlottery.find_ticket(Own(), (IMAGES, LABELS), "l1", **target).removed_blocks) == 2


def test_a_number_is_no_name_of_a_block():
    with pytest.raises(
        LayerLotteryError, match=r"^remove: found 2; allowed: names of blocks; find_ticket takes a number"
    ):
        layerlottery.prune(Own(), remove=2)


def test_a_ticket_that_an_earlier_version_saved_is_read(tmp_path):
    ticket = layerlottery.find_ticket(Own(), (IMAGES, LABELS), "l1", remove=1)
    layerlottery.save_ticket(ticket, tmp_path / "new")
    arrays, facts = read_tensors(tmp_path / "new")
    kept = {name: value for name, value in facts.items() if name not in ("config_hash", "content", "removed_blocks")}
    write_tensors(tmp_path / "old", arrays, kept | {"removed": facts["removed_blocks"]}, config_hash="old")
    assert layerlottery.load_ticket(tmp_path / "old", Own).removed_blocks == ticket.removed_blocks


def test_results_of_an_earlier_version_are_named(tmp_path):
    dense = "networks/dataset=d/network=n/seed=0"
    ticket = f"{dense}/structure=layers/criterion=l1/draw=0/scored_at=init"
    for name in (dense, f"{ticket}/density=1/rewind=0", f"{ticket}/removed=1/rewind=0"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        with pytest.raises(LayerLotteryError, match="earlier version, in another layout; recreate them"):
            find_network(folder)
    write_tensors(tmp_path / "w", {}, {"architecture": {"removed": []}}, config_hash="old")
    with pytest.raises(LayerLotteryError, match="written by an earlier version; recreate it"):
        read_weights(tmp_path / "w")
    old = pa.schema([("density", pa.int64())])
    write_table(tmp_path / "t", old.empty_table(), config_hash="old")
    with pytest.raises(LayerLotteryError, match="a table of an earlier version; recreate it"):
        read_result_table(tmp_path / "t", arrow_schema("runs"))


OLD = "networks/dataset=d/network=n/seed=0"
OLD_TICKET = f"{OLD}/structure=layers/criterion=l1/draw=0/scored_at=init"


@pytest.mark.parametrize(
    ("file", "owner"),
    [
        (f"{OLD}/weights.safetensors", OLD),
        (f"{OLD}/profile.json", OLD),
        (f"{OLD}/rewind=5.safetensors", OLD),
        (f"{OLD}/structure=layers/criterion=l1/draw=0/scored_at=trained/scores.json", None),
        (f"{OLD_TICKET}/removed=2/rewind=0/attack.parquet", None),
        (f"{OLD_TICKET}/density=2/rewind=0/attack.parquet", None),
        (f"checkpoints/{OLD}.safetensors", OLD),
        (f"logs/train/{OLD}.log", OLD),
    ],
)
def test_files_of_an_earlier_layout_are_stale_and_checked(file, owner):
    assert stale._owner(file) == (owner or str(PurePosixPath(file).parent))
    if not file.endswith(".log"):
        assert verify._is_of(verify.OURS, Path("r"), Path("r", file))


def test_another_unknown_target_is_told_what_is_allowed():
    with pytest.raises(LayerLotteryError, match=r"^macs: unknown argument; allowed: remove, remove_flops"):
        layerlottery.find_ticket(Own(), (IMAGES, LABELS), "l1", macs=0.3)
