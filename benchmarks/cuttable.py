"""What can be cut from which network: `python benchmarks/cuttable.py` writes docs/cuttable.md.

One network, a small one, of each family of torchvision, timm and, where it is installed, transformers; random
weights, nothing is downloaded. Of each: the residual blocks that are found, how many of them are removable, and the
largest share of the multiply-accumulates that goes while every stage keeps a block. `--only NAME` tries some
families; a network that fails is a row that says why.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import time
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision

from layerlottery.cost.network import macs, parameters
from layerlottery.networks.blocks import remove_blocks, residual_blocks, why_none
from layerlottery.networks.examples import called_for
from layerlottery.networks.inputs import called_like, network_of
from layerlottery.networks.selection import removal_order

PAGE = Path(__file__).parents[1] / "docs" / "cuttable.md"
HEADS = ("network", "parameters", "input", "blocks", "removable", "most MACs that go", "why not")
# names of small members of a family, as libraries call them
SMALL = (
    "atto",
    "femto",
    "pico",
    "nano",
    "xxs",
    "xxtiny",
    "_xs",
    "_t0",
    "tiny",
    "_b0",
    "_s0",
    "lite",
    "18",
    "small",
    "_s",
    "_t",
)
CANDIDATES, LARGEST = 6, 60e6
# torchvision's families, by a small member
TORCHVISION = [
    "alexnet",
    "vgg11",
    "googlenet",
    "inception_v3",
    "squeezenet1_1",
    "densenet121",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "shufflenet_v2_x0_5",
    "mnasnet0_5",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
    "swin_v2_t",
    "maxvit_t",
    "deeplabv3_mobilenet_v3_large",
    "fcn_resnet50",
    "lraspp_mobilenet_v3_large",
    "r3d_18",
    "mc3_18",
    "r2plus1d_18",
    "s3d",
    "mvit_v2_s",
    "swin3d_t",
]
VIDEO = {"r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v2_s", "swin3d_t"}
# of transformers: the configuration's class without `Config`, and the head that it is tried with
TEXT = [
    "Bert",
    "DistilBert",
    "Roberta",
    "Electra",
    "Albert",
    "DebertaV2",
    "MPNet",
    "GPT2",
    "OPT",
    "GPTNeo",
    "T5",
    "Bart",
    "ModernBert",
    "Llama",
]
IMAGE = [
    "ViT",
    "DeiT",
    "Beit",
    "Swin",
    "Swinv2",
    "ConvNext",
    "ConvNextV2",
    "ResNet",
    "Segformer",
    "Dinov2",
    "MobileViT",
    "MobileNetV2",
    "RegNet",
    "PoolFormer",
]
NARROW = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 500,
}


def families(only: Sequence[str] | None) -> Iterator[tuple[str, object, object]]:
    """The name, a function that makes the network, and one that makes its example; of all, or by parts of names."""
    found = itertools.chain(of_torchvision(), of_timm(only), of_transformers())
    return (one for one in found if only is None or any(part in one[0] for part in only))


def of_torchvision() -> Iterator[tuple[str, object, object]]:
    for name in TORCHVISION:
        side = (3, 8, 112, 112) if name in VIDEO else (3, 224, 224)
        side = (3, 16, 224, 224) if name == "mvit_v2_s" else (3, 299, 299) if name == "inception_v3" else side
        more = {"weights_backbone": None} if name.startswith(("deeplab", "fcn", "lraspp")) else {}
        yield (
            f"torchvision.{name}",
            lambda n=name, m=more: torchvision.models.get_model(n, weights=None, **m),
            lambda _, s=side: noise(s),
        )


def of_timm(only: Sequence[str] | None) -> Iterator[tuple[str, object, object]]:
    # to find the smallest takes minutes
    asked = only is None or any("timm" in part for part in only)
    for module in timm.list_modules() if asked else ():
        if name := smallest(module):
            yield (
                f"timm.{name}",
                lambda n=name: timm.create_model(n),
                lambda model: noise(model.pretrained_cfg["input_size"]),
            )


def smallest(module: str) -> str | None:
    """The member of a timm module with the fewest parameters among some that have names of small ones."""
    names = timm.list_models(module=module)
    names = [name for part in SMALL for name in names if part in name] + names
    sizes: dict[str, float] = {}
    for name in itertools.islice(dict.fromkeys(names), CANDIDATES):
        try:
            with torch.device("meta"):
                sizes[name] = sum(one.numel() for one in timm.create_model(name).parameters())
        except Exception:  # not every network is made without storage
            sizes[name] = LARGEST
    fitting = {name: size for name, size in sizes.items() if size <= LARGEST}
    return min(fitting, key=lambda name: fitting[name]) if fitting else None


def of_transformers() -> Iterator[tuple[str, object, object]]:
    try:
        import transformers
    except ImportError:
        return
    for kinds, head in ((TEXT, "ForSequenceClassification"), (IMAGE, "ForImageClassification")):
        for kind in kinds:
            if not hasattr(transformers, f"{kind}{head}"):
                continue
            yield (
                f"transformers.{kind}{head}",
                lambda k=kind, h=head: narrow(transformers, k, h),
                (words if kinds is TEXT else pictures),
            )


def narrow(transformers: Any, kind: str, head: str) -> Any:
    """A narrow network of as many layers as the family's default has."""
    config = getattr(transformers, f"{kind}Config")()
    if head == "ForSequenceClassification":
        for name, value in NARROW.items():
            if hasattr(config, name):
                setattr(config, name, value)
    config.pad_token_id = 0
    return getattr(transformers, f"{kind}{head}")(config)


def words(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 100, (2, 16), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def pictures(model: Any) -> torch.Tensor:
    side = getattr(model.config, "image_size", 224)
    return noise((model.config.num_channels, side, side) if isinstance(side, int) else (3, *side))


def noise(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


def row(name: str, make: Any, example_of: Any) -> list[str]:
    """The cells of a network, as HEADS names them."""
    torch.manual_seed(0)
    try:
        model = make()
        example = example_of(model)
        called = called_for(model, example)
        shape = tuple(example.shape[1:]) if isinstance(example, torch.Tensor) else ()
        told = "x".join(map(str, shape)) or "16 tokens"
        size = f"{parameters(called) / 1e6:.1f} M"
        blocks = residual_blocks(called, example)
    except Exception as error:
        return [f"`{name}`", "", "", "", "", "", " ".join(str(error).split())[:120].replace("|", "\\|")]
    rows = [vars(block) | {"score": 0} for block in blocks]
    gone, removable = removal_order(rows, minimum=1), sum(block.removable for block in blocks)
    if not removable:
        return [
            f"`{name}`",
            size,
            told,
            str(len(blocks)),
            "0",
            "",
            why_none(called, blocks, example).partition(": ")[2][:160],
        ]
    small = remove_blocks(network_of(called), gone, {block.name: block.removal for block in blocks})
    before, after = (macs(one, shape, example=example) for one in (called, called_like(called, small)))
    stay = sorted({block.reason.partition(":")[0] for block in blocks if not block.removable})
    return [
        f"`{name}`",
        size,
        told,
        str(len(blocks)),
        str(removable),
        f"{100 * (1 - after / before):.0f} %",
        "; ".join(stay)[:120],
    ]


def page(rows: list[list[str]], took: float, only: Sequence[str] | None) -> str:
    known = [f"{name} {version(name)}" for name in ("torch", "torchvision", "timm", "transformers") if installed(name)]
    lines = [
        "| " + " | ".join(HEADS) + " |",
        "|" + "---|" * len(HEADS),
        *("| " + " | ".join(one) + " |" for one in rows),
    ]
    return TEXT_OF_PAGE.format(
        date=datetime.date.today(),
        part=" --only " + " ".join(only) if only else "",
        known=", ".join(known),
        minutes=took / 60,
        table="\n".join(lines),
    )


def installed(name: str) -> bool:
    try:
        return bool(version(name))
    except ImportError:
        return False


TEXT_OF_PAGE = """# What can be cut from which network

Which residual blocks `layerlottery.find_blocks` finds in networks of other libraries, one small network of each family,
from random weights. *Removable* are blocks whose removal was seen to give what the network computes with the block's
branches at zero. *Most MACs that go* is the share of the multiply-accumulates that goes when each stage keeps one
block (`minimum_per_stage=1`); `minimum_per_stage=0` and `branches=True` reach further. What adds nothing to an
identity has no block: VGG, and DenseNet, which concatenates. Text networks of transformers are narrow, with as many
layers as their family's default.

`python benchmarks/cuttable.py{part}` wrote this on {date} in {minutes:.0f} minutes: {known}.

{table}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="parts of names; the page then holds these families alone")
    parser.add_argument("--output", type=Path, default=PAGE)
    asked, rows, began = parser.parse_args(), [], time.monotonic()
    warnings.simplefilter("ignore")
    for name, make, example_of in families(asked.only):
        rows.append(row(name, make, example_of))
        print("| " + " | ".join(rows[-1]) + " |", flush=True)
        # after each: whoever stops it keeps what was measured
        asked.output.write_text(page(rows, time.monotonic() - began, asked.only), encoding="utf-8")


if __name__ == "__main__":
    main()
