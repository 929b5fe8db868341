"""Values that no run can serve are refused before any work, with the key that holds them."""

from __future__ import annotations

import copy
import typing
from typing import Annotated

import pytest

from layerlottery.config.base import Settings
from layerlottery.config.benchmark import load_benchmark
from layerlottery.config.limits import check_limits, published
from layerlottery.data.prepare import LOADERS
from layerlottery.errors import LayerLotteryError

GIVEN = {
    "datasets": {"d": {"source": "digits"}},
    "studies": [
        {"name": "s", "datasets": ["d"], "networks": ["resnet20"], "seeds": [0], "criteria": ["snip"], "removed": [1]}
    ],
    "training": {"crop": 1},
}
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


@pytest.mark.parametrize("model", sorted({*models()}, key=str), ids=lambda model: model.__name__)
def test_every_number_has_two_ends(model):
    for name, field in model.model_fields.items():
        for metadata in numbers(field.annotation, field.metadata):
            lowest = [x for one in metadata for x in (getattr(one, "ge", None), getattr(one, "gt", None))]
            highest = [x for one in metadata for x in (getattr(one, "le", None), getattr(one, "lt", None))]
            # a depth is bounded by the families that name theirs
            if (model.__name__, name) != ("StagedSettings", "depth"):
                assert any(x is not None for x in lowest), name
                assert any(x is not None for x in highest), name


@pytest.mark.parametrize(
    "given",
    [
        {"networks": {"n": {"depth": 9999998}}},
        {"networks": {"n": {"depth": 20, "width": 10**9}}},
        {"studies": [GIVEN["studies"][0] | {"seeds": [2**63]}]},
        {"studies": [GIVEN["studies"][0] | {"networks": ["resnet9999998"]}]},
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
        ({"training": {"crop": 9}}, "training.crop: found 9; the images of d have 8 pixels a side"),
        ({"criteria": {"snip": {"images_per_class": 144}}}, "snip.images_per_class: found 144; .* at most 143"),
        ({"energy": {"country": "XYZ"}}, "energy.country: no energy mix is known for 'XYZ'"),
    ],
)
def test_what_a_set_can_t_give_is_known_before(given, message):
    with pytest.raises(LayerLotteryError, match=message) as raised:
        check_limits(load_benchmark(GIVEN | given))
    assert "\n" not in str(raised.value)


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
    ],
)  # fmt: skip
def test_words_of_the_command_line_are_those_of_the_file(key, text, value):
    found = load_benchmark(GIVEN | {"training": {key: text}}).training
    assert getattr(found, key) == value
    assert type(getattr(found, key)) is type(value)
