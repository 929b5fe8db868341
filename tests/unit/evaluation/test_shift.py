import numpy as np
import pytest
import torch

from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation.calibration import calibration
from layerlottery.evaluation.corrupt import corrupt
from layerlottery.evaluation.corruptions import corrupt_images
from layerlottery.evaluation.forward import accuracy, evaluate_logits
from layerlottery.evaluation.shift import shift
from layerlottery.networks.weights import load_network
from layerlottery.results.artifacts import read_facts, read_table, write_facts
from layerlottery.results.schemas import arrow_schema
from layerlottery.settings import CorruptionSettings, ShiftSettings


class Stage:
    """The stage on the small set, and what a direct computation says."""

    def __init__(self, bench, folder, device):
        self.bench, self.folder, self.device = bench, folder, device
        self.images, self.facts = folder / "corrupted.npy", folder / "corrupted.json"

    def corrupt(self, **settings):
        corrupt(self.bench.data, self.images, self.facts, CorruptionSettings(**settings))
        return self

    def table(self, **settings):
        output = self.folder / "shift.parquet"
        shift(
            self.bench.weights,
            self.bench.data,
            self.images,
            self.facts,
            output,
            ShiftSettings(**settings),
            device=self.device,
        )
        return read_table(output)

    def expected(self, images, labels):
        network, _ = load_network(self.bench.weights)
        prepared = self.bench.prepared
        values = (torch.tensor(images).double() / 255 - prepared.mean[0]) / prepared.std[0]
        with torch.no_grad():
            logits = network.eval().double()(values).numpy()
        trust = calibration(logits, labels, bins=15)
        right = sum(int(row.argmax() == label) for row, label in zip(logits, labels, strict=True))
        return {"accuracy": 100 * right / len(labels), "nll": trust.nll, "brier": trust.brier, "ece": trust.ece}


@pytest.fixture
def stage(bench, tmp_path, cpu):
    return Stage(bench, tmp_path, cpu)


def check(row, expected, images):
    assert row["images"] == images
    assert {key: row[key] for key in expected} == pytest.approx(expected, rel=1e-4)


def test_rows_and_columns(stage):
    table = stage.corrupt(names=["jpeg", "contrast"], severities=[1, 4]).table()
    rows = [(row["kind"], row["name"], row["level"]) for row in table.to_pylist()]
    assert rows == [
        ("clean", "clean", 0),
        ("shift", "mnist", 0),
        ("corruption", "jpeg", 1),
        ("corruption", "jpeg", 4),
        ("corruption", "contrast", 1),
        ("corruption", "contrast", 4),
    ]
    assert table.column_names == ["kind", "name", "level", "accuracy", "nll", "brier", "ece", "images"]
    assert all(field.type == arrow_schema("robustness").field(field.name).type for field in table.schema)
    assert not any(column.null_count for column in table.columns)


def test_clean_and_shifted_rows_agree_with_a_direct_computation(stage):
    clean, mnist = stage.corrupt(names=[]).table().to_pylist()
    prepared = stage.bench.prepared
    for row, split in ((clean, prepared.split("test")), (mnist, prepared.shifted()["mnist"])):
        check(row, stage.expected(split.images, split.labels), len(split.labels))


def test_corrupted_rows_agree_on_a_subset_of_the_images(stage):
    rows = stage.corrupt(names=["gaussian_noise"], severities=[5], images=30, seed=2).table().to_pylist()
    test, chosen = stage.bench.prepared.split("test"), read_facts(stage.facts)["indices"]
    images = corrupt_images(test.images, name="gaussian_noise", severity=5, seed=2)[chosen]
    check(rows[-1], stage.expected(images, test.labels[chosen]), 30)


def test_bins_reach_the_calibration_error_and_the_hash(stage):
    stage.corrupt(names=[])
    coarse, fine = stage.table(calibration_bins=1), stage.table(calibration_bins=500)
    assert coarse["nll"] == fine["nll"]
    assert coarse["ece"][0].as_py() < fine["ece"][0].as_py()
    assert coarse.schema.metadata[b"config_hash"] != fine.schema.metadata[b"config_hash"]


def test_the_hash_follows_the_corruptions(stage):
    hashes = [stage.corrupt(names=["jpeg"], seed=seed).table().schema.metadata[b"config_hash"] for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_corruptions_of_another_set_are_refused(stage):
    stage.corrupt(names=["jpeg"], severities=[1])
    facts = read_facts(stage.facts) | {"data": "0" * 64}
    write_facts(stage.facts, facts, config_hash=facts.pop("config_hash"))
    with pytest.raises(LayerLotteryError, match=r"corrupted\.json: not made from the image set"):
        stage.table()


def test_changed_corrupted_images_are_refused(stage):
    stage.corrupt(names=["jpeg"], severities=[1])
    held = bytearray(stage.images.read_bytes())
    held[-1] ^= 1
    stage.images.write_bytes(held)
    with pytest.raises(LayerLotteryError, match=r"corrupted\.npy"):
        stage.table()


def test_logits_keep_order_and_do_not_depend_on_the_batch_size(cpu):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4)).eval()
    images = np.random.default_rng(0).integers(0, 256, (23, 3, 8, 8), dtype=np.uint8)
    logits = evaluate_logits(model, images, cpu, batch_size=5)
    weight, bias = (value.detach().numpy().astype(float) for value in model[1].parameters())
    expected = images.reshape(23, 192) / 255 @ weight.T + bias
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, evaluate_logits(model, images, cpu), rtol=1e-5, atol=1e-6)


def test_accuracy_is_in_percent():
    assert accuracy(np.array([[0.1, 0.2], [3.0, 1.0], [0.0, 1.0], [5.0, 6.0]]), np.array([1, 0, 1, 0])) == 75
