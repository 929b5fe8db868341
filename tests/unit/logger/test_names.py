"""Jobs in words."""

import pytest

from layerlottery.config.naming import network_name
from layerlottery.paths import DENSE, TICKET
from snakemake_logger_plugin_layerlottery.names import about

VALUES = {"dataset": "digits", "network": "resnet20", "seed": 1, "structure": "layers", "criterion": "snip"} | {
    "draw": 0,
    "scored_at": "init",
    "step": 2,
    "rewind": 0,
    "recipe": "default-1a2b3c4d",
    "rounds": "",
}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "snip, 2 removed, seed 1"),
        ({"rewind": "random"}, "snip (fresh weights), 2 removed, seed 1"),
        ({"rewind": 25, "scored_at": "trained"}, "snip (trained, rewind 25), 2 removed, seed 1"),
        ({"structure": "filters_at_macs", "draw": 3}, "snip (filters, equal MACs), 2 removed, draw 3, seed 1"),
        ({"rewind": "trained-1a2b3c4d", "scored_at": "trained"}, "snip (trained, fine-tuned), 2 removed, seed 1"),
        (
            {"rewind": "trained-1a2b3c4d", "scored_at": "trained", "rounds": "/round=2/round=3"},
            "snip (fine-tuned, rounds of 2), 6 removed, seed 1",
        ),
        (
            {"structure": "filters_by_share", "step": 20, "scored_at": "trained", "rounds": "/round=2"},
            "snip (filters, rounds of 20\N{NO-BREAK SPACE}%), 36\N{NO-BREAK SPACE}% removed, seed 1",
        ),
        ({"criterion": "depths_1_0_1", "rewind": "random"}, "depths 1-0-1, 2 removed, seed 1"),
    ],
)
def test_a_ticket_in_words(changed, words):
    output = f"out/{TICKET.format(**VALUES | changed)}/weights.safetensors"
    assert network_name(about([output, "other"]), several=False) == words
    # where there are several, status and show say the same
    assert network_name(about([output])) == f"{words}, resnet20 on digits"


def test_dense_networks_starts_and_image_sets():
    dense = f"out/{DENSE.format(**VALUES)}"
    assert network_name(about([f"{dense}/weights.safetensors"]), several=False) == "dense, seed 1"
    assert network_name(about([f"{dense}/weights.safetensors"])) == "dense, seed 1, resnet20 on digits"
    assert network_name(about([f"{dense}/rewind=5.safetensors"]), several=False) == "dense (rewind 5), seed 1"
    assert network_name(about(["out/datasets/dataset=digits/facts.json"]), several=False) == "digits"
    assert about(["out/tables/runs.parquet"]) == about([]) == {}
    assert about(["key=value/x.json"]) == {}
    assert network_name({"criterion": "a\x1b[31m", "network": "n", "seed": "0"}, several=False) == "a\\x1b[31m, seed 0"
    assert about(["out/seed=9/datasets/dataset=digits/facts.json"], "out/seed=9") == {"dataset": "digits"}
