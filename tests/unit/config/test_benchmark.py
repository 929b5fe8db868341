"""From a configuration to runs, and what a bad configuration is told."""

import copy
import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark, load_benchmark
from layerlottery.config.criteria import CRITERIA
from layerlottery.config.networks import Network, NetworkSettings
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


# expansion


def test_runs_of_one_study():
    runs = load_benchmark(GIVEN).runs()
    assert runs[:2] == [Run("digits", "resnet20", 0), Run("digits", "resnet20", 1)]
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
    assert (
        load_benchmark(changed(seeds=[0, 0, 1, 1], removed=[2, 1, 2])).runs().count(Run("digits", "resnet20", 0)) == 1
    )


@given(st.lists(st.integers(0, 50), min_size=1, unique=True), st.integers(51, 99))
def test_a_new_seed_only_adds(seeds, new):
    before, after = (expand([Study.model_validate(STUDY | {"seeds": chosen})]) for chosen in (seeds, [*seeds, new]))
    assert {run.folder for run in before} < {run.folder for run in after}
    assert {run.seed for run in after if run not in set(before)} == {new}


def test_folders_are_distinct_and_hive_style():
    runs = load_benchmark(changed(scored_at=["init", "trained"])).runs()
    assert len({run.folder for run in runs}) == len(runs)
    assert runs[0].folder == "networks/dataset=digits/network=resnet20/seed=0"
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
    trained = Run("digits", "resnet20", 1, "layers", "snip", 0, "trained", 1)
    assert benchmark.scored_weights(trained) == f"{dense}/weights.safetensors"
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
    assert benchmark.runs() == [Run("digits", "resnet20", 0), Run("digits", "resnet20", 1)]
    assert sum(file.endswith("/scores.json") for file in benchmark.network_results()) == 4
    assert len(expand_scorings(benchmark.studies)) == 4


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


# bad input

RESNET = "resnet20 gives at most 3"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GIVEN | {"trainig": {}}, "unknown key 'trainig'; allowed: results, extends, datasets, networks"),
        (GIVEN | {"training": {"epoch": 3}}, "training: unknown key 'epoch'; allowed: epochs, batch_size"),
        (changed(seed=[0]), "studies.0: unknown key 'seed'; allowed: name, datasets"),
        (GIVEN | {"training": {"epochs": "many"}}, 'training.epochs: found "many"; input should be a valid integer'),
        (GIVEN | {"training": {"epochs": True}}, "training.epochs: found true; input should be a valid integer"),
        (GIVEN | {"training": {"epochs": 2.5}}, "training.epochs: found 2.5; input should be a valid integer"),
        (
            GIVEN | {"training": {"nesterov": "maybe"}},
            'training.nesterov: found "maybe"; input should be a valid boolean',
        ),
        (GIVEN | {"training": None}, "training: found null; input should be a valid dictionary"),
        (changed(seeds=3), "studies.0.seeds: found 3; input should be a valid list"),
        (GIVEN | {"training": {"epochs": 0}}, "training.epochs: found 0; input should be greater than or equal to 1"),
        (GIVEN | {"training": {"momentum": 1}}, "training.momentum: found 1; input should be less than 1"),
        (GIVEN | {"training": {"learning_rate": float("inf")}}, "training.learning_rate: found inf; "),
        (GIVEN | {"training": {"learning_rate": float("nan")}}, "training.learning_rate: found nan; "),
        (changed(seeds=[-1]), "studies.0.seeds.0: found -1; input should be greater than or equal to 0"),
        (changed(seeds=[]), "studies.0.seeds: found []; list should have at least 1 item"),
        (changed(criteria=["magic"]), "studies.first.criteria: found 'magic'; allowed: cka, cka_iterative, "),
        (changed(datasets=["mnist"]), "studies.first.datasets: found 'mnist'; allowed: digits"),
        (changed(networks=["vgg16"]), "studies.first.networks: found 'vgg16'; allowed: resnet20, resnet32"),
        (changed(networks=["resnet21"]), "studies.first.networks: found 'resnet21'; allowed: resnet20"),
        (changed(removed=[1, 4]), f"studies.first.removed: found 4; {RESNET}"),
        (changed(removed=[1], networks=["resnet8"]), "found 1; resnet8 gives at most 0"),
        (changed(removed=[1], networks=["wrn-16-4"]), "found 1; wrn-16-4 gives at most 0"),
        (changed(removed=[12], networks=["vit_tiny"]), "found 12; vit_tiny gives at most 11"),
        (
            changed(networks=["wrn-17-4"]),
            "found 'wrn-17-4'; allowed: resnet20, resnet32 and all resnet(6n+2), ",
        ),
        (changed(networks=["preresnet21"]), "found 'preresnet21'; allowed: resnet20"),
        (
            changed(networks=["vit_tiny"], structures=["layers", "filters"]),
            "structures: found filters, which only CIFAR ResNets can lose; allowed for vit_tiny is layers",
        ),
        (
            GIVEN | {"networks": {"odd": {"family": "vgg"}}},
            'networks.odd: found {"family":"vgg"}; allowed families are',
        ),
        (GIVEN | {"networks": {"odd": {"family": "vit", "heads": 5}}}, "networks.odd: heads: found 5; allowed: div"),
        (GIVEN | {"networks": {"odd": {"family": "timm"}}}, "networks.odd.name: missing; this key is needed"),
        (GIVEN | {"networks": {"odd": {"family": "timm", "name": "hf-hub:a/b"}}}, 'odd.name: found "hf-hub:a/b"; '),
        (GIVEN | {"networks": {"odd": {"family": "vit", "width": 5}}}, "networks.odd: unknown key 'width'; allowed: "),
        (changed(rewinds=[200]), "studies.first.rewinds: found 200; training.epochs is 200, so 0 to 199"),
        (changed(rewinds=["late"]), "studies.0.rewinds.0"),
        (changed(draws=0), "studies.0.draws: found 0"),
        (changed(fills=["table6"]), 'studies.0.fills.0: found "table6"'),
        (changed(structures=["neurons"]), 'studies.0.structures.0: found "neurons"'),
        (
            changed(criteria=["kl"], structures=["filters"]),
            "studies.first.criteria: found 'kl', which can't score filters; allowed: complexity_macs",
        ),
        (changed(criteria=["complexity_macs"]), "which can't score layers; allowed: cka"),
        (changed(criteria=["hrank"], structures=["layers", "weights"]), "found 'hrank', which can't score weights"),
        (
            changed(data_free=True),
            "studies.first.criteria: found 'snip' in a data-free study; allowed: complexity_macs",
        ),
        (changed(data_free=True, criteria=["l1"], scored_at=["trained"]), "found 'l1' in a data-free study"),
        (
            changed(criteria=["snip"], structures=["filters"]) | {"criteria": {"snip": {"budget": "magic"}}},
            "criteria.budget: found 'magic'; allowed: criteria of layers: random, random_spread, l1",
        ),
        (GIVEN | {"report": {"xi": 2.0}}, "report.xi: found 2.0; allowed: the values of statistics.xi"),
        (
            GIVEN | {"statistics": {"xi": [0.0, 2.0]}},
            "statistics.xi: found 0.0, 2.0; allowed: with 1.0, or",
        ),
        (GIVEN | {"studies": [STUDY, STUDY]}, "studies: found the names first, first; each study needs its own"),
        (GIVEN | {"studies": []}, "studies: found []; list should have at least 1 item"),
        ({"studies": [STUDY]}, "datasets: missing; this key is needed"),
        (GIVEN | {"datasets": {"digits": {"source": "disk"}}}, "datasets.digits: "),
        (GIVEN | {"datasets": {"a b": {"source": "digits"}}}, "a b"),
        (GIVEN | {"datasets": {"../up": {"source": "digits"}}}, "../up"),
        (GIVEN | {"results": "out/{seed}"}, 'results: found "out/{seed}"; '),
        (GIVEN | {"results": ""}, 'results: found ""; '),
        (GIVEN | {"networks": {"odd": {"depth": 21}}}, "networks.odd: depth 21 is not 6n + 2"),
        (GIVEN | {"training": {"nesterov": True, "momentum": 0}}, "training: nesterov needs a momentum above 0"),
        (GIVEN | {"criteria": {"mine": {"keep": "low"}}}, "criteria.mine.function: missing; this key is needed"),
        (
            GIVEN | {"criteria": {"snip": {"keep": "most"}}},
            "criteria.snip.keep: found \"most\"; input should be 'high'",
        ),
        (GIVEN | {"criteria": {"snip": {"magic": 1}}}, "criteria.snip: unknown key 'magic'"),
        (GIVEN | {"statistics": {"xi": ["iqr"]}}, "statistics.xi.0"),
        (GIVEN | {"outliers": {"near": ["shuffled"] * 2}}, "outliers: near, far: shuffled is listed twice; allowed"),
        (GIVEN | {"outliers": {"near": ["SVHN"], "far": ["SVHN"]}}, "outliers: near, far: SVHN is listed twice"),
        (GIVEN | {"attack": {"epsilons": [0]}}, "attack.epsilons.0: found 0; input should be greater than 0"),
        (GIVEN | {"attack": {"l2_epsilons": [-1.0]}}, "attack.l2_epsilons.0: found -1.0; input should be greater than"),
        (GIVEN | {"corruptions": {"names": ["jpeg"]}}, 'corruptions.names.0: found "jpeg"; '),
        (GIVEN | {"energy": {"country": "Germany"}}, 'energy.country: found "Germany"; '),
    ],
)
def test_bad_configurations(config, expected):
    assert expected in message(config)


def test_more_problems_are_counted():
    assert message(GIVEN | {"training": {"epochs": 0, "batch_size": 1}}).endswith("(and 1 more)")


def test_a_long_value_is_cut():
    assert len(message(GIVEN | {"training": {"schedule": "x" * 5000}})) < 200


@pytest.mark.parametrize("config", [{}, {"datasets": [], "studies": {}}, {"criteria": 3}, GIVEN | {"studies": [3]}])
def test_quite_another_shape_is_one_line_too(config):
    message(config)


def test_numbers_that_yaml_takes_for_text():
    text = "training: {weight_decay: 1e-4, learning_rate: 5E-2}\nattack: {epsilons: [1e0, 2.5e+0]}\n"
    benchmark = load_benchmark(GIVEN | yaml.safe_load(text))
    assert (benchmark.training.weight_decay, benchmark.training.learning_rate) == (1e-4, 0.05)
    assert benchmark.attack.epsilons == [1.0, 2.5]
    assert isinstance(yaml.safe_load("1e-4"), str)


def test_the_configuration_is_not_changed():
    config = copy.deepcopy(GIVEN | {"criteria": {"snip": {"batchnorm": "eval"}}})
    before = copy.deepcopy(config)
    load_benchmark(config)
    assert config == before


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
