"""What seeds can tell before a run, and which would decide what one left open; Snakemake is a stand-in here."""

import json
import stat
import sys
from pathlib import Path

import pytest
from statsmodels.stats.power import TTestPower
from tests.unit.report.conftest import Benchmark as Planted
from tests.unit.report.conftest import write_benchmark

from layerlottery.config.loading import load_benchmark
from layerlottery.errors import LayerLotteryError
from layerlottery.planning.deciding import CHURN, SEED_SD, found, next_values, tells
from layerlottery.store.artifacts import read_table, write_facts

CONFIG = {
    "datasets": {"digits": {"source": "digits"}},
    "studies": [
        {
            "name": "one",
            "datasets": ["digits"],
            "networks": ["resnet32"],
            "seeds": [0, 1, 2],
            "criteria": ["snip"],
            "removed": [1],
        }
    ],
}


def finished(folder, *, seeds=(0, 1, 2), planted=None, looks=(), most=None, **more):
    """A results folder with tables of one ticket and its control, and a manifest."""
    one = Planted(seeds=seeds, criteria=("random", "snip"), removed=(1,), kinds=(), planted=planted or {}, **more)
    write_benchmark(folder / "tables", one)
    configuration = {"statistics": {"looks": list(looks), "most": most}} if looks else {}
    write_facts(folder / "manifest.json", {"seeds": list(seeds), "configuration": configuration}, config_hash="m")
    return load_benchmark(CONFIG | {"results": str(folder)})


def test_an_open_ticket_is_named_with_the_seeds_that_would_decide(tmp_path):
    state = found(finished(tmp_path, planted={("snip", 1): (0.4, 0.9)}), tmp_path)
    assert state.open == ["snip with 1\N{NO-BREAK SPACE}removed on digits, resnet32"]
    assert state.further > 0
    assert "3 seeds: undecided are snip" in state.told


def test_open_tickets_are_told_apart(tmp_path):
    state = found(finished(tmp_path, planted={("snip", 1): (0.4, 0.9)}, rewound=("0", "4")), tmp_path)
    assert "snip (trained, rewind 4) with 1\N{NO-BREAK SPACE}removed on digits, resnet32" in state.open
    assert len({*state.open}) == len(state.open)


def test_a_decided_ticket_needs_nothing(tmp_path):
    state = found(finished(tmp_path, planted={("snip", 1): (-9.0, 0.1)}), tmp_path)
    assert (state.open, state.tickets) == ([], 1)
    assert "all primary endpoints of 1 ticket are decided" in state.told


def test_seeds_that_are_added_follow_the_greatest_and_looks_are_recorded(tmp_path):
    benchmark = finished(tmp_path, seeds=(0, 5), planted={("snip", 1): (0.4, 0.9)}, looks=(2,), most=9)
    state = found(benchmark, tmp_path)
    assert (state.looks, state.most) == ([2], 9)
    words = next_values(state, 3, 9)
    assert words == ["more_seeds=[0, 5, 6, 7, 8]", "statistics={looks: [2, 5], most: 9}"]
    # what is printed is a configuration that is taken
    more = load_benchmark(CONFIG | {"more_seeds": [0, 5, 6, 7, 8], "statistics": {"looks": [2, 5], "most": 9}})
    assert {run.seed for run in more.runs()} == {0, 1, 2, 5, 6, 7, 8}


def test_without_tables_it_says_what_to_run(tmp_path):
    with pytest.raises(LayerLotteryError, match=r"manifest\.json: no finished benchmark here; run snakemake"):
        found(load_benchmark(CONFIG | {"results": str(tmp_path)}), tmp_path)


def test_defaults_before_the_first_run_are_those_of_a_t_test(tmp_path):
    benchmark = load_benchmark(CONFIG | {"results": str(tmp_path)})
    said, tie = tells(benchmark, {"digits": 360})
    sd = (1e4 * CHURN / 360 + SEED_SD**2) ** 0.5
    # one ticket and its dense network: degrees of freedom are those of three seeds
    least = sd * TTestPower().solve_power(nobs=3, alpha=0.05, power=0.8, alternative="two-sided")
    assert f"3 seeds tell true differences of {least:.2f} pp" in said
    assert "would show a true tie within 1 pp" in tie


def test_after_a_run_its_tables_tell(tmp_path):
    benchmark = finished(tmp_path, planted={("snip", 1): (0.4, 0.9)})
    (said,) = tells(benchmark, {})
    assert said.endswith("as found so far")


@pytest.mark.parametrize("noisier", ["random", "snip"])
def test_of_a_networks_tickets_the_noisiest_tells(tmp_path, noisier):
    spread = {(name, 1): (0.4, 3.0 if name == noisier else 0.5) for name in ("random", "snip")}
    benchmark = finished(tmp_path, planted=spread)
    (said,) = tells(benchmark, {})
    every = read_table(tmp_path / "tables" / "summary.parquet").to_pandas()["detectable"]
    assert every.max() > 3 * every.min()
    assert f"true differences of {every.max():.2f} pp" in said


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A module `snakemake` that notes its arguments, and leaves tables that decide after so many seeds."""
    folder = tmp_path / "stand_in"
    folder.mkdir()
    script = Path(__file__).with_name("stand_in_snakemake.txt").read_text()
    folder.joinpath("run.sh").write_text(f"#!{sys.executable}\n{script}")
    folder.joinpath("run.sh").chmod(stat.S_IRWXU)
    monkeypatch.setattr("layerlottery.cli.seeds.SNAKEMAKE", [str(folder / "run.sh")])
    monkeypatch.setenv("NOTES", str(folder / "notes.json"))
    monkeypatch.setenv("TESTS", str(Path(__file__).parents[3]))
    return folder / "notes.json"


def commanded(tmp_path, *options):
    from click.testing import CliRunner

    from layerlottery.cli.main import cli

    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(CONFIG | {"results": str(tmp_path / "results")}))
    return CliRunner().invoke(cli, ["seeds", "--configfile", str(config), *options])


def test_run_adds_batches_until_it_is_decided(tmp_path, stand_in):
    finished(tmp_path / "results", planted={("snip", 1): (0.4, 0.9)})
    ended = commanded(tmp_path, "--run", "--batch", "2", "--most", "12")
    assert ended.exit_code == 0, ended.output
    calls = json.loads(stand_in.read_text())
    # first what is seen now, as the first of several looks; then two seeds a time, decided at seven
    looks = [call[-1] for call in calls]
    assert looks == [f"statistics={{looks: {one}, most: 12}}" for one in ([3], [3, 5], [3, 5, 7])]
    assert calls[-1][-2] == "more_seeds=[0, 1, 2, 3, 4, 5, 6]"
    assert "7 seeds: all primary endpoints of 1 ticket are decided" in ended.output
    # the same command goes on from there, and has nothing to do
    again = commanded(tmp_path, "--run", "--batch", "2", "--most", "12")
    assert len(json.loads(stand_in.read_text())) == 3
    assert again.exit_code == 0


def test_run_ends_at_the_limit(tmp_path, stand_in):
    finished(tmp_path / "results", planted={("snip", 1): (0.4, 0.9)})
    ended = commanded(tmp_path, "--run", "--batch", "3", "--most", "5")
    assert "5 seeds: undecided" in ended.output
    assert json.loads(stand_in.read_text())[-1][-1] == "statistics={looks: [3, 5], most: 5}"


def test_a_run_that_fails_is_one_line(tmp_path, stand_in, monkeypatch):
    monkeypatch.setenv("FAILS", "1")
    finished(tmp_path / "results", planted={("snip", 1): (0.4, 0.9)})
    ended = commanded(tmp_path, "--run")
    assert isinstance(ended.exception, LayerLotteryError)
    assert "snakemake ended with status 3" in str(ended.exception)


def test_fewer_than_there_are_is_one_line(tmp_path, stand_in):
    finished(tmp_path / "results", planted={("snip", 1): (0.4, 0.9)})
    ended = commanded(tmp_path, "--run", "--most", "2")
    assert isinstance(ended.exception, LayerLotteryError)
    assert "--most: found 2; allowed: at least the 3 seeds" in str(ended.exception)
    assert not stand_in.exists()
