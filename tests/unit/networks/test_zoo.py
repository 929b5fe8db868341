"""Networks of other families against published parameter counts, hand-made passes, and the classes they come from."""

import importlib
import math
import re
import socket
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner
from pydantic import TypeAdapter
from torch import nn
from torch.nn import functional as F
from torchvision import models

from layerlottery.cli.networks import networks as table
from layerlottery.config.networks import (
    Network,
    PreactResNetSettings,
    TimmSettings,
    TorchvisionSettings,
    VisionTransformerSettings,
    WideResNetSettings,
    named_network,
)
from layerlottery.cost.network import macs, parameters, step_memory, training_memory
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import residual_blocks
from layerlottery.networks.initialize import drawn
from layerlottery.networks.predictor import fold
from layerlottery.networks.weights import build, dense_architecture, load_network, network_settings, save_network
from layerlottery.networks.zoo.draws import WithoutDraws
from layerlottery.networks.zoo.preact_resnet import PreactBlock


def from_torchvision(name, **settings):
    return TorchvisionSettings(family="torchvision", name=name, **settings)


def from_timm(name, **settings):
    pytest.importorskip("timm")
    return TimmSettings(family="timm", name=name, **settings)


def made(settings, *, channels=3, classes=10, size=32):
    return build(dense_architecture(settings, channels=channels, classes=classes, image_size=size))


SMALL_VIT = VisionTransformerSettings(family="vit", layers=2, heads=2, hidden=16, mlp=24)
FAMILIES = {
    "wide_resnet": WideResNetSettings(family="wide_resnet", depth=22, widen=1),
    "wide_resnet with dropout": WideResNetSettings(family="wide_resnet", depth=22, widen=1, dropout=0.3),
    "preact_resnet": PreactResNetSettings(family="preact_resnet", depth=20, width=4),
    "preact_resnet A": PreactResNetSettings(family="preact_resnet", depth=20, width=4, shortcut="A"),
    "vit": SMALL_VIT,
    "mobilenet_v2": from_torchvision("mobilenet_v2", stem="small", options={"width_mult": 0.25}),
}


# what the builders build


@pytest.mark.parametrize(
    ("name", "millions"),
    # Zagoruyko & Komodakis 2016, table 4
    [("wrn-16-8", 11.0), ("wrn-40-1", 0.6), ("wrn-40-2", 2.2), ("wrn-40-4", 8.9), ("wrn-28-10", 36.5)],
)
def test_published_parameter_counts_of_wide_networks(name, millions):
    assert parameters(made(named_network(name))) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("depth", [8, 20, 110])
def test_parameters_of_preactivation_networks_by_hand(depth):
    count, norms, convolutions, before = (depth - 2) // 6, 0, 3 * 16 * 9, 16
    for width in (16, 32, 64):
        for _ in range(count):
            norms += 2 * before + 2 * width
            convolutions += 9 * width * (before + width)
            before = width
    projections = 16 * 32 + 32 * 64
    bare = convolutions + norms + 2 * 64 + 65 * 10
    assert parameters(made(named_network(f"preresnet{depth}"))) == bare + projections
    padded = PreactResNetSettings(family="preact_resnet", depth=depth, shortcut="A")
    assert parameters(made(padded)) == bare


def normalized(norm, values):
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return (values - norm.running_mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)


def with_statistics(model):
    """The model in eval mode, its BatchNorm not the identity."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


@pytest.mark.parametrize(("channels", "stride"), [(4, 1), (6, 1), (6, 2)])
def test_a_block_normalises_before_it_convolves_and_projects_what_is_active(channels, stride):
    block = with_statistics(PreactBlock(4, channels, stride, shortcut="B"))
    x = torch.randn(3, 4, 7, 7)
    active = normalized(block.bn1, x).clamp(min=0)
    inner = normalized(block.bn2, F.conv2d(active, block.conv1.weight, stride=stride, padding=1)).clamp(min=0)
    carried = x
    if (channels, stride) != (4, 1):
        carried = F.conv2d(active, block.shortcut.conv.weight, stride=stride)
    torch.testing.assert_close(block(x), F.conv2d(inner, block.conv2.weight, padding=1) + carried)


def test_macs_of_a_transformer_by_hand_attention_included():
    tokens, hidden, mlp = 65, 192, 768
    attention = 4 * tokens * hidden**2 + 2 * tokens**2 * hidden
    patches, classifier = 64 * (4 * 4 * 3) * hidden, hidden * 10
    expected = 12 * (attention + 2 * tokens * hidden * mlp) + patches + classifier
    assert macs(made(named_network("vit_tiny")), (3, 32, 32)) == expected


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("mobilenet_v2", models.MobileNet_V2_Weights),
        ("resnet18", models.ResNet18_Weights),
    ],
)
def test_parameters_as_torchvision_states_them(name, weights):
    model = made(from_torchvision(name), classes=1000, size=224)
    assert parameters(model) == weights.IMAGENET1K_V1.meta["num_params"]


def test_timm_and_torchvision_agree():
    ours = made(from_timm("resnet18", stem="small"), channels=1)
    assert parameters(ours) == parameters(made(from_torchvision("resnet18", stem="small"), channels=1))


@pytest.mark.parametrize("family", FAMILIES)
def test_grey_images_and_any_number_of_classes(family):
    model = made(FAMILIES[family], channels=1, classes=7, size=16).eval()
    assert model(torch.zeros(2, 1, 16, 16)).shape == (2, 7)


# blocks


@pytest.mark.parametrize("name", ["preresnet20", "preresnet8", "wrn-16-1", "wrn-22-2", "vit_tiny"])
def test_the_settings_know_how_many_blocks_can_go(name):
    settings = named_network(name)
    blocks = residual_blocks(made(settings), torch.randn(2, 3, 32, 32), keep_first=settings.keep_first)
    stages = {block.stage: [one for one in blocks if one.stage == block.stage] for block in blocks}
    possible = [min(sum(b.removable for b in held), len(held) - settings.minimum) for held in stages.values()]
    assert sum(max(0, count) for count in possible) == settings.most_removable
    assert len(stages) == (1 if settings.family == "vit" else 3)


# small stems


def last_map(settings):
    """Side of the feature maps before the global pooling."""
    model, sides = made(settings).eval(), []
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            module.register_forward_hook(lambda module, given, out: sides.append(out.shape[-1]))
    model(torch.zeros(1, 3, 32, 32))
    return sides[-1]


@pytest.mark.parametrize(
    ("name", "as_is", "small"),
    [
        ("resnet18", 1, 4),
        ("mobilenet_v2", 1, 2),
        ("mobilenet_v3_small", 1, 2),
        ("efficientnet_b0", 1, 2),
        ("mnasnet0_5", 1, 2),
        ("regnet_y_400mf", 1, 2),
        ("convnext_tiny", 1, 4),
    ],
)
def test_a_small_stem_keeps_larger_maps(name, as_is, small):
    assert last_map(from_torchvision(name)) == as_is
    assert last_map(from_torchvision(name, stem="small")) == small


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("resnet18", 4),
        ("mobilenetv2_050", 2),
        ("mobilenetv3_small_050", 2),
        ("efficientnet_b0", 2),
        ("regnety_002", 2),
        ("convnext_atto", 4),
    ],
)
def test_small_stems_of_timm(name, side):
    assert last_map(from_timm(name, stem="small")) == side


# random weights


def state(model):
    return torch.cat([tensor.flatten().double() for tensor in model.state_dict().values()])


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_follow_the_seed_and_leave_the_global_random_state_alone(family):
    settings = FAMILIES[family]
    architecture = dense_architecture(settings, channels=1, classes=10, image_size=16)
    before = torch.get_rng_state()
    first = drawn(settings, architecture, 1)
    torch.rand(3)
    again, other = drawn(settings, architecture, 1), drawn(settings, architecture, 2)
    assert torch.equal(state(first), state(again))
    assert not torch.equal(state(first), state(other))
    torch.set_rng_state(before)
    drawn(settings, architecture, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_convolutions_of_the_cifar_families_follow_he():
    for name in ("preresnet20", "wrn-22-1"):
        settings = named_network(name)
        model = drawn(settings, dense_architecture(settings, channels=3, classes=10, image_size=32), 0)
        assert model.stage3[2].conv2.weight.var().item() == pytest.approx(2 / (64 * 9), rel=0.03)


def test_every_weight_of_a_fresh_transformer_gets_a_gradient():
    # torchvision starts the classifier at zero, and criteria at initialization would see nothing
    model = drawn(SMALL_VIT, dense_architecture(SMALL_VIT, channels=3, classes=10, image_size=32), 0)
    F.cross_entropy(model(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    weights = {name: one for name, one in model.named_parameters() if name.endswith("weight")}
    assert [name for name, one in weights.items() if not one.grad.any()] == []


def test_branches_that_start_at_zero_are_reported(caplog):
    settings = from_timm("resnet18")
    architecture = dense_architecture(settings, channels=3, classes=10, image_size=32)
    drawn(settings, architecture, 0)
    assert "weights that start at zero: layer1.0.bn2.weight" in caplog.text
    caplog.clear()
    settings = from_timm("resnet18", options={"zero_init_last": False})
    drawn(settings, dense_architecture(settings, channels=3, classes=10, image_size=32), 0)
    assert caplog.text == ""


# files


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_gives_back_the_network_and_draws_nothing(family, tmp_path):
    settings = FAMILIES[family]
    architecture = dense_architecture(settings, channels=1, classes=5, image_size=16)
    model = with_statistics(drawn(settings, architecture, 3))
    save_network(tmp_path / "w.safetensors", model, {"architecture": architecture}, config_hash="made")
    before = torch.get_rng_state()
    loaded, facts = load_network(tmp_path / "w.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    assert network_settings(facts["architecture"]) == settings
    images = torch.randn(2, 1, 16, 16)
    assert torch.equal(loaded.eval()(images), model(images))


def test_nothing_is_fetched(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a network asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    for settings in (from_torchvision("resnet18"), from_timm("resnet18"), SMALL_VIT):
        made(settings)


# predictors and costs


@pytest.mark.parametrize("family", FAMILIES)
def test_predictors_of_other_families_compute_the_same_and_fold_nothing(family):
    model = with_statistics(made(FAMILIES[family], size=16))
    folded = fold(model).to(memory_format=torch.channels_last)
    images = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(folded(images), model(images), rtol=1e-4, atol=1e-5)
    norms = [sum(isinstance(one, nn.BatchNorm2d) for one in net.modules()) for net in (model, folded)]
    assert norms[0] == norms[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_memory_of_a_large_batch_follows_from_small_ones(family):
    model = made(FAMILIES[family], size=16)
    expected = training_memory(model, (3, 16, 16), batch_size=9).total
    assert step_memory(model, (3, 16, 16), batch_size=9) == expected


# mistakes


@pytest.mark.parametrize(
    ("settings", "size", "message"),
    [
        (SMALL_VIT, 9, "family vit with patch 4 can't take images of 9 pixels a side; allowed: multiples"),
        (from_torchvision("resnet17"), 32, "torchvision has no network 'resnet17'; the closest names are resnet18"),
        (from_torchvision("fcn_resnet50"), 32, "torchvision has no network 'fcn_resnet50'"),
        (
            from_torchvision("squeezenet1_1", stem="small"),
            32,
            r"not known for torchvision.squeezenet1_1 \(SqueezeNet\)",
        ),
        (from_torchvision("resnet18", options={"depth": 3}), 32, "torchvision.resnet18 can't be made: TypeError"),
        (
            from_torchvision("resnet18", options={"weights": "DEFAULT"}),
            32,
            "weights is not allowed; channels",
        ),
        (from_torchvision("vit_b_16"), 30, "torchvision.vit_b_16 can't be made: AssertionError"),
    ],
)
def test_what_can_not_be_made_is_one_line(settings, size, message):
    with pytest.raises(LayerLotteryError, match=message) as caught:
        made(settings, size=size)
    assert "\n" not in str(caught.value)


def test_mistakes_with_timm():
    for settings, message in (
        (from_timm("resnet17"), "timm has no network 'resnet17'; the closest names are resnet18"),
        (from_timm("resnet18d", stem="small"), "stem small is not known for timm.resnet18d"),
        (from_timm("resnet18", options={"pretrained": True}), "pretrained is not allowed"),
    ):
        with pytest.raises(LayerLotteryError, match=message):
            made(settings)


def test_timm_that_is_not_installed(monkeypatch):
    real = importlib.import_module

    def without(name, *args):
        if name == "timm":
            raise ModuleNotFoundError(name)
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(LayerLotteryError, match=r"needs the package timm, .* it comes with layerlottery\[timm\]"):
        made(TimmSettings(family="timm", name="resnet18"))


def test_finite_logits_at_the_start():
    for name, settings in FAMILIES.items():
        model = drawn(settings, dense_architecture(settings, channels=3, classes=10, image_size=16), 0).train()
        logits = model(torch.randn(8, 3, 16, 16))
        assert math.isfinite(F.cross_entropy(logits, torch.arange(8)).item()), name


def test_truncated_draws_end_at_once_where_nothing_is_drawn():
    # torch draws those again until all are inside, and there is nothing random to wait for
    with WithoutDraws():
        for low, high in ((-2.0, 2.0), (-0.02, 0.02), (1.0, 1.5)):
            values = nn.init.trunc_normal_(torch.full((4, 4), 9.0), a=low, b=high)
            assert ((low <= values) & (values <= high)).all()


# docs/networks.md

PAGE = (Path(__file__).parents[3] / "docs" / "networks.md").read_text()


def test_the_entries_of_the_page_are_valid():
    snippet, _ = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    networks = TypeAdapter(dict[str, Network]).validate_python(yaml.safe_load(snippet))
    assert {one.family for one in networks.values()} >= {"resnet", "wide_resnet", "vit", "torchvision", "timm"}


@pytest.mark.parametrize("name", ["resnet20", "wrn-16-4", "vit_tiny", "torchvision.mobilenet_v2"])
def test_the_table_of_the_page_is_what_its_command_prints(name):
    printed = CliRunner().invoke(table, [name, "--stem", "small"])
    assert printed.exit_code == 0
    assert printed.output.splitlines()[-1] in PAGE


def test_the_table_of_an_unknown_network():
    assert "found 'vgg'; allowed: resnet20" in str(CliRunner().invoke(table, ["vgg"]).exception)
