"""Networks of torchvision and timm, random weights: which blocks are found, and what their removal leaves.

The reference is a network in which the last layer of the block's branch was set to zero by hand, by the name that the
network's own source gives it.
"""

import copy

import pytest
import timm
import torch
import torchvision
from torch import nn

import layerlottery as ll
from layerlottery.networks.blocks import remove_blocks

# class: what a branch of it ends with
LAST_LAYERS = {
    "torchvision": {
        "BasicBlock": ["bn2"],
        "Bottleneck": ["bn3"],
        "InvertedResidual": ["conv.-1", "block.-1.1"],
        "MBConv": ["block.-1.1"],
        "ResBottleneckBlock": ["f.c.1"],
        "CNBlock": ["layer_scale"],
        "EncoderBlock": ["self_attention.out_proj", "mlp.3"],
        "SwinTransformerBlock": ["attn.proj", "mlp.3"],
    },
    "timm": {
        "BasicBlock": ["bn2"],
        "Bottleneck": ["bn3", "conv3.bn"],
        "InvertedResidual": ["bn3"],
        "DepthwiseSeparableConv": ["bn2"],
        "PreActBottleneck": ["conv3"],
        "ConvNeXtBlock": ["gamma"],
        "Block": ["attn.proj", "mlp.fc2"],
        "SwinTransformerBlock": ["attn.proj", "mlp.fc2"],
    },
}
# residual connections with an identity, counted in the papers' tables
NETWORKS = {
    "resnet18": (5, {}),
    "resnet34": (13, {}),
    "resnet50": (12, {}),
    "resnet101": (29, {}),
    "wide_resnet50_2": (12, {}),
    "resnext50_32x4d": (12, {}),
    "mobilenet_v2": (10, {}),
    "mobilenet_v3_small": (6, {}),
    "mobilenet_v3_large": (10, {}),
    "efficientnet_b0": (9, {}),
    "regnet_y_400mf": (12, {}),
    "convnext_tiny": (18, {}),
    "vit_b_16": (12, {"image_size": 64}),
    "swin_t": (12, {}),
    "timm.resnet18": (5, {}),
    "timm.resnet50": (12, {}),
    "timm.resnetv2_50": (12, {}),
    "timm.wide_resnet50_2": (12, {}),
    "timm.resnext50_32x4d": (12, {}),
    "timm.mobilenetv2_100": (10, {}),
    "timm.mobilenetv3_large_100": (10, {}),
    "timm.efficientnet_b0": (9, {}),
    "timm.regnety_004": (12, {}),
    "timm.convnext_tiny": (18, {}),
    "timm.vit_tiny_patch16_224": (12, {"img_size": 64}),
    "timm.swin_tiny_patch4_window7_224": (12, {"img_size": 64, "window_size": 2}),
}
# larger ones of the same classes of blocks
LARGE = {"resnet34", "resnet101", "wide_resnet50_2", "resnext50_32x4d", "mobilenet_v3_large"}
LARGE |= {"timm.wide_resnet50_2", "timm.resnext50_32x4d"}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def make(name):
    torch.manual_seed(0)
    options = NETWORKS[name][1] | {"num_classes": 10}
    if name.startswith("timm."):
        return timm.create_model(name.removeprefix("timm."), pretrained=False, **options)
    return torchvision.models.get_model(name, weights=None, **options)


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in NETWORKS])
def network(request):
    """A network that answers, with branches that count."""
    model = make(request.param)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # running statistics that fit: without them a deep network's signal fades away
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(IMAGES)
    model.eval()
    for parameter in model.parameters():
        # zeros, such as a head's or a last BatchNorm's, and layer scales of 1e-6 would hide what a removal changes
        if not parameter.any() or parameter.detach().abs().max() < 1e-3:
            nn.init.uniform_(parameter, 0.1, 0.5)
    return request.param, model


def zeroed(model, name, library):
    """A copy whose block, or branch, `name` adds zeros."""
    changed = copy.deepcopy(model)
    block = changed.get_submodule(name)
    for path in LAST_LAYERS[library][type(block).__name__]:
        for parameter in parameters_at(block, path.split(".")):
            nn.init.zeros_(parameter)
    return changed


def parameters_at(module, path):
    """Of what stands at the path, or nothing; -1 is the last child."""
    for part in path:
        if module is not None:
            module = list(module.children())[-1] if part == "-1" else getattr(module, part, None)
    return [] if module is None else [module] if isinstance(module, nn.Parameter) else list(module.parameters())


@torch.no_grad()
def test_blocks_are_found_and_removal_equals_a_zeroed_branch(network):
    name, model = network
    library = "timm" if name.startswith("timm.") else "torchvision"
    blocks = ll.find_blocks(model, IMAGES)
    assert len(blocks) == NETWORKS[name][0]
    assert {type(model.get_submodule(block)).__name__ for block in blocks} <= set(LAST_LAYERS[library])
    whole, names = model(IMAGES), list(blocks)
    for one in (names[0], names[-1]):
        small = remove_blocks(model, [one], {one: blocks[one].removal})
        expected = zeroed(model, one, library)(IMAGES)
        torch.testing.assert_close(small(IMAGES), expected, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(expected, whole, rtol=1e-3, atol=1e-4)
        assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "swin_t", "timm.vit_tiny_patch16_224"])
def test_all_blocks_may_go_together(name):
    model = make(name).eval()
    library = "timm" if name.startswith("timm.") else "torchvision"
    blocks = ll.find_blocks(model, IMAGES)
    expected = model
    for one in blocks:
        expected = zeroed(expected, one, library)
    small = remove_blocks(model, list(blocks), {one: block.removal for one, block in blocks.items()})
    torch.testing.assert_close(small(IMAGES), expected(IMAGES), rtol=1e-3, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "branch", "last"),
    [
        ("vit_b_16", "encoder.layers.encoder_layer_3.self_attention", "self_attention.out_proj"),
        ("vit_b_16", "encoder.layers.encoder_layer_3.mlp", "mlp.3"),
        ("swin_t", "features.3.1.attn", "attn.proj"),
        ("swin_t", "features.3.1.mlp", "mlp.3"),
        ("timm.vit_tiny_patch16_224", "blocks.5.attn", "attn.proj"),
        ("timm.vit_tiny_patch16_224", "blocks.5.mlp", "mlp.fc2"),
        ("timm.swin_tiny_patch4_window7_224", "layers.1.blocks.0.mlp", "mlp.fc2"),
    ],
)
def test_attention_and_mlp_go_singly(name, branch, last):
    model = make(name).eval()
    nn.init.normal_([module for module in model.modules() if isinstance(module, nn.Linear)][-1].weight)
    found = ll.find_blocks(model, IMAGES, branches=True)
    assert len(found) == 2 * NETWORKS[name][0]
    small = ll.prune(model, [branch], example=IMAGES).model
    changed = copy.deepcopy(model)
    for parameter in changed.get_submodule(branch.rpartition(".")[0]).get_submodule(last).parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(small(IMAGES), changed(IMAGES), rtol=1e-3, atol=1e-4)
    gone = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in small.parameters())
    assert gone > sum(p.numel() for p in model.get_submodule(branch).parameters())  # its norm went with it


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vgg11", "nothing is added to an identity"),
        ("alexnet", "nothing is added to an identity"),
        ("densenet121", "its layers are joined by concatenation, not by addition"),
    ],
)
def test_plain_networks_are_refused_with_the_reason(name, reason):
    model = torchvision.models.get_model(name, weights=None)
    with pytest.raises(ll.LayerLotteryError, match=rf"^\w+: found no residual block; {reason}"):
        ll.find_blocks(model, IMAGES)
