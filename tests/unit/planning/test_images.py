"""Counts of images against the stage that prepares them."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from layerlottery.config.benchmark import load_benchmark
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import PreparedSet
from layerlottery.errors import LayerLotteryError
from layerlottery.planning.images import corrupted, evaluated, image_set, outliers


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


def same(expected, data):
    prepared = PreparedSet.open(data / "facts.json")
    counts = prepared.facts["counts"]
    assert (expected.channels, expected.size, expected.classes) == (
        prepared.channels,
        prepared.image_size,
        len(prepared.classes),
    )
    assert {name: getattr(expected, name) for name in counts} == counts


@pytest.mark.parametrize(
    "settings", [{}, {"held_out": 100}, {"test_fraction": 0.3, "train_size": 500, "test_size": 100}], ids=str
)
def test_digits_are_counted_as_they_are_prepared(tmp_path, settings):
    chosen = benchmark(tmp_path / "results", {"source": "digits", "shifted": []} | settings)
    expected = image_set(chosen, "set")
    prepare(chosen.datasets["set"], tmp_path / "data")
    same(expected, tmp_path / "data")


def test_files_are_counted_as_they_are_prepared(tmp_path):
    source = parquet(tmp_path, train=40, test=12) | {"image_size": 10, "train_size": 30, "held_out": 5}
    chosen = benchmark(tmp_path / "results", source)
    expected = image_set(chosen, "set")
    prepare(chosen.datasets["set"], tmp_path / "data")
    same(expected, tmp_path / "data")
    assert expected.decode_seconds > 0


def test_a_prepared_set_speaks_for_itself(tmp_path):
    source = parquet(tmp_path, train=40, test=12)
    chosen = benchmark(tmp_path / "results", source)
    folder = tmp_path / "results" / "datasets" / "dataset=set"
    prepare(chosen.datasets["set"], folder)
    for name in ("train", "test"):
        (tmp_path / f"{name}.parquet").unlink()
    same(image_set(chosen, "set"), folder)


def test_a_set_that_is_not_there_is_named(tmp_path):
    chosen = benchmark(tmp_path / "results", {"source": "parquet", "location": str(tmp_path / "nowhere")})
    with pytest.raises(LayerLotteryError, match="nowhere"):
        image_set(chosen, "set")


def test_images_of_the_evaluation(tmp_path):
    chosen = benchmark(
        tmp_path,
        {"source": "digits", "held_out": 7, "test_size": 50},
        corruptions={"names": ["fog", "snow"], "severities": [1, 5], "images": 80},
        outliers={"near": ["shuffled"], "far": [], "images": 9},
    )
    images = image_set(chosen, "set")
    # no more images are corrupted than there are
    assert (corrupted(chosen, images), outliers(chosen, images)) == (2 * 2 * 50, 9)
    assert evaluated(chosen, images) == 50 + 7 + 5000 + 200 + 9
