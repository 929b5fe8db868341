"""Which spans go together, against a search through all sets of blocks; the deepest ones by hand; files and tickets."""

from itertools import combinations

import numpy as np
import pytest
import torch

import layerlottery
from layerlottery.config.criteria import CRITERIA
from layerlottery.config.data import Digits
from layerlottery.criteria.ranking import rank_deepest, rank_spans, spans_of
from layerlottery.criteria.score import rank_blocks, score
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import FACTS
from layerlottery.networks.blocks import Block, residual_blocks
from layerlottery.networks.prune import prune
from layerlottery.networks.resnet import initialize
from layerlottery.networks.selection import removal_order
from layerlottery.networks.weights import build, load_network, save_network
from layerlottery.store.artifacts import read_facts


def blocks_of(*stages):
    """Blocks by stage: `-` can't be removed, `o` can."""
    return [
        Block(f"{stage}.{place}", str(stage), mark == "o")
        for stage, marks in enumerate(stages)
        for place, mark in enumerate(marks)
    ]


def runs(blocks, chosen):
    """The spans that a set of blocks consists of, as tuples of names."""
    found, previous = [], None
    for block in blocks:
        if block.name in chosen:
            if previous is not None and previous.name in chosen and previous.stage == block.stage:
                found[-1] += (block.name,)
            else:
                found.append((block.name,))
        previous = block
    return found


def all_sets(blocks, size, minimum):
    """All sets of so many removable blocks that leave every stage its minimum."""
    removable = [block.name for block in blocks if block.removable]
    sizes = {stage: [b.name for b in blocks if b.stage == stage] for stage in {b.stage for b in blocks}}
    for chosen in combinations(removable, size):
        if all(len(set(names) - set(chosen)) >= minimum for names in sizes.values() if set(names) & set(chosen)):
            yield chosen


@pytest.mark.parametrize(
    ("stages", "minimum"),
    [
        (["-oooo", "-ooo", "-ooo"], 2),
        (["ooooo"], 1),
        (["-oo", "-oo"], 2),
        # what can't go parts a stage into two runs
        (["-oo-oo", "ooo"], 1),
        (["-o", "o"], 2),
    ],
)
def test_sets_are_the_fewest_spans_with_the_lowest_sum(stages, minimum):
    blocks = blocks_of(*stages)
    spans = spans_of(blocks)
    rows = [{"name": b.name, "stage": b.stage, "removable": b.removable, "score": 0.0} for b in blocks]
    for seed in range(5):
        generator = np.random.default_rng(seed)
        values = {called: float(generator.random()) for called in spans}
        value_of = {tuple(span): values[called] for called, span in spans.items()}
        for keep, sign in (("high", 1), ("low", -1)):
            ranking = rank_spans(blocks, spans, values, keep=keep, minimum=minimum)
            assert list(ranking.sets) == [str(n + 1) for n in range(len(removal_order(rows, minimum=minimum)))]
            for number, names in ranking.sets.items():
                sets = [runs(blocks, chosen) for chosen in all_sets(blocks, int(number), minimum)]
                best = min(sets, key=lambda found: (len(found), sign * sum(value_of[one] for one in found)))
                assert names == [name for span in best for name in span]
            assert ranking.raw == {name: values[name] for name in ranking.raw}
            assert ranking.score == {name: sign * value for name, value in ranking.raw.items()}


def test_equal_spans_go_in_network_order():
    blocks = blocks_of("-ooo", "-ooo")
    spans = spans_of(blocks)
    sets = rank_spans(blocks, spans, dict.fromkeys(spans, 0.5), keep="high").sets
    assert sets == {"1": ["0.1"], "2": ["0.1", "0.2"], "3": ["0.1", "0.2", "1.1"], "4": ["0.1", "0.2", "1.1", "1.2"]}


def test_sets_need_not_be_nested():
    blocks = blocks_of("-ooo", "-ooo")
    spans = spans_of(blocks)
    values = dict.fromkeys(spans, 0.9) | {"0.2": 0.1, "1.1 to 1.2": 0.2}
    assert rank_spans(blocks, spans, values, keep="high").sets["1"] == ["0.2"]
    assert rank_spans(blocks, spans, values, keep="high").sets["2"] == ["1.1", "1.2"]


def test_the_deepest_go_whatever_their_values_and_the_last_of_all_stays_longest():
    blocks = blocks_of("-ooo", "-ooo")
    ranking = rank_deepest(blocks, {"0.1": 0.0, "0.2": 9.0, "0.3": 1.0, "1.1": 5.0, "1.2": 5.0, "1.3": 0.0})
    assert sorted(ranking.score, key=ranking.score.get) == ["1.2", "1.1", "0.3", "0.2", "0.1", "1.3"]
    rows = [
        {"name": b.name, "stage": b.stage, "removable": b.removable, "score": ranking.score.get(b.name)} for b in blocks
    ]
    assert removal_order(rows) == ["1.2", "1.1", "0.3", "0.2"]
    assert rank_deepest([], {}).score == {}


ARCHITECTURE = {"network": {"depth": 32, "width": 2}, "channels": 1, "classes": 10, "removed_blocks": []}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    prepare(Digits(source="digits", train_size=50, test_size=10), folder)
    model = build(ARCHITECTURE)
    initialize(model, seed=3)
    save_network(folder / "weights.safetensors", model, {"architecture": ARCHITECTURE}, config_hash="0" * 64)
    chosen = CRITERIA["angular"].model_copy(update={"images_per_class": 2})
    output = folder / "scores.json"
    score(folder / "weights.safetensors", folder / FACTS, output, chosen, seed=5, device=torch.device("cpu"))
    return model, folder


def test_prune_takes_the_set_of_its_number(bench, tmp_path):
    model, folder = bench
    scores = folder / "scores.json"
    sets = read_facts(scores)["sets"]
    assert list(sets) == [str(number) for number in range(1, 10)]
    # what single blocks score would choose others
    rows = read_facts(scores)["blocks"]
    assert any(set(removal_order(rows)[: int(number)]) != set(names) for number, names in sets.items())
    for number, names in sets.items():
        facts = prune(folder / "weights.safetensors", scores, tmp_path / "t", tmp_path / "t.json", removed=int(number))
        assert facts["removed_blocks"] == names
        assert facts["tied"] == 0
        small, _ = load_network(tmp_path / "t")
        assert {name for name, _ in model.named_parameters()} - {name for name, _ in small.named_parameters()} == {
            name for name, _ in model.named_parameters() if name.startswith(tuple(f"{one}." for one in names))
        }


def test_the_library_takes_sets_too(bench):
    model, batch = bench[0], (torch.randn(6, 1, 8, 8), torch.arange(6))
    for name in ("angular", "angular_deepest", "sleb"):
        blocks = residual_blocks(model, batch[0])
        ranking = rank_blocks(model, batch, CRITERIA[name], blocks=blocks, minimum=2)
        for number in (1, 2, 5):
            ticket = layerlottery.find_ticket(model, batch, name, remove=number, minimum_per_stage=2)
            if ranking.sets is None:
                rows = [vars(b) | {"score": ranking.score.get(b.name)} for b in blocks]
                expected = removal_order(rows, minimum=2)[:number]
            else:
                expected = ranking.sets[str(number)]
            assert set(ticket.removed_blocks) == set(expected)
    whole = layerlottery.find_ticket(model, batch, "angular", remove_flops=0.3, minimum_per_stage=2)
    fewer = layerlottery.find_ticket(model, batch, "angular", remove=len(whole.removed_blocks) - 1, minimum_per_stage=2)
    assert fewer.cost.flops_reduction < 0.3 <= whole.cost.flops_reduction
