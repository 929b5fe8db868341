"""The model card of a network of a benchmark: what its files say, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from layerlottery import paths
from layerlottery.data.prepared import PreparedSet
from layerlottery.export.making import making
from layerlottery.export.markdown import code, document, pairs, table
from layerlottery.export.measured import robustness
from layerlottery.upkeep.show import Network
from layerlottery.version import __version__
from layerlottery.words import counted, number, percent, seconds, signed

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Exported:
    """A file that was written: bytes, SHA-256, largest difference from the network as a share of its outputs."""

    size: int
    content: str
    difference: float


USES = {
    "network.pt2": """import torch  # nothing else is needed

network = torch.export.load("network.pt2").module()  # only from a source that you trust: load can unpickle
logits = network(images)  # {images}""",
    "network.onnx": """import onnxruntime

session = onnxruntime.InferenceSession("network.onnx")
(logits,) = session.run(["logits"], {{"images": images}})  # {images}, a NumPy array""",
    "weights.safetensors": """import torch, safetensors.torch

network = torch.export.load("network.pt2").module()  # --format program writes it
network.load_state_dict(safetensors.torch.load_file("weights.safetensors"))
logits = network(images)  # {images}""",
}
LIMITS = """- One network of one seed was measured; with other seeds these figures come out differently. What holds on
  average is said by the benchmark's report, not by this card.
- It was trained and tested on `{dataset}`. What is not in this card was not measured.
- Parameters, multiply-accumulates and training memory are counted; latency was measured on `{device}`.
- mCE compares with the dense network of this benchmark, not with AlexNet."""


def result_card(description: Facts, network: Network, prepared: PreparedSet, exported: Mapping[str, Exported]) -> str:
    """The card of a network that `describe` described; `exported` are the files beside it, by name."""
    identity = description["identity"]
    kind = (
        f"ticket with {identity['removed']} blocks removed by {identity['criterion']}"
        if identity["removed"]
        else "dense"
    )
    sections = [
        ("", _summary(description, prepared)),
        ("What it is", pairs(_details(description, prepared))),
        ("Use", _use(prepared, exported)),
        ("Accuracy", _accuracy(description["result"])),
        ("Cost", _cost(description)),
        ("Robustness", robustness(description, network)),
        ("Training", _training(description)),
        ("Provenance", _provenance(description, network, prepared, exported)),
        ("Limits", LIMITS.format(dataset=identity["dataset"], device=description["provenance"]["device"])),
    ]
    return document(f"{identity['network']} on {identity['dataset']}, {kind}, seed {identity['seed']}", sections)


def _summary(description: Facts, prepared: PreparedSet) -> str:
    identity, result = description["identity"], description["result"]
    size = prepared.image_size
    text = f"`{identity['network']}` for images of {prepared.channels} x {size} x {size} of {len(prepared.classes)}"
    text += " classes"
    removal = description["removal"]
    if removal and removal["removed_blocks"]:
        gone = ", ".join(f"`{block}`" for block in removal["removed_blocks"])
        text += f", without the residual blocks {gone}, trained from {_origin(identity['rewind'])}"
    elif removal:
        text += f", of which {identity['structure']} were removed"
    accuracy = "." if result["accuracy"] is None else f". Test accuracy {number(result['accuracy'])} %"
    dense = result.get("dense_accuracy")
    return text + accuracy + ("." if dense is None else f", of the dense network {number(dense)} %.")


def _origin(rewind: str) -> str:
    known = {"0": "the initial weights, θ0", "random": "fresh random weights"}
    return known.get(rewind, f"the dense network's weights after epoch {rewind}")


def _details(description: Facts, prepared: PreparedSet) -> Iterable[tuple[str, object]]:
    identity, removal = description["identity"], description["removal"]
    mean, std = (", ".join(f"{value:.4f}" for value in values) for values in (prepared.mean, prepared.std))
    yield "network", identity["network"]
    yield "images", f"(N, {prepared.channels}, {prepared.image_size}, {prepared.image_size}), values in [0, 1]"
    yield "normalization, inside the network", f"mean {mean}; standard deviation {std}"
    yield "classes, in the order of the logits", ", ".join(prepared.classes)
    if removal:
        yield "removed", ", ".join(removal["removed_blocks"] or []) or f"{identity['structure']}, see below"
        yield "chosen by", f"{identity['criterion']}, scored at {identity['scored_at']}, draw {identity['draw']}"
        yield "kept blocks of equal score", removal["tied"]
        yield "trained from", _origin(identity["rewind"])
        if removal["left"]:
            yield f"{identity['structure']} left", ", ".join(f"{name} {one}" for name, one in removal["left"].items())


def _use(prepared: PreparedSet, exported: Mapping[str, Exported]) -> str:
    images = f"float32 (N, {prepared.channels}, {prepared.image_size}, {prepared.image_size}) in [0, 1]"
    return "\n\n".join(code(text.format(images=images), "python") for name, text in USES.items() if name in exported)


def _accuracy(result: Facts) -> str:
    rows = []
    for name, key in (("this network", "accuracy"), ("dense network, same seed", "dense_accuracy")):
        if result.get(key) is not None:
            rows.append((name, f"{number(result[key])} %"))
    if result.get("delta_accuracy") is not None:
        rows.append(("difference", f"{signed(result['delta_accuracy'])} percentage points"))
    return pairs(rows)


def _cost(description: Facts) -> str:
    cost = description["cost"]
    if cost is None:
        return "Not profiled."
    rows: list[tuple[str, str, str]] = []
    for words, name in (
        ("parameters", "params"),
        ("multiply-accumulates, one image", "macs"),
        ("training memory, one batch (bytes)", "memory_bytes"),
    ):
        share = cost.get(f"{name.removesuffix('_bytes')}_reduction")
        rows.append((words, f"{cost[name]:,}", "" if share is None else percent(share)))
    speed = f"{cost['latency_speedup']:.2f} times as fast" if "latency_speedup" in cost else ""
    images, threads = (
        counted(cost["latency_batch"], "image", "images"),
        counted(cost["latency_threads"], "thread", "threads"),
    )
    rows.append((f"latency, {images}, {threads} (ms)", f"{cost['latency_ms']:.3g}", speed))
    heads = ("", "this network", "saved against the dense network")
    # the last column is empty for a dense network
    return table(heads, rows, right=(1, 2)) if description["removal"] else pairs(row[:2] for row in rows)


def _training(description: Facts) -> str:
    result, training = description["result"], description["training"]
    if result["epochs"] is None:
        return ""
    segments = training["segments"]
    rows = [
        ("epochs", f"{result['epochs']}" + (f", after {result['start_epoch']}" if result["start_epoch"] else "")),
        ("training images", result["train_images"]),
        ("time", seconds(result["train_seconds"])),
        ("energy", f"{1000 * training['kwh']:.4g} Wh" if segments else None),
        ("measured by", "; ".join(dict.fromkeys(one["power_source"] for one in segments))),
    ]
    return pairs(rows)


def _provenance(description: Facts, network: Network, prepared: PreparedSet, exported: Mapping[str, Exported]) -> str:
    files = [
        (f"`{name}`", f"{one.size:,}", f"`{one.content}`", f"{one.difference:.1e}") for name, one in exported.items()
    ]
    inputs = [(f"`{one['file']}`", f"`{one['config_hash']}`") for one in description["files"] if one["config_hash"]]
    rows = [(name.replace("_", " "), value) for name, value in description["provenance"].items()]
    settings = _settings(network, prepared)
    return "\n\n".join(
        part
        for part in (
            pairs([("seed", description["identity"]["seed"]), *rows, ("exported by layerlottery", __version__)]),
            table(("file", "bytes", "SHA-256", "largest difference from the network"), files, right=(1, 3)),
            "Files of the benchmark, with the hash of the configuration, code and inputs that made each:",
            table(("file", "made by"), inputs),
            "Settings:",
            code(json.dumps(settings, indent=1), "json"),
            "Made by these commands; Snakemake needs the benchmark's configuration beside it, the others do not:",
            code("\n".join(making(network, settings)), "bash"),
        )
        if part
    )


def _settings(network: Network, prepared: PreparedSet) -> dict[str, Any]:
    found = dict(_slices(network, prepared))
    return {name: value for name, value in found.items() if value}


def _slices(network: Network, prepared: PreparedSet) -> Iterator[tuple[str, Any]]:
    run = network.run
    held = network.read(paths.trained_weights) or {}
    training = network.read(paths.training_facts) or {}
    yield "dataset", prepared.facts["settings"]
    yield "network", held.get("architecture", {}).get("network")
    if run.removed:
        ticket = network.read(paths.ticket_facts) or {}
        yield "criterion", ticket.get("criterion_settings")
    yield "training", training.get("training_settings")
