"""The stage table against the rules: Snakemake's own words for what is made."""

import re
from pathlib import Path

import pytest

from layerlottery import paths
from layerlottery.config.stages import STAGE_OF_RULE, STAGES, made

RULES = "\n".join(path.read_text() for path in sorted(Path(__file__).parents[3].glob("workflow/rules/*.smk")))


def test_every_rule_belongs_to_one_stage():
    written = re.findall(r"^(?:rule (\w+):|use rule \w+ as (\w+) with:)", RULES, flags=re.MULTILINE)
    assert {plain or changed for plain, changed in written} == STAGE_OF_RULE.keys()
    rules = [rule for stage in STAGES.values() for rule in stage.rules or (stage.name,)]
    assert len(rules) == len(set(rules))


@pytest.mark.parametrize(
    ("places", "files"),
    [
        ({paths.START: ["n/seed=0/rewind=5"]}, ["n/seed=0/rewind=5.safetensors"]),
        ({paths.SCORED: ["s/structure=weights/c"]}, ["s/structure=weights/c/scores.safetensors"]),
        ({paths.SCORED: ["s/structure=layers/c"]}, ["s/structure=layers/c/scores.json"]),
        ({paths.NETWORK: ["d"]}, ["d/initial.safetensors"]),
        ({paths.ROUND: ["t/round=2"]}, ["t/round=2/scores.json"]),
        ({paths.DENSE: ["d"], paths.DATASET: []}, [
            "d/weights.safetensors", "d/curve.parquet", "d/training.json", "d/attack.parquet",
            "d/shift.parquet", "d/detection.parquet", "d/profile.json",
        ]),
    ],
)  # fmt: skip
def test_files_by_hand(places, files):
    assert list(made(places)) == files


def test_extras_by_hand():
    found = set(made({paths.START: ["d/rewind=5"]}, extras=True))
    assert {"logs/rewind/d/rewind=5.log", "checkpoints/d/kept/epoch=5.safetensors"} < found
    assert "checkpoints/d/rewind=5.safetensors" in found
    assert {"tables/runs.parquet", "logs/aggregate/all.log", "manifest.json"} < set(made({"": [""]}, extras=True))
