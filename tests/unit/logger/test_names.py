"""Jobs in words."""

import pytest

from layerlottery.paths import DENSE, TICKET
from snakemake_logger_plugin_layerlottery.names import about, network_name

VALUES = {"dataset": "digits", "network": "resnet20", "seed": 1, "structure": "layers", "criterion": "snip"} | {
    "draw": 0,
    "scored_at": "init",
    "removed": 2,
    "rewind": 0,
}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "snip, 2 removed, seed 1"),
        ({"rewind": "random"}, "snip, 2 removed, fresh weights, seed 1"),
        ({"rewind": 25, "scored_at": "trained"}, "snip, trained, 2 removed, rewind 25, seed 1"),
        ({"structure": "filters_at_macs", "draw": 3}, "snip, filters, MACs, draw 3, 2 removed, seed 1"),
    ],
)
def test_a_ticket_in_words(changed, words):
    output = f"out/{TICKET.format(**VALUES | changed)}/weights.safetensors"
    assert network_name(about([output, "other"])) == words


def test_dense_networks_starts_and_image_sets():
    dense = f"out/{DENSE.format(**VALUES)}"
    assert network_name(about([f"{dense}/weights.safetensors"])) == "dense, seed 1"
    assert network_name(about([f"{dense}/weights.safetensors"]), several=True) == "digits, resnet20, dense, seed 1"
    assert network_name(about([f"{dense}/rewind=5.safetensors"])) == "dense, rewind 5, seed 1"
    assert network_name(about(["out/datasets/dataset=digits/facts.json"])) == "digits"
    assert about(["out/tables/runs.parquet"]) == about([]) == {}
    assert about(["key=value/x.json"]) == {}
    assert network_name({"criterion": "a\x1b[31m", "network": "n", "seed": "0"}) == "a\\x1b[31m, seed 0"
    assert about(["out/seed=9/datasets/dataset=digits/facts.json"], "out/seed=9") == {"dataset": "digits"}
