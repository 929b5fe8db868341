"""Whatever a configuration holds, there is a benchmark, or one short line that says why there is none."""

from __future__ import annotations

import copy
import json
import math
import os
from datetime import date
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from layerlottery.cli.configuration import load_configuration
from layerlottery.cli.upkeep import stale
from layerlottery.config.limits import check_limits
from layerlottery.config.loading import load_benchmark
from layerlottery.errors import LayerLotteryError

TEXT = Path("config.yaml").read_text(encoding="utf-8")
WHOLE = yaml.safe_load(TEXT) | {
    "criteria": {"kl": {"batch_size": 4}, "mine": {"function": "snip", "options": {}}},
    "networks": {
        "v": {"family": "vit", "patch": 2},
        "w": {"family": "wide_resnet", "depth": 10, "widen": 1},
        "t": {"family": "torchvision", "name": "resnet18", "options": {"a": 1}},
    },
    "energy": {"country": "DEU"},
    "resources": {"training_threads": 1},
}
WHOLE["datasets"] |= {
    "p": {"source": "parquet", "location": "x", "shifted": {"a": "b"}, "train": ["a", "b"]},
    "f": {"source": "folder", "location": "x", "image_size": 32},
    "c": {"source": "torchvision", "set": "CIFAR10", "official": {"sets": ["CIFAR-10-C"]}},
}
CIRCLE: list = []
CIRCLE.append(CIRCLE)
ODD = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, -(10**400)),
    *(0.5, 1e-320, 1e308, math.nan, math.inf, -math.inf),
    *("", " ", "no", "None", "1e3", ".1", "0x10", "1_0", "9" * 5000, "x" * 10_000),
    *("\x00", "\x1b[2J", "a\nb", "é", "\u202e", "\ud800", "..", "/", "~", "~x/y", "{seed}", "a,b"),
    *("random", "sd", "digits", "snip", "resnet20", "resnet0", "resnet" + "9" * 5000, "resnet\u0662\u0660"),
    *("wrn-10-0", "torchvision.x", "a.py:f", "/dev/zero:f", "config.yaml", "/dev/null"),
    *([], {}, [[]], [None], [1, 1], [{}], ["1", "x"], {"a": 1}, {1: 2}, {None: None}, {"x" * 999: 1}, {"a\nb": 1}),
    *(b"bytes", {1}, (1, 2), date(2020, 2, 2), 1j, CIRCLE, {"a": CIRCLE}, {"extends": 1}),
]
KEYS = ["extends", "seeds", "x", "", "training", "location", "function", "options", "code", "family", 3, None, "\ud800"]


def places(held, *above):
    """Every value of a configuration, as the keys that lead to it."""
    for key, value in held.items() if isinstance(held, dict) else enumerate(held) if isinstance(held, list) else ():
        yield (*above, key)
        yield from places(value, *above, key)


PLACES = list(places(WHOLE))


@st.composite
def changed(draw):
    """The configuration with one to three of its values replaced, removed, repeated, or joined by another."""
    whole = copy.deepcopy(WHOLE)
    for place in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=3, unique=True)):
        way, odd = draw(st.sampled_from("rrrrdnm")), draw(st.sampled_from(ODD))
        try:
            holder = whole
            for key in place[:-1]:
                holder = holder[key]
            present = holder[place[-1]]
            if way == "d":
                del holder[place[-1]]
            elif way == "n" and isinstance(holder, dict):
                holder[draw(st.sampled_from(KEYS))] = odd
            else:
                holder[place[-1]] = [present] * 1000 if way == "m" else odd
        except (KeyError, IndexError, TypeError):
            pass  # an earlier change has taken it away
    return whole


def a_line(text):
    """Whether a terminal shows the text as one line that a person reads."""
    return bool(text) and text.isprintable() and len(text) < 800


def check_told(load):
    try:
        load()
    except LayerLotteryError as error:
        told = str(error)
    else:
        told = "loaded"
    assert a_line(told), told


def examples(count):
    return settings(
        max_examples=int(os.environ.get("FUZZ", "1")) * count,
        derandomize="FUZZ" not in os.environ,
        database=None,
        # an import of Snakemake on a busy machine takes 15 s; what never ends is found, too
        deadline=30_000,
        suppress_health_check=list(HealthCheck),
    )


def test_what_is_changed_is_a_benchmark():
    check_limits(load_benchmark(WHOLE))


@given(changed())
@example(WHOLE | {"results": CIRCLE})
@example(WHOLE | {"networks": {"t": {"family": "timm", "name": "x", "options": {"a": ["\ud800"]}}}})
@example(WHOLE | {"report": {"title": [WHOLE] * 10_000}})
@examples(300)
def test_a_mapping_is_a_benchmark_or_refused_in_a_line(whole):
    def load():
        benchmark = load_benchmark(whole)
        check_limits(benchmark)
        json.loads(benchmark.manifest_slice())

    check_told(load)


PIECES = [
    *("\t", "\ufeff", "\x00", "\x85", "\u2028", "%YAML 9.9\n", "---\n", "...\n", "&a ", "*a", "<<: *a"),
    *("!!bool ", "!!int ", "!!binary ", "!!timestamp ", "!!python/object:os.system ", "!!set ", "!!omap "),
    *("? ", ": ", "- ", "|\n", ">-\n", "[", "]", "{", "}", "'", '"', "#", "@", "`", "=", "~", "\\x", "[" * 3000),
    *("9" * 5000, "1:30", "2020-99-99", "results: a\n", "training: {epochs: 1}\n", "__use_yte__: true\n"),
    *("&x {a: *x}", "x: &x [*x]\n"),
]
BROKEN = [b"\xff", b"\xc3", b"\xed\xa0\x80"]
INSERTS = st.tuples(st.integers(0, len(TEXT)), st.sampled_from([piece.encode() for piece in PIECES] + BROKEN))


@st.composite
def file(draw):
    """The bytes of the file, cut or with a few pieces put into it."""
    held = TEXT.encode()
    for at, piece in draw(st.lists(INSERTS, min_size=1, max_size=4)):
        held = held[:at] + piece + held[at:]
    return held[: draw(st.integers(0, len(held)))] if draw(st.booleans()) else held


@given(file())
@examples(100)
def test_a_file_is_a_benchmark_or_refused_in_a_line(tmp_path_factory, held):
    path = tmp_path_factory.mktemp("fuzz") / "c.yaml"
    path.write_bytes(held)
    check_told(lambda: load_configuration(path, []))


@pytest.mark.parametrize("kind", ["fifo", "folder", "zero", "none", "dangling", "empty", "list"])
def test_a_command_says_in_a_line_what_is_no_configuration(tmp_path, kind):
    path = tmp_path / "c.yaml"
    makers = {"fifo": os.mkfifo, "folder": Path.mkdir, "empty": Path.touch, "list": lambda one: one.write_text("- 1\n")}
    links = {"zero": "/dev/zero", "dangling": tmp_path / "gone"}
    if kind in links:
        path.symlink_to(links[kind])
    makers.get(kind, lambda one: None)(path)
    found = CliRunner().invoke(stale, ["--configfile", str(path)])
    assert found.exit_code
    told = (
        str(found.exception)
        if isinstance(found.exception, LayerLotteryError)
        else found.stderr.strip().splitlines()[-1]
    )
    assert a_line(told)
    assert str(path) in told
