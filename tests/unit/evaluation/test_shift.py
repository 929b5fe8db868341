import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from pytorch_ood.metrics import OODMetrics
from scipy.special import log_softmax

from layerlottery.config.data import Digits
from layerlottery.config.evaluation import CorruptionSettings, OutlierSettings, ShiftSettings
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import FACTS, PreparedSet, Split
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation import shift as stage_module
from layerlottery.evaluation.calibration import calibration
from layerlottery.evaluation.corrupt import corrupt
from layerlottery.evaluation.corruptions import corrupt_images
from layerlottery.evaluation.forward import evaluate_logits, right
from layerlottery.evaluation.outliers import outliers
from layerlottery.evaluation.shift import held_out_temperature, shift
from layerlottery.networks.resnet import initialize
from layerlottery.networks.weights import build, load_network, save_network
from layerlottery.store.arrays import read_array, write_array
from layerlottery.store.artifacts import read_facts, read_table, write_facts
from layerlottery.store.schemas import arrow_schema

ARCHITECTURE = {"network": {"depth": 8, "width": 4}, "channels": 1, "classes": 10, "removed_blocks": []}
SCALED = ("nll_scaled", "brier_scaled", "ece_scaled")
MEASURES = {"auroc": "AUROC", "aupr_in": "AUPR-IN", "aupr_out": "AUPR-OUT", "fpr95": "FPR95TPR"}


class Trained(NamedTuple):
    """The facts file of a prepared set and the weights of a network that has learnt it."""

    data: object
    weights: object

    @property
    def prepared(self):
        return PreparedSet.open(self.data)


def trained_network(prepared):
    """A few steps on all training images at once: enough to know most digits, and to be too sure of itself."""
    train = prepared.split("train")
    images = torch.tensor((train.images / 255 - prepared.mean[0]) / prepared.std[0], dtype=torch.float32)
    labels = torch.tensor(np.array(train.labels))
    network = build(ARCHITECTURE)
    initialize(network, seed=3)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network.train()(images), labels).backward()
        optimizer.step()
    return network


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held_out")
    prepare(Digits(source="digits", train_size=150, test_size=80, held_out=60, shifted=[]), folder)
    weights = folder / "weights.safetensors"
    network = trained_network(PreparedSet.open(folder / FACTS))
    save_network(weights, network, {"architecture": ARCHITECTURE}, config_hash="0" * 64)
    return Trained(folder / FACTS, weights)


class Stage:
    """The stage and its inputs, and what a direct computation says."""

    def __init__(self, bench, folder, device):
        self.bench, self.folder, self.device = bench, folder, device
        self.images, self.facts = folder / "corrupted.npy", folder / "corrupted.json"
        self.outlier_images, self.outlier_facts = folder / "outliers.npy", folder / "outliers.json"
        self.weights = bench.weights
        self.outliers(near=[], far=[])

    def corrupt(self, **settings):
        corrupt(self.bench.data, self.images, self.facts, CorruptionSettings(**settings))
        return self

    def outliers(self, **settings):
        outliers(self.bench.data, self.outlier_images, self.outlier_facts, OutlierSettings(**settings))
        return self

    def run(self, **settings):
        """Both tables: conditions and detection."""
        made = self.folder / "shift.parquet", self.folder / "detection.parquet"
        shift(
            self.weights,
            self.bench.data,
            self.images,
            self.facts,
            made[0],
            ShiftSettings(**settings),
            device=self.device,
            outlier_images=self.outlier_images,
            outlier_facts=self.outlier_facts,
            output_detection=made[1],
        )
        return [read_table(path) for path in made]

    def table(self, **settings):
        return self.run(**settings)[0]

    def logits(self, images):
        """In double precision, all images at once, by torch alone."""
        network, _ = load_network(self.weights)
        prepared = self.bench.prepared
        values = (torch.tensor(np.array(images)).double() / 255 - prepared.mean[0]) / prepared.std[0]
        with torch.no_grad():
            return network.eval().double()(values).numpy()

    def expected(self, images, labels, temperature=None):
        logits = self.logits(images)
        right = sum(int(row.argmax() == label) for row, label in zip(logits, labels, strict=True))
        found = {"accuracy": 100 * right / len(labels)} | vars(calibration(logits, labels, bins=15))
        if temperature is not None:
            scaled = vars(calibration(logits / temperature, labels, bins=15))
            found |= {f"{name}_scaled": value for name, value in scaled.items()}
        return found


@pytest.fixture
def stage(bench, tmp_path, cpu):
    return Stage(bench, tmp_path, cpu)


@pytest.fixture
def knowing(trained, tmp_path, cpu):
    """The stage on a set with held-out images, and a network that knows it."""
    return Stage(trained, tmp_path, cpu)


def check(row, expected, images):
    assert row["images"] == images
    assert {key: row[key] for key in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_rows_and_columns(stage):
    table = stage.corrupt(names=["jpeg_compression", "contrast"], severities=[1, 4]).table()
    rows = [(row["kind"], row["name"], row["level"], row["origin"]) for row in table.to_pylist()]
    assert rows == [
        ("clean", "clean", 0, None),
        ("clean", "corrupted images", 0, None),
        ("shift", "mnist", 0, None),
        ("corruption", "jpeg_compression", 1, "generated"),
        ("corruption", "jpeg_compression", 4, "generated"),
        ("corruption", "contrast", 1, "generated"),
        ("corruption", "contrast", 4, "generated"),
    ]
    # columns without any value are left out: without held-out images, those of the temperature
    names = ["kind", "name", "level", "origin", "accuracy", "nll", "brier", "ece", "images"]
    assert table.column_names == [*names, "answers", "images_hash", "predicted"]
    known = {field.name: field.type for name in ("robustness", "answers") for field in arrow_schema(name)}
    assert all(field.type == known[field.name] for field in table.schema)


def test_without_held_out_images_there_is_no_temperature(stage):
    table = stage.corrupt(names=["contrast"], severities=[1]).table()
    assert not {*SCALED, "temperature", "norm"} & set(table.column_names)
    assert not any(table[name].null_count for name in ("accuracy", "nll", "brier", "ece", "images"))


def test_clean_and_shifted_rows_agree_with_a_direct_computation(stage):
    clean, _, mnist = stage.corrupt(names=[]).table().to_pylist()
    prepared = stage.bench.prepared
    for row, split in ((clean, prepared.split("test")), (mnist, prepared.shifted()["mnist"])):
        check(row, stage.expected(split.images, split.labels), len(split.labels))


def test_corrupted_rows_agree_on_a_subset_of_the_images(stage):
    rows = stage.corrupt(names=["gaussian_noise"], severities=[5], images=30, seed=2).table().to_pylist()
    test, chosen = stage.bench.prepared.split("test"), read_facts(stage.facts)["indices"]
    images = corrupt_images(test.images, name="gaussian_noise", severity=5, seed=2)[chosen]
    check(rows[-1], stage.expected(images, test.labels[chosen]), 30)
    assert (rows[1]["kind"], rows[1]["name"]) == ("clean", "corrupted images")
    check(rows[1], stage.expected(test.images[chosen], test.labels[chosen]), 30)


def published(stage, clean):
    """Corrupted images with labels of their own, as of an official set."""
    random = np.random.default_rng(6)
    array = random.integers(0, 256, (2, 25, 1, 8, 8), dtype=np.uint8)
    labels = random.integers(0, 10, 25)
    facts = {
        "conditions": [["fog", 2], ["snow", 5]],
        "labels": labels.tolist(),
        "indices": random.permutation(60)[:25].tolist(),
        "clean": clean,
        "origin": "official",
        "data": stage.bench.prepared.content,
        "array": write_array(stage.images, array),
    }
    write_facts(stage.facts, facts, config_hash="1" * 64)
    return array, labels, facts["indices"]


def test_published_corruptions_are_judged_by_their_own_labels(stage):
    array, labels, _ = published(stage, clean=False)
    clean, mnist, fog, snow = stage.table().to_pylist()
    assert (clean["kind"], mnist["kind"]) == ("clean", "shift")
    for row, images, name, level in ((fog, array[0], "fog", 2), (snow, array[1], "snow", 5)):
        assert (row["kind"], row["name"], row["level"], row["origin"]) == ("corruption", name, level, "official")
        check(row, stage.expected(images, labels), 25)


def test_their_clean_images_are_looked_up_by_their_places(stage):
    _, labels, indices = published(stage, clean=True)
    row = stage.table().to_pylist()[1]
    assert row["name"] == "corrupted images"
    check(row, stage.expected(stage.bench.prepared.split("test").images[indices], labels), 25)


def test_a_temperature_fitted_to_held_out_images_scales_every_row(knowing):
    rows = knowing.corrupt(names=["contrast"], severities=[5]).table().to_pylist()
    held_out, test = knowing.bench.prepared.split("held_out"), knowing.bench.prepared.split("test")
    grid = np.exp(np.linspace(math.log(0.05), math.log(100), 4001))
    logits = knowing.logits(held_out.images)
    places = np.arange(len(held_out)), held_out.labels
    losses = [-log_softmax(logits / one, axis=1)[places].mean() for one in grid]
    temperature = rows[0]["temperature"]
    assert 0.06 < temperature < 90
    assert temperature == pytest.approx(grid[np.argmin(losses)], rel=2e-3)
    assert [row["temperature"] for row in rows[1:]] == [None, None]
    contrast = corrupt_images(test.images, name="contrast", severity=5, seed=0)
    for row, images in zip(rows, (test.images, test.images, contrast), strict=True):
        check(row, knowing.expected(images, test.labels, temperature), len(test))
    assert abs(rows[0]["nll"] - rows[0]["nll_scaled"]) > 0.01


def test_held_out_images_need_a_planted_temperature():
    random = np.random.default_rng(1)
    logits = random.normal(0, 3, (5000, 10)).astype(np.float32)
    labels = (logits / 3 + random.gumbel(size=logits.shape)).argmax(axis=1)
    held_out = Split(np.arange(5000, dtype=np.int64), labels)
    assert held_out_temperature(lambda images: logits[images], held_out) == pytest.approx(3, rel=0.05)


def test_detection_agrees_with_pytorch_ood(knowing):
    _, table = knowing.corrupt(names=[]).outliers(near=["photographs"], far=["shuffled"], images=50).run()
    held = read_facts(knowing.outlier_facts)
    array = read_array(knowing.outlier_images, held["array"])
    inside, outside = knowing.logits(knowing.bench.prepared.split("test").images), knowing.logits(array)
    scores = {
        "msp": lambda logits: np.exp(log_softmax(logits, axis=1)).max(axis=1),
        "max_logit": lambda logits: logits.max(axis=1),
        "energy": lambda logits: np.log(np.exp(logits).sum(axis=1)),
    }
    wanted = []
    for name, distance, part in (("photographs", "near", outside[:50]), ("shuffled", "far", outside[50:])):
        for score, function in scores.items():
            metrics = OODMetrics()
            for logits, label in ((inside, 1), (part, -1)):
                metrics.update(torch.tensor(-function(logits)), torch.full((len(logits),), label))
            found = {ours: metrics.compute()[theirs] for ours, theirs in MEASURES.items()}
            wanted.append(({"outliers": name, "distance": distance, "score": score}, found))
    for row, (place, measures) in zip(table.to_pylist(), wanted, strict=True):
        assert {key: row[key] for key in place} == place
        assert {key: row[key] for key in measures} == pytest.approx(measures, abs=1e-3)
        assert (row["in_images"], row["out_images"]) == (80, 50)
        assert 0 <= row["fpr95_in"] <= 1
        # a network that knows digits tells them from what is none
        assert row["auroc"] > 0.6
    columns = ["outliers", "distance", "score", *("auroc", "aupr_in", "aupr_out"), "fpr95", "fpr95_in"]
    assert table.column_names == [*columns, "in_images", "out_images"]
    assert all(field.type == arrow_schema("detection").field(field.name).type for field in table.schema)


def test_no_outliers_make_an_empty_table(knowing):
    table = knowing.corrupt(names=[]).run()[1]
    assert len(table) == 0
    assert "auroc" in table.column_names


def test_no_image_is_evaluated_twice(knowing, monkeypatch):
    seen = []

    def counting(model, images, device):
        seen.append(len(images))
        return evaluate_logits(model, images, device)

    monkeypatch.setattr(stage_module, "evaluate_logits", counting)
    knowing.corrupt(names=["contrast"], severities=[1, 2], images=20).outliers(images=30).run()
    assert sorted(seen) == sorted([80, 60, 20, 20, 30, 30])


def test_a_diverged_network_has_nulls_and_no_crash(knowing):
    network, facts = load_network(knowing.weights)
    with torch.no_grad():
        list(network.parameters())[-1].fill_(math.nan)
    knowing.weights = knowing.folder / "diverged.safetensors"
    save_network(knowing.weights, network, {"architecture": facts["architecture"]}, config_hash="0" * 64)
    conditions, detection = knowing.corrupt(names=["contrast"], severities=[1]).outliers(images=10).run()
    assert not {*SCALED, "temperature"} & set(conditions.column_names)
    assert {detection[name].null_count for name in (*MEASURES, "fpr95_in")} == {len(detection)} == {6}


def test_bins_reach_the_calibration_error_and_the_hash(knowing):
    knowing.corrupt(names=[])
    coarse, fine = knowing.table(calibration_bins=1), knowing.table(calibration_bins=500)
    assert coarse["nll"] == fine["nll"]
    assert coarse["ece"][0].as_py() < fine["ece"][0].as_py()
    assert coarse.schema.metadata[b"config_hash"] != fine.schema.metadata[b"config_hash"]


def hashes(tables):
    return [table.schema.metadata[b"config_hash"] for table in tables]


def test_each_hash_follows_what_the_table_was_made_from(knowing):
    first = hashes(knowing.corrupt(names=["contrast"], seed=0).outliers(images=10).run())
    assert hashes(knowing.run()) == first
    other = hashes(knowing.corrupt(names=["contrast"], seed=1).run())
    assert other[0] != first[0]
    assert other[1] == first[1]
    last = hashes(knowing.outliers(images=10, seed=1).run())
    assert last[0] == other[0]
    assert last[1] != first[1]


def changed(path, **entries):
    facts = read_facts(path) | entries
    made_by = facts.pop("config_hash")
    write_facts(path, {name: value for name, value in facts.items() if value is not None}, config_hash=made_by)


@pytest.mark.parametrize(("name", "words"), [("corrupted", "the corrupt stage"), ("outliers", "the outliers stage")])
def test_files_of_another_set_are_refused(knowing, name, words):
    knowing.corrupt(names=["contrast"], severities=[1])
    changed(knowing.folder / f"{name}.json", data="0" * 64)
    with pytest.raises(LayerLotteryError, match=rf"{name}\.json: not made from the image set .*; run {words} on it$"):
        knowing.run()
    assert not (knowing.folder / "shift.parquet").exists()


@pytest.mark.parametrize(("name", "gone"), [("corrupted", "labels"), ("outliers", "sets")])
def test_facts_of_another_version_are_refused(knowing, name, gone):
    knowing.corrupt(names=["contrast"], severities=[1])
    changed(knowing.folder / f"{name}.json", **{gone: None})
    with pytest.raises(LayerLotteryError, match=rf"{name}\.json: {gone} missing; run the \w+ stage again$"):
        knowing.run()


@pytest.mark.parametrize("name", ["corrupted", "outliers"])
def test_changed_images_are_refused_and_earlier_results_kept(knowing, name):
    knowing.corrupt(names=["contrast"], severities=[1]).outliers(images=10).run()
    kept = [(knowing.folder / f"{table}.parquet").read_bytes() for table in ("shift", "detection")]
    path = knowing.folder / f"{name}.npy"
    held = bytearray(path.read_bytes())
    held[-1] ^= 1
    path.write_bytes(held)
    with pytest.raises(LayerLotteryError, match=rf"{name}\.npy: its content does not match its hash"):
        knowing.run()
    assert kept == [(knowing.folder / f"{table}.parquet").read_bytes() for table in ("shift", "detection")]


def test_logits_keep_order_and_do_not_depend_on_the_batch_size(cpu):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4)).eval()
    images = np.random.default_rng(0).integers(0, 256, (230, 3, 8, 8), dtype=np.uint8)
    logits = evaluate_logits(model, images, cpu, batch_size=50)
    weight, bias = (value.detach().numpy().astype(float) for value in model[1].parameters())
    expected = images.reshape(230, 192) / 255 @ weight.T + bias
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, evaluate_logits(model, images, cpu), rtol=1e-5, atol=1e-6)


def test_the_largest_logit_is_the_answer():
    found = right(np.array([[0.1, 0.2], [3.0, 1.0], [0.0, 1.0], [5.0, 6.0]]), np.array([1, 0, 1, 0]))
    assert found.tolist() == [True, True, True, False]


def test_a_diverged_network_is_never_right():
    assert right(np.array([[np.nan, 0.2], [3.0, 1.0]]), np.array([0, 0])).tolist() == [False, True]


def test_answers_are_those_that_the_accuracy_counts(stage):
    rows = stage.corrupt(names=["contrast", "fog"], severities=[1, 4]).table().to_pylist()
    for row in rows:
        bits = np.unpackbits(np.frombuffer(row["answers"], np.uint8), count=row["images"])
        assert 100 * bits.mean() == pytest.approx(row["accuracy"])
        assert len(row["answers"]) == -(-row["images"] // 8)
    clean = rows[0]
    assert len(clean["predicted"]) == clean["images"]
    assert [row["predicted"] for row in rows[1:]] == [None] * (len(rows) - 1)
    # corrupted images are one list, which the clean set's choice of them shares; shifted sets have their own
    lists = {}
    for row in rows:
        lists.setdefault(row["kind"] if row["name"] != "corrupted images" else "corruption", set()).add(
            row["images_hash"]
        )
    assert all(len(own) == 1 for own in lists.values())
    assert lists["shift"].isdisjoint(lists["corruption"] | lists["clean"])
