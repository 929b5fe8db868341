"""SIGKILL at random moments: a plain `snakemake` goes on, the tables come out the same, and no energy is lost.

LAYERLOTTERY_CHAOS_SEED chooses other moments, LAYERLOTTERY_CHAOS_KILLS another number of kills.
"""

import itertools
import os
import random
from pathlib import Path

import pytest
from tests.chaos.storm import KINDS, Storm, described
from tests.workflow.project import FIRST, TINY

from layerlottery.store.artifacts import read_facts, read_table
from layerlottery.training.once import COPIED_FROM
from layerlottery.upkeep.diff import differences
from layerlottery.upkeep.verify import verify

SEED = int(os.environ.get("LAYERLOTTERY_CHAOS_SEED", "1"))
KILLS = int(os.environ.get("LAYERLOTTERY_CHAOS_KILLS", "24"))

EPOCHS = 20
SHORT = TINY | {
    "datasets": {"digits": {"source": "digits", "train_size": 300, "test_size": 30}},
    "training": {"epochs": EPOCHS, "batch_size": 30},
    "resources": {"checkpoint_seconds": 0.5},
}
# 2 dense networks and 6 tickets
LONG = SHORT | {
    "studies": [
        FIRST | {"seeds": [0, 1]},
        FIRST | {"name": "rewinding", "seeds": [0, 1], "scored_at": ["trained"], "rewinds": [0, EPOCHS // 4]},
    ],
}
# a process works on a training before its segment begins: it reads the network, the images and the checkpoint
LOST_SECONDS = 5.0


def undisturbed(project):
    ran = project.snakemake("--cores", "2")
    assert ran.returncode == 0, ran.stderr
    return project.results / "tables"


def storms(cloned, folder, config, kinds, dice):
    """As many rounds as the kills last for: a benchmark that is done is begun again elsewhere."""
    rounds = []
    while kinds:
        rounds.append(Storm(cloned(folder / f"round{len(rounds)}", config), dice))
        kinds = rounds[-1].run(kinds)
    return rounds


def check(storm, expected):
    results = storm.project.results
    assert storm.project.snakemake("--cores", "2").returncode == 0
    assert differences(results / "tables", expected) == []
    found = verify(results)
    assert found.good, found.damaged
    for number in range(1, storm.starts + 1):
        output = (storm.project.root / f"output{number}.txt").read_text()
        assert "--unlock" not in output
        assert "--rerun-incomplete" not in output


def check_energy(storm):
    """Each process that was killed midway has left what it spent, and no second is counted twice."""
    results, total = storm.project.results, 0.0
    for path in results.glob("networks/**/training.json"):
        run = str(path.parent.relative_to(results))
        facts = read_facts(path)
        segments = facts["segments"]
        if COPIED_FROM in facts:
            # what it cost was spent in the original's folder
            assert segments == read_facts(results / facts[COPIED_FROM] / path.name)["segments"], run
        else:
            assert len(segments) > storm.losses(run, seconds=LOST_SECONDS), (run, segments)
            assert all(segment["kwh"] > 0 for segment in segments)
            assert sum(segment["seconds"] for segment in segments) <= storm.life(run), (run, segments)
        total += sum(segment["kwh"] for segment in segments)
    runs = read_table(Path(results, "tables", "runs.parquet"))
    assert sum(runs["energy_kwh"].to_pylist()) == pytest.approx(total)


@pytest.mark.chaos
def test_a_benchmark_survives_many_kills(cloned, tmp_path):
    expected = undisturbed(cloned(tmp_path / "undisturbed", LONG))
    dice = random.Random(SEED)
    kinds = list(itertools.islice(itertools.cycle(KINDS), KILLS))
    dice.shuffle(kinds)
    rounds = storms(cloned, tmp_path, LONG, kinds, dice)
    print(f"\nseed {SEED}\n{described(rounds)}")
    assert sum(len(storm.kills) for storm in rounds) == KILLS
    assert any(storm.resumed for storm in rounds)
    for storm in rounds:
        check(storm, expected)
        check_energy(storm)


@pytest.mark.slow
def test_a_benchmark_survives_two_kills(cloned, tmp_path):
    expected = undisturbed(cloned(tmp_path / "undisturbed", SHORT))
    rounds = storms(cloned, tmp_path, SHORT, ["training", "Snakemake"], random.Random(SEED))
    print(f"\n{described(rounds)}")
    for storm in rounds:
        check(storm, expected)
        check_energy(storm)
