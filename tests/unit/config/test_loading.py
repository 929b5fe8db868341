"""What a bad configuration is told, and how values are read."""

import copy

import pytest
import yaml
from tests.unit.config.test_benchmark import GIVEN, STUDY, changed, message

from layerlottery.config.loading import load_benchmark

RESNET = "resnet20 gives at most 3"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GIVEN | {"trainig": {}}, "unknown key 'trainig'; allowed: training, fine_tuning, results, extends"),
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
        (changed(criteria=["magic"]), "studies.first.criteria: found 'magic'; allowed: angular, angular_deepest, "),
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
            changed(networks=["padded"], structures=["filters_by_share"])
            | {"networks": {"padded": {"depth": 20, "shortcut": "A"}}},
            "structures: found filters_by_share, and padded has shortcut A",
        ),
        (
            GIVEN | {"networks": {"odd": {"family": "vgg"}}},
            'networks.odd: found {"family":"vgg"}; allowed families are',
        ),
        (GIVEN | {"networks": {"odd": {"family": "vit", "heads": 5}}}, "networks.odd: heads: found 5; allowed: div"),
        (GIVEN | {"networks": {"odd": {"family": "timm"}}}, "networks.odd.name: missing; this key is needed"),
        (GIVEN | {"networks": {"odd": {"family": "timm", "name": "hf-hub:a/b"}}}, 'odd.name: found "hf-hub:a/b"; '),
        (GIVEN | {"networks": {"odd": {"family": "vit", "width": 5}}}, "networks.odd: unknown key 'width'; allowed: "),
        (changed(rewinds=[200]), "studies.first.rewinds: found 200; training.epochs of resnet20 is 200, so 0 to 199"),
        (changed(rewinds=["late"]), "studies.0.rewinds.0"),
        (changed(draws=0), "studies.0.draws: found 0"),
        (changed(fills=["table6"]), 'studies.0.fills.0: found "table6"'),
        (changed(structures=["neurons"]), 'studies.0.structures.0: found "neurons"'),
        (
            changed(criteria=["kl"], structures=["filters"]),
            "studies.first.criteria: found 'kl', which can't score filters; allowed: complexity_macs",
        ),
        (changed(criteria=["complexity_macs"]), "which can't score layers; allowed: angular"),
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
        (
            GIVEN | {"statistics": {"xi": [0.0, 2.0]}},
            "statistics.xi: found 0.0, 2.0; allowed: with 1.0, or",
        ),
        (GIVEN | {"report": {"xi": 2.0}}, "report.xi: found 2.0; allowed: the values of statistics.xi"),
        (GIVEN | {"studies": [STUDY, STUDY]}, "studies: found the name first twice; each study needs its own"),
        (GIVEN | {"studies": []}, "studies: found []; list should have at least 1 item"),
        ({"studies": [STUDY]}, "datasets: missing; this key is needed"),
        (GIVEN | {"datasets": {"digits": {"source": "disk"}}}, "datasets.digits: "),
        (GIVEN | {"datasets": {"a b": {"source": "digits"}}}, "a b"),
        (GIVEN | {"datasets": {"../up": {"source": "digits"}}}, "../up"),
        (GIVEN | {"results": "out/{seed}"}, 'results: found "out/{seed}"; '),
        (GIVEN | {"results": ""}, 'results: found ""; '),
        (GIVEN | {"networks": {"odd": {"depth": 21}}}, "networks.odd: depth 21 is not 6n + 2"),
        (GIVEN | {"training": {"nesterov": True, "momentum": 0}}, "training: nesterov needs a momentum above 0"),
        (
            GIVEN | {"training": {"optimizer": "adamw", "nesterov": True}},
            "training: nesterov: found true; AdamW has no such form: leave it out, set it to false",
        ),
        (GIVEN | {"training": {"optimizer": "adam"}}, "training.optimizer: found \"adam\"; input should be 'sgd' or"),
        (
            GIVEN | {"training": {"beta2": 0.9}},
            "training: beta2: found 0.9; SGD has none: leave it out or take optimizer: adamw",
        ),
        (
            GIVEN | {"training": {"optimizer": "adamw", "beta2": 1}},
            "training.beta2: found 1; input should be less",
        ),
        (
            GIVEN | {"training": {"schedule": "warmup_cosine", "milestones": [3]}},
            "training: milestones: found [3]; schedule: step has them; leave them out or set them to []",
        ),
        (
            GIVEN | {"training": {"label_smoothing": 1}},
            "training.label_smoothing: found 1; input should be less",
        ),
        (GIVEN | {"training": {"ema_decay": 1.0}}, "training.ema_decay: found 1.0; input should be less than 1"),
        (GIVEN | {"training": {"clip_norm": 0}}, "training.clip_norm: found 0; input should be greater than 0"),
        (
            GIVEN | {"training": {"resized_crop": 0.5}},
            "training: crop: found 4; resized_crop takes its place: set crop to 0",
        ),
        (GIVEN | {"training": {"resized_crop": 0}}, "training.resized_crop: found 0; input should be greater than 0"),
        (GIVEN | {"training": {"rand_augment": 15}}, "training.rand_augment: found 15; input should be less than or"),
        (
            GIVEN | {"training": {"rand_magnitude": 5}},
            "training: rand_magnitude: found 5; it needs rand_augment, the number of operations",
        ),
        (GIVEN | {"training": {"rand_augment": 1, "rand_magnitude": 31}}, "training.rand_magnitude: found 31; "),
        (GIVEN | {"criteria": {"mine": {"keep": "low"}}}, "criteria.mine.function: missing; this key is needed"),
        (
            GIVEN | {"criteria": {"snip": {"keep": "most"}}},
            "criteria.snip.keep: found \"most\"; input should be 'high'",
        ),
        (GIVEN | {"criteria": {"snip": {"magic": 1}}}, "criteria.snip: unknown key 'magic'"),
        (
            GIVEN | {"criteria": {"cka_iterative": {"iterative": True}}},
            "criteria.cka_iterative: iterative: now called select; allowed: lowest, one_by_one, span, deepest (true",
        ),
        (
            GIVEN | {"criteria": {"snip": {"select": "span"}}},
            "criteria.snip: select: found span; snip gives successive blocks no score together; allowed: lowest, ",
        ),
        (
            GIVEN | {"criteria": {"mine": {"function": "influence", "select": "all"}}},
            "criteria.mine.select: found \"all\"; input should be 'lowest', 'one_by_one', 'span' or 'deepest'",
        ),
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
