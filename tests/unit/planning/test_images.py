"""Counts of images against the stage that prepares them."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from layerlottery.config.loading import load_benchmark
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import PreparedSet
from layerlottery.planning.images import image_counts


def benchmark(results, dataset, **sections):
    study = {
        "name": "s",
        "datasets": ["set"],
        "networks": ["resnet20"],
        "seeds": [0],
        "criteria": ["l1"],
        "removed": [1],
    }
    return load_benchmark({"results": str(results), "datasets": {"set": dataset}, "studies": [study]} | sections)


def parquet(folder, **counts):
    for name, count in counts.items():
        rows = []
        for number in range(count):
            held = io.BytesIO()
            pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(held, "PNG")
            rows.append({"image": {"bytes": held.getvalue(), "path": None}, "label": number % 4})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return {"source": "parquet", "location": str(folder)}


def counted_as_prepared(results, source):
    """The benchmark, after its counts were compared with what the stage made of the set."""
    chosen = benchmark(results, source)
    expected, folder = image_counts(chosen, "set"), results / "datasets" / "dataset=set"
    prepare(chosen.datasets["set"], folder)
    prepared = PreparedSet.open(folder / "facts.json")
    form = prepared.channels, prepared.image_size, len(prepared.classes)
    assert (expected.channels, expected.size, expected.classes) == form
    assert {name: getattr(expected, name) for name in prepared.facts["counts"]} == prepared.facts["counts"]
    return chosen, expected


def test_digits_are_counted_as_they_are_prepared(tmp_path):
    source = {"source": "digits", "shifted": [], "test_fraction": 0.3, "train_size": 500, "held_out": 100}
    counted_as_prepared(tmp_path, source)


def test_files_are_counted_as_they_are_prepared_and_then_not_asked_any_more(tmp_path):
    source = parquet(tmp_path, train=40, test=12) | {"image_size": 10, "train_size": 30, "held_out": 5}
    chosen, expected = counted_as_prepared(tmp_path / "results", source)
    # a set that is to be prepared again is counted by its settings
    other = chosen.model_copy(update={"datasets": {"set": chosen.datasets["set"].model_copy(update={"test_size": 3})}})
    assert image_counts(other, "set") == expected
    assert image_counts(other, "set", prepared=False).test == 3
    for name in ("train", "test"):
        (tmp_path / f"{name}.parquet").unlink()
    assert image_counts(chosen, "set") == expected


def test_a_set_of_torchvision_is_counted_before_it_is_fetched(tmp_path):
    source = {"source": "torchvision", "set": "CIFAR10", "location": str(tmp_path), "held_out": 500}
    found = image_counts(benchmark(tmp_path, source | {"official": {"sets": ["CIFAR-10.1", "CIFAR-10-C"]}}), "set")
    assert (found.shape, found.classes) == ((3, 32, 32), 10)
    assert (found.train, found.held_out, found.test, found.shifted) == (49_500, 500, 10_000, 2000)
    assert not list(tmp_path.iterdir())


def test_made_images_are_those_of_every_condition(tmp_path):
    chosen = benchmark(
        tmp_path,
        {"source": "digits", "test_size": 50},
        corruptions={"names": ["fog", "snow"], "severities": [1, 5], "images": 80},
        outliers={"near": ["shuffled"], "far": [], "images": 9},
    )
    images = image_counts(chosen, "set")
    # no more images are corrupted than there are
    assert (images.shifted, images.corrupted, images.outliers) == (5000, 2 * 2 * 50, 9)
