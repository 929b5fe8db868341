"""Values that no run can serve are refused before any work, with the key that holds them."""

from __future__ import annotations

import copy
import math
import typing
from typing import Annotated

import pytest
from pydantic import ValidationError, create_model

from layerlottery.config.base import Settings
from layerlottery.config.limits import check_limits, published
from layerlottery.config.loading import load_benchmark
from layerlottery.config.networks import StagedSettings
from layerlottery.data.prepare import LOADERS
from layerlottery.errors import LayerLotteryError

STUDY = {
    "name": "s", "datasets": ["d"], "networks": ["resnet20"], "seeds": [0], "criteria": ["snip"], "removed": [1],
}  # fmt: skip
ROUNDS = {
    "name": "r", "datasets": ["d"], "networks": ["resnet20"], "seeds": [0], "criteria": ["l1"],
    "scored_at": ["trained"], "rounds": {"blocks": 1, "until": 2},
}  # fmt: skip
GIVEN = {
    "datasets": {"d": {"source": "digits"}},
    "studies": [STUDY],
    "training": {"crop": 1},
}
FOLDER = {"source": "folder", "location": "x"}
CIFAR = {"source": "torchvision", "set": "CIFAR10"}


def numbers(annotation, metadata=()):
    """The types int and float in an annotation, each with all that bounds it."""
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is Annotated:
        bounds = [one for extra in parts[1:] for one in getattr(extra, "metadata", [extra])]
        yield from numbers(parts[0], (*bounds, *metadata))
    elif annotation in (int, float):
        yield metadata
    else:
        union = typing.get_origin(annotation) is not list
        for part in parts:
            yield from numbers(part, metadata if union else ())


def models(base=Settings):
    for model in base.__subclasses__():
        yield model
        yield from models(model)


def ends(metadata, *names):
    return [limit for one in metadata for name in names if (limit := getattr(one, name, None)) is not None]


# a depth is bounded by the families that name theirs
FIELDS = [
    (model, name, metadata)
    for model in sorted({*models()}, key=str)
    for name, field in model.model_fields.items()
    for metadata in numbers(field.annotation, field.metadata)
    if (model, name) != (StagedSettings, "depth")
]


@pytest.mark.parametrize(("model", "name", "metadata"), FIELDS, ids=lambda one: getattr(one, "__name__", str(one))[:40])
def test_every_number_has_two_ends_that_hold(model, name, metadata):
    # of two limits at one end pydantic keeps but the last
    ((lowest,), (highest,)) = ends(metadata, "ge", "gt"), ends(metadata, "le", "lt")
    field = model.model_fields[name]
    one = create_model("One", __base__=Settings, **{name: (field.annotation, field)})
    nested = typing.get_origin(field.annotation) is list
    twice = nested and typing.get_origin(typing.get_args(field.annotation)[0]) is list

    def takes(value):
        try:
            one(**{name: [[value]] if twice else [value] if nested else value})
        except ValidationError:
            return False
        return True

    assert takes(lowest) == bool(ends(metadata, "ge"))
    assert takes(highest) == bool(ends(metadata, "le"))
    for beyond in (lowest - 1, highest + 1, -(2**70), 2**70, 10**400, math.nan, math.inf, -math.inf, True, "x", {}):
        assert not takes(beyond), beyond


@pytest.mark.parametrize(
    "given",
    [
        {"networks": {"n": {"depth": 9999998}}},
        {"networks": {"n": {"depth": 20, "width": 10**9}}},
        {"studies": [STUDY | {"seeds": [2**63]}]},
        {"studies": [STUDY | {"networks": ["resnet9999998"]}]},
        {"statistics": {"resamples": 10**12}},
        {"compare": {"images": 2}},
        {"shift": {"calibration_bins": 10**9}},
        {"profile": {"latency_batch": 2**40}},
    ],
)
def test_values_beyond_all_sense_are_refused(given):
    with pytest.raises(LayerLotteryError, match=r"^configuration: "):
        load_benchmark(GIVEN | given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"datasets": {"d": {"source": "digits", "train_size": 1438}}}, "d.train_size: found 1438; .* 1437 training"),
        ({"datasets": {"d": {"source": "digits", "test_size": 361}}}, "d.test_size: found 361; .* 360 test"),
        ({"datasets": {"d": {"source": "digits", "held_out": 1430}}}, "d.held_out: found 1430 of 1437"),
        ({"datasets": {"d": CIFAR | {"train_size": 50_001}}}, "d.train_size: found 50001"),
        (
            {"datasets": {"d": {"source": "digits", "official": {"sets": ["CIFAR-10-C"]}}}},
            "d.official.sets: found CIFAR-10-C, which belongs to CIFAR-10",
        ),
        ({"datasets": {"d": CIFAR | {"official": {"sets": ["CIFAR-100-C"]}}}}, "CIFAR-100-C, which belongs"),
        ({"datasets": {"d": {"source": "digits", "test_fraction": 0.004}}}, "d.test_fraction: found 0.004.* 8 test"),
        ({"datasets": {"d": {"source": "digits", "test_size": 3}}}, "d.test_size: found 3; .* 4 test images or more"),
        (
            {"datasets": {"d": {"source": "digits", "test_size": 3}}, "studies": [ROUNDS]},
            "d.test_size: found 3; .* 4 test images or more",
        ),
        ({"datasets": {"d": FOLDER | {"image_size": 16}}, "training": {"crop": 17}}, "crop: found 17; .* 16 pixels"),
        (
            {"networks": {"v": {"family": "vit", "patch": 3}}, "studies": [STUDY | {"networks": ["v"]}]},
            "networks.v.patch: found 3; it must divide the 8 pixels",
        ),
        (
            {"datasets": {"d": CIFAR}, "outliers": {"near": ["CIFAR10"]}},
            "outliers.near: found CIFAR10, which is the set d itself",
        ),
        ({"training": {"crop": 9}}, "training.crop: found 9; the images of d have 8 pixels a side"),
        ({"criteria": {"snip": {"images_per_class": 144}}}, "snip.images_per_class: found 144; .* at most 143"),
        (
            {
                "criteria": {"l1": {"budget": "pls"}, "pls": {"images_per_class": 144}},
                "studies": [STUDY | {"criteria": ["l1"], "structures": ["weights"]}],
            },
            "pls.images_per_class: found 144",
        ),
        ({"energy": {"country": "XYZ"}}, "energy.country: no energy mix is known for 'XYZ'"),
    ],
)
def test_what_a_set_can_t_give_is_known_before(given, message):
    with pytest.raises(LayerLotteryError, match=message) as raised:
        check_limits(load_benchmark(GIVEN | given))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("structure", ["filters", "weights"])
@pytest.mark.parametrize(
    ("change", "problem"),
    [({"select": "one_by_one"}, "select: found one_by_one"), ({"batch_size": 8}, "batch_size: found 8"),
     ({"parameters": "all"}, "parameters: found all")],
)  # fmt: skip
def test_settings_that_only_scores_of_layers_have(structure, change, problem):
    given = GIVEN | {"criteria": {"snip": change}}
    load_benchmark(given)
    with pytest.raises(LayerLotteryError, match=f"^configuration: criteria.snip.{problem}; {structure} are s"):
        load_benchmark(given | {"studies": [STUDY | {"structures": ["layers", structure]}]})


def test_a_set_of_no_study_is_not_asked():
    others = {"unused": {"source": "digits", "train_size": 10**8}}
    check_limits(load_benchmark(GIVEN | {"datasets": GIVEN["datasets"] | others}))


def test_large_sets_and_seeds_are_allowed():
    # ImageNet's training images; a seed of 63 bits
    large = {"datasets": {"d": FOLDER | {"train_size": 1_281_167}}, "studies": [STUDY | {"seeds": [2**63 - 1]}]}
    check_limits(load_benchmark(GIVEN | large))


@pytest.mark.parametrize("key", ["seeds", "removed"])
def test_a_value_twice_counts_once(key):
    study = load_benchmark(GIVEN | {"studies": [STUDY | {key: [2, 1, 2]}]}).studies[0]
    assert getattr(study, key) == [2, 1]


def test_results_that_are_a_file(tmp_path):
    (tmp_path / "f").touch()
    for results in (tmp_path / "f", tmp_path / "f" / "below"):
        with pytest.raises(LayerLotteryError, match=f"^configuration: results: {tmp_path}/f is a file"):
            check_limits(load_benchmark(GIVEN | {"results": str(results)}))
    with pytest.raises(LayerLotteryError, match=r"results: x+: File name too long"):
        check_limits(load_benchmark(GIVEN | {"results": "x" * 300}))


def test_what_a_set_gives_is_taken():
    sizes = {"train_size": 1437, "test_size": 360, "held_out": 100}
    check_limits(load_benchmark(GIVEN | {"datasets": {"d": {"source": "digits"} | sizes}}))
    official = {"official": {"sets": ["CIFAR-10-C", "CIFAR-10.1"]}}
    check_limits(load_benchmark(GIVEN | {"datasets": {"d": CIFAR | official}}))
    check_limits(load_benchmark(GIVEN | {"energy": {"country": "XYZ", "carbon_intensity": 0.1}}))


@pytest.mark.parametrize("fraction", [0.2, 0.333, 0.5])
def test_the_digits_are_as_many_as_their_reader_gives(fraction):
    given = copy.deepcopy(GIVEN)
    given["datasets"]["d"] |= {"test_fraction": fraction, "shifted": []}
    settings = load_benchmark(given).datasets["d"]
    read, known = LOADERS["digits"](settings), published(settings)
    assert (len(read.train), len(read.test)) == (known.train, known.test)


@pytest.mark.parametrize(
    ("given", "plain"), [("out/", "out"), ("./a//b/", "a/b"), ("/x/../y", "/y"), ("~nobody-here/a", None), (".", None)]
)
def test_a_results_folder_has_one_spelling(given, plain):
    if plain is None:
        with pytest.raises(LayerLotteryError, match="allowed: a folder of its own"):
            load_benchmark(GIVEN | {"results": given})
    else:
        assert load_benchmark(GIVEN | {"results": given}).results == plain


def test_the_home_is_meant(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_benchmark(GIVEN | {"results": "~/bench"}).results == f"{tmp_path}/bench"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("flip", "False", False), ("flip", "no", False), ("flip", "on", True), ("learning_rate", ".1", 0.1),
        ("learning_rate", "1.", 1.0), ("learning_rate", "1e-3", 0.001), ("epochs", "3", 3), ("nesterov", "True", True),
        ("weight_decay", "5E-4", 0.0005), ("learning_rate", "+.5e0", 0.5), ("flip", "OFF", False), ("crop", "+2", 2),
    ],
)  # fmt: skip
def test_words_of_the_command_line_are_those_of_the_file(key, text, value):
    found = load_benchmark(GIVEN | {"training": {key: text}}).training
    assert getattr(found, key) == value
    assert type(getattr(found, key)) is type(value)


@pytest.mark.parametrize(
    ("key", "text"),
    [("epochs", "010"), ("epochs", "1:30"), ("epochs", "0x3"), ("epochs", "1e1"), ("epochs", "yes"), ("flip", "0"),
     ("learning_rate", "nan"), ("learning_rate", ".inf"), ("learning_rate", "1e999"), ("crop", "None"),
     ("epochs", "9" * 5000), ("learning_rate", "00.1")],
)  # fmt: skip
def test_words_that_readers_take_for_different_values_are_refused(key, text):
    with pytest.raises(LayerLotteryError, match=f"training.{key}: found "):
        load_benchmark(GIVEN | {"training": {key: text}})


@pytest.mark.parametrize("nothing", ["None", "null", "~", "Null", ""])
def test_nothing_is_nothing_where_it_may_be(nothing):
    given = {"attack": {"images": nothing}, "criteria": {"snip": {"batch_size": nothing, "budget": nothing}}}
    found = load_benchmark(GIVEN | given)
    assert (found.attack.images, found.criterion("snip").batch_size, found.criterion("snip").budget) == (None,) * 3


def test_text_stays_text():
    titles = [load_benchmark(GIVEN | {"report": {"title": one}}).report.title for one in ("no", "1.", "None", "1:30")]
    assert titles == ["no", "1.", "None", "1:30"]
    options = {"a": "no", "b": "1:30", "c": "010", "d": "False", "e": ".5", "f": ["1", "x"], "g": "None", "h": "1e-3"}
    network = {"family": "torchvision", "name": "resnet18", "options": options}
    read = load_benchmark(GIVEN | {"networks": {"n": network}}).networks["n"].options
    expected = {"a": "no", "b": "1:30", "c": "010", "d": False, "e": 0.5, "f": [1, "x"], "g": "None", "h": 0.001}
    assert read == expected
