"""From a configuration to runs, networks and criteria."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.criteria import CRITERIA
from layerlottery.config.loading import load_benchmark
from layerlottery.config.networks import Network, NetworkSettings
from layerlottery.config.recipes import Recipes
from layerlottery.config.studies import Run, Study, expand, expand_scorings
from layerlottery.errors import LayerLotteryError

STUDY = {
    "name": "first",
    "datasets": ["digits"],
    "networks": ["resnet20"],
    "seeds": [0, 1],
    "criteria": ["random", "snip"],
    "removed": [1, 2],
}
GIVEN = {"datasets": {"digits": {"source": "digits"}}, "studies": [STUDY]}


def changed(**study):
    return GIVEN | {"studies": [STUDY | study]}


def message(config):
    with pytest.raises(LayerLotteryError) as caught:
        load_benchmark(config)
    text = str(caught.value)
    assert text.startswith("configuration: ")
    assert "\n" not in text
    return text.removeprefix("configuration: ")


LEVEL = Recipes().level("resnet20")


def dense(seed):
    return Run("digits", "resnet20", seed, recipe=LEVEL)


# expansion


def test_runs_of_one_study():
    runs = load_benchmark(GIVEN).runs()
    assert runs[:2] == [dense(0), dense(1)]
    assert [(run.seed, run.criterion, run.removed) for run in runs[2:]] == [
        (seed, criterion, removed) for seed in (0, 1) for criterion in ("random", "snip") for removed in (1, 2)
    ]
    assert {run.structure for run in runs[2:]} == {"layers"}
    assert {run.dense for run in runs[2:]} == set(runs[:2])


def test_overlapping_studies_are_united():
    second = STUDY | {"name": "second", "seeds": [1, 2], "criteria": ["snip", "l1"]}
    first, both = (load_benchmark(GIVEN | {"studies": studies}).runs() for studies in ([STUDY], [STUDY, second]))
    assert both[: len(first)] == first
    assert len(set(both)) == len(both) == len(first) + 1 + 2 * (2 + 1)
    assert {run.folder for run in both} == {run.folder for run in dict.fromkeys(both)}


def test_a_value_twice_is_one_run():
    assert load_benchmark(changed(seeds=[0, 0, 1, 1], removed=[2, 1, 2])).runs().count(dense(0)) == 1


@given(st.lists(st.integers(0, 50), min_size=1, unique=True), st.integers(51, 99))
def test_a_new_seed_only_adds(seeds, new):
    before, after = (
        expand([Study.model_validate(STUDY | {"seeds": one})], Recipes()) for one in (seeds, [*seeds, new])
    )
    assert {run.folder for run in before} < {run.folder for run in after}
    assert {run.seed for run in after if run not in set(before)} == {new}


def test_folders_are_distinct_and_hive_style():
    runs = load_benchmark(changed(scored_at=["init", "trained"])).runs()
    assert len({run.folder for run in runs}) == len(runs)
    assert runs[0].folder == f"networks/dataset=digits/network=resnet20/seed=0/recipe={LEVEL}"
    ticket = "/structure=layers/criterion=random/draw=0/scored_at=init/removed=1/rewind=0"
    assert runs[2].folder == runs[0].folder + ticket


def test_network_results_name_every_file_once():
    files = load_benchmark(GIVEN).network_results()
    assert len(files) == len(set(files))
    assert sum(file.endswith("/profile.json") for file in files) == 2
    assert sum(file.endswith("/scores.json") for file in files) == 4
    assert sum(file.endswith("/ticket.json") for file in files) == 8
    assert sum(file.endswith("/training.json") for file in files) == 10


def test_families_and_where_scores_come_from():
    benchmark = load_benchmark(changed(scored_at=["init", "trained"]) | {"results": "out/here"})
    ticket = benchmark.families["digits", "resnet20", "1"][0]
    assert len(benchmark.families["digits", "resnet20", "1"]) == 8
    dense = "out/here/networks/dataset=digits/network=resnet20/seed=1"
    assert benchmark.scored_weights(ticket) == f"{dense}/initial.safetensors"
    trained = Run("digits", "resnet20", 1, "layers", "snip", 0, "trained", 1, recipe=LEVEL)
    assert benchmark.scored_weights(trained) == f"{dense}/recipe={LEVEL}/weights.safetensors"
    assert len(benchmark.family_tickets(ticket)) == 8


def test_rewinds_draws_and_structures_widen_the_grid():
    benchmark = load_benchmark(changed(rewinds=[0, 3, "random"], draws=2, structures=["layers", "filters"], seeds=[0]))
    tickets = [run for run in benchmark.runs() if run.removed]
    assert len(set(tickets)) == len(tickets) == 2 * 2 * 2 * 2 * 3
    assert {(run.rewind, run.start_epoch) for run in tickets} == {("0", 0), ("3", 3), ("random", 0)}
    assert {run.draw for run in tickets} == {0, 1}
    dense = benchmark.runs()[0]
    assert benchmark.kept_epochs(dense) == [3]
    starts = {run.rewind: benchmark.start_weights(run).rpartition("/")[2] for run in tickets}
    assert starts == {"0": "initial.safetensors", "3": "rewind=3.safetensors", "random": "rewind=random.safetensors"}


def test_rules_that_need_not_know_how_a_ticket_was_chosen_find_its_folder():
    benchmark = load_benchmark(changed(rewinds=[0, "random"], structures=["layers", "filters"], scored_at=["trained"]))
    form = re.sub(r"{(\w+)}", lambda found: f"(?P<{found[1]}>{paths.WILDCARDS[found[1]]})", paths.PRUNED)
    dense, tickets = benchmark.runs()[:2], benchmark.runs()[2:]
    assert [re.fullmatch(form, run.folder) for run in dense] == [None, None]
    for run in tickets:
        found = re.fullmatch(form, run.folder)
        assert (found["network"], found["seed"], found["rewind"]) == (run.network, str(run.seed), run.rewind)
        assert paths.PRUNED.format(**found.groupdict()) == run.folder


def test_a_ticket_is_cut_from_its_start_by_its_scores():
    benchmark = load_benchmark(changed(rewinds=["random"], structures=["filters"], criteria=["snip"], seeds=[1]))
    dense = "results/networks/dataset=digits/network=resnet20/seed=1"
    scores = "criterion=snip/draw=0/scored_at=init/scores.json"
    assert benchmark.pruning_inputs(benchmark.runs()[1]) == {
        "weights": f"{dense}/rewind=random.safetensors",
        "scores": f"{dense}/structure=filters/{scores}",
        "budget": [f"{dense}/structure=layers/{scores}"],
        "data": [],
    }


def test_an_empty_list_only_scores():
    benchmark = load_benchmark(changed(removed=[]))
    assert benchmark.runs() == [dense(0), dense(1)]
    assert sum(file.endswith("/scores.json") for file in benchmark.network_results()) == 4
    assert len(expand_scorings(benchmark.studies, benchmark)) == 4


def test_where_the_budget_of_filters_and_weights_comes_from():
    benchmark = load_benchmark(changed(structures=["layers", "filters", "weights"], criteria=["snip"]))
    found = {run.structure: benchmark.budget_scores(run) for run in benchmark.runs() if run.removed}
    layers = "results/networks/dataset=digits/network=resnet20/seed=1/structure=layers/criterion=snip/draw=0"
    assert found == {key: [f"{layers}/scored_at=init/scores.json"] for key in ("filters", "weights")} | {"layers": []}
    # a formula without a layer ticket of its own takes another criterion's
    run = load_benchmark(changed(structures=["filters"], criteria=["complexity_macs"])).runs()[-1]
    assert benchmark.budget_scores(run) == found["filters"]
    weights = next(run for run in benchmark.runs() if run.structure == "weights")
    assert benchmark.pruning_scores(weights).endswith(
        "structure=weights/criterion=snip/draw=0/scored_at=init/scores.safetensors"
    )


# networks and criteria


@pytest.mark.parametrize(("depth", "most"), [(8, 0), (14, 0), (20, 3), (32, 9), (44, 15), (56, 21), (110, 48)])
def test_most_removable(depth, most):
    assert load_benchmark(GIVEN).network(f"resnet{depth}").most_removable == most
    if most:
        load_benchmark(changed(networks=[f"resnet{depth}"], removed=[most]))
    assert f"gives at most {most}" in message(changed(networks=[f"resnet{depth}"], removed=[most + 1]))


def test_a_network_of_ones_own():
    benchmark = load_benchmark(changed(networks=["tiny"]) | {"networks": {"tiny": {"depth": 20, "width": 2}}})
    assert benchmark.network("tiny") == NetworkSettings(depth=20, width=2)
    assert benchmark.network("resnet32") == NetworkSettings(depth=32)


NAMED = {
    "resnet32": '{"depth":32}',
    "preresnet20": '{"depth":20,"family":"preact_resnet"}',
    "wrn-28-10": '{"depth":28,"family":"wide_resnet","widen":10}',
    "vit_tiny": '{"family":"vit"}',
    "torchvision.mobilenet_v2": '{"family":"torchvision","name":"mobilenet_v2"}',
    "timm.resnet50.a1_in1k": '{"family":"timm","name":"resnet50.a1_in1k"}',
}


@pytest.mark.parametrize("name", NAMED)
def test_networks_that_need_no_entry(name):
    benchmark = load_benchmark(changed(networks=[name]))
    assert benchmark.network_slice(benchmark.runs()[0]) == NAMED[name]
    # a slice is all that a job gets
    assert TypeAdapter(Network).validate_json(NAMED[name]) == benchmark.network(name)


def test_the_family_of_cifar_resnets_goes_without_saying():
    given = {"plain": {"depth": 20, "width": 2}, "said": {"family": "resnet", "depth": 20, "width": 2}}
    benchmark = load_benchmark(changed(networks=list(given)) | {"networks": given})
    slices = {benchmark.network_slice(run) for run in benchmark.runs()}
    assert slices == {'{"depth":20,"width":2}'}
    assert load_benchmark(json.loads(benchmark.manifest_slice())).networks == benchmark.networks


def test_options_of_a_constructor_may_come_as_text():
    # as Snakemake's --config hands them over
    given = {"family": "torchvision", "name": "mobilenet_v2", "options": {"width_mult": "0.5", "dropout": 0}}
    network = load_benchmark(GIVEN | {"networks": {"mine": given}}).network("mine")
    assert network.options == {"width_mult": 0.5, "dropout": 0}


def test_a_name_in_networks_wins_over_the_built_in_one():
    assert load_benchmark(GIVEN | {"networks": {"resnet20": {"depth": 20, "width": 2}}}).network("resnet20").width == 2


def test_a_change_to_a_criterion_keeps_its_other_settings():
    benchmark = load_benchmark(GIVEN | {"criteria": {"snip": {"batchnorm": "eval"}, "grasp": {"temperature": 1.0}}})
    assert benchmark.criterion("snip") == CRITERIA["snip"].model_copy(update={"batchnorm": "eval"})
    grasp = benchmark.criterion("grasp")
    assert (grasp.products, grasp.keep, grasp.temperature) == ("signed", "low", 1.0)
    assert benchmark.criterion("l1") == CRITERIA["l1"]


def test_a_criterion_of_ones_own():
    benchmark = load_benchmark(changed(criteria=["mine"]) | {"criteria": {"mine": {"function": "l1", "keep": "low"}}})
    assert (benchmark.criterion("mine").function, benchmark.criterion("mine").keep) == ("l1", "low")


def test_the_model_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_benchmark(GIVEN).results = "elsewhere"


def test_defaults_are_valid():
    # defaults of nested models are not validated by pydantic itself
    assert Benchmark.model_validate(load_benchmark(GIVEN).model_dump()) == load_benchmark(GIVEN)
