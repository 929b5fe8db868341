"""Files of trained weights that do not fit, or hold something else: one line each, or the network's own type."""

from types import SimpleNamespace

import pytest
import torch
from tests.unit.networks.test_pretrained import file, refused, saved, settings, started, trained

from layerlottery.networks.pretrained import read_state

__all__ = ["file", "trained"]


@pytest.mark.parametrize(
    ("chosen", "images", "message"),
    [
        ({"name": "resnet34"}, {}, "layer1.2.conv1.weight is missing there, and (64, 64, 3, 3) in the network"),
        ({"name": "resnet50"}, {}, "layer1.0.conv1.weight is (64, 64, 3, 3) there, and (64, 64, 1, 1) in the network"),
        ({"name": "wide_resnet50_2"}, {}, "layer1.0.conv1.weight is (64, 64, 3, 3) there, and (128, 64, 1, 1) in"),
        ({}, {"channels": 1}, "conv1.weight is (64, 3, 7, 7) there, and (64, 1, 7, 7) in the network"),
        ({"stem": "small"}, {}, "conv1.weight is (64, 3, 7, 7) there, and (64, 3, 3, 3) in the network; stem small"),
        ({"family": "timm", "name": "resnet34"}, {}, "layer1.2.conv1.weight is missing there"),
    ],
)
def test_another_architecture_is_one_line_with_the_first_difference(chosen, images, message, file):
    line = refused(started, settings(file, **chosen), **images)
    assert f"pretrained: {file}: weights of another architecture: {message}" in line


def test_a_head_of_other_features_is_no_head_for_other_classes(trained, tmp_path):
    path = saved(tmp_path / "w.pth", {**trained, "fc.weight": torch.ones(1000, 256)})
    assert "fc.weight is (1000, 256) there, and (10, 512) in the network" in refused(started, settings(path))


def test_more_than_the_network_has(trained, tmp_path):
    path = saved(tmp_path / "w.pth", {**trained, "layer5.weight": torch.ones(2, 3)})
    assert "layer5.weight is (2, 3) there, and missing in the network" in refused(started, settings(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: (100 * one).to(torch.int8), "found torch.int8; allowed: floating-point numbers"),
        (lambda one: one * (1 + 1j), "found torch.complex64; allowed: floating-point numbers"),
        (lambda one: one.double() * 1e300, "found values that are beyond those of torch.float32"),
    ],
)
def test_numbers_that_would_not_stay_what_they_are(change, message, trained, tmp_path):
    path = saved(tmp_path / "w.pth", {**trained, "layer1.0.conv1.weight": change(trained["layer1.0.conv1.weight"])})
    assert f"{path}: layer1.0.conv1.weight: {message}" in refused(started, settings(path))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_half_precision_becomes_the_networks_own(kind, trained, tmp_path):
    half = {name: one.to(kind) if one.is_floating_point() else one for name, one in trained.items()}
    model, _ = started(settings(saved(tmp_path / "w.pth", half)))
    assert model.conv1.weight.dtype == torch.float32
    assert torch.equal(model.conv1.weight, half["conv1.weight"].float())


class Harmful:
    def __reduce__(self):
        return print, ("ran",)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"conv1.weight": Harmful()}, "holds more than tensors, or no tensors (UnpicklingError)"),
        (SimpleNamespace(), "holds more than tensors, or no tensors (UnpicklingError)"),
        ({}, "found nothing; allowed: tensors by name"),
        (torch.ones(3), "found Tensor; allowed: tensors by name"),
        ({"epoch": 3}, "epoch: found int; allowed: tensors by name"),
        ({"fc.bias": torch.tensor([1.0, float("nan")])}, "fc.bias: found values that are not finite"),
        ({"fc.bias": torch.ones(2).to_sparse()}, "fc.bias: found a sparse tensor; allowed: a value for each place"),
        ({"fc.bias": torch.ones(2, device="meta")}, "fc.bias: found no values; allowed: a value for each place"),
    ],
)
def test_files_that_hold_no_state(held, message, tmp_path, capfd):
    path = tmp_path / "w.pth"
    torch.save(held, path)
    assert refused(read_state, path).startswith(f"{path}: {message}")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("held", [b"", b"\x80", b"a page that says 404", bytes(100)])
def test_files_that_are_no_weights_at_all(name, held, tmp_path):
    (tmp_path / name).write_bytes(held)
    assert "holds more than tensors, or no tensors" in refused(read_state, tmp_path / name)


def test_a_file_that_changed_since_the_configuration_was_read(trained, tmp_path):
    path = tmp_path / "w.safetensors"
    chosen = settings(saved(path, trained))
    saved(path, {name: one * 2 for name, one in trained.items()})
    assert refused(started, chosen) == (
        f"{path}: was changed after the configuration was read; run the same command again"
    )
