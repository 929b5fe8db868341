"""Values of the configuration reach a command as they are, or are refused: no shell ever reads one."""

import copy
import html
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.workflow.project import ROOT, TINY

from layerlottery import paths
from layerlottery.config.loading import load_benchmark
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_facts

EXAMPLES = ROOT / "docs" / "examples"
SCHEMA = json.loads((ROOT / "workflow" / "schemas" / "config.schema.json").read_text())
HOSTILE = [
    "it's",
    'a "quoted" word',
    "a; touch PWNED",
    "$(touch PWNED)",
    "`touch PWNED`",
    "a | touch PWNED",
    "a & touch PWNED",
    "a > PWNED",
    "two\nlines\ntouch PWNED",
    "* ? [a-z]",
    "--help",
    "-rf",
    "\\'; touch PWNED; '",
    "#no comment",
    "~root",
    "${HOME} $HOME !!",
    "{wildcards.seed} {{}}",
    "%s {0}",
    "überlang 漢字 \u202e",
    "\x00",
    "\x1b[31m",
    " ",
    "../../PWNED",
]
# all of it in one word, which is also the name of a folder
WORD = "-x 'it''s' \"q\"; touch PWNED $(touch PWNED) `touch PWNED` | touch PWNED & > PWNED * ? [a] \\ ~ # ! $HOME ü漢"
LINES = f"{WORD}\ntouch PWNED\n{{wildcards.seed}} {{ <script>"

BASE = TINY | {
    # recipes by name, so that the schema's places for them are there
    "training": {"default": TINY["training"]},
    "datasets": {
        "digits": TINY["datasets"]["digits"],
        "files": {"source": "parquet", "location": "there", "shifted": {"dusk": "dusk"}},
        "folders": {"source": "folder", "location": "there", "shifted": {"dusk": "dusk"}},
        "cifar": {"source": "torchvision", "set": "CIFAR10"},
        "mine": {"source": "custom", "function": str(EXAMPLES / "dataset.py:stripes")},
    },
    "networks": TINY["networks"]
    | {
        "small": {"family": "torchvision", "name": "resnet18"},
        "other": {"family": "timm", "name": "resnet18"},
        "mine": {"family": "custom", "function": str(EXAMPLES / "network.py:build")},
    },
    "criteria": {"own": {"function": "l1"}},
}


def string_keys(schema, config, path=()):
    """The places of a configuration that take text: (place, pointer into the schema); the last step of a place whose
    text is a key is None. A key that the configuration leaves out has a place as well."""
    schema, pointer = resolved(schema)
    if schema.get("type") == "string":
        yield path, pointer
    for option in alternatives(schema, config):
        yield from string_keys(option, config, path)
    config = config if isinstance(config, dict | list) else {}
    if "items" in schema:
        yield from string_keys(schema["items"], config[0] if isinstance(config, list) and config else None, (*path, 0))
    for key, value in schema.get("properties", {}).items():
        yield from string_keys(value, config.get(key) if isinstance(config, dict) else None, (*path, key))
    for value in (schema.get("patternProperties") or {}).values():
        yield (*path, None), f"{pointer} names"
        for name in config or {"name": None}:
            yield from string_keys(value, config.get(name), (*path, name))


def alternatives(schema, config):
    """The alternatives of a part of the schema that are open to what stands in the configuration."""
    options = schema.get("anyOf", []) + schema.get("oneOf", [])
    # where a text or a list of texts may stand, the text alone is tried
    text = any(resolved(option)[0].get("type") == "string" for option in options)
    for option in options:
        found = resolved(option)[0]
        keys = found.get("properties", {})
        kinds = {key: keys[key]["const"] for key in ("source", "family") if "const" in keys.get(key, {})}
        fits = not isinstance(config, dict) or all(config.get(key) == kind for key, kind in kinds.items())
        if fits and not (text and found.get("type") == "array"):
            yield option


def resolved(schema):
    """A part of the schema and its address."""
    if "$ref" in schema:
        target = schema["$ref"].removeprefix("#/$defs/")
        return SCHEMA["$defs"][target], target
    return schema, json.dumps(schema, sort_keys=True)


def put(config, place, value):
    """The configuration with a value at a place."""
    config = copy.deepcopy(config)
    inner = config
    *way, last = place
    for step, following in zip(way, place[1:], strict=True):
        missing = [] if following == 0 else {}
        if isinstance(inner, list) and not inner:
            inner.append(missing)
        inner = inner[step] if isinstance(inner, list) else inner.setdefault(step, missing)
    if last is None:
        inner[value] = inner.pop(next(iter(inner), None), {})
    elif isinstance(inner, list):
        inner[:1] = [value]
    else:
        inner[last] = value
    return config


def refusal(config):
    """Why a configuration is refused; None when it is valid."""
    try:
        load_benchmark(config)
    except LayerLotteryError as error:
        return str(error)
    return None


PLACES = list(string_keys(SCHEMA, BASE))
# the keys that take any text; the others take names and choices
FREE = {place for place, _ in PLACES if place[-1] is not None and not refusal(put(BASE, place, "a b"))}


def test_the_base_is_valid_and_reaches_every_key_that_takes_text():
    assert refusal(BASE) is None
    strings = sum(1 for _ in re.finditer(r'"type": "string"', json.dumps(SCHEMA)))
    assert len({pointer for _, pointer in PLACES}) > 20
    assert strings <= len(PLACES)
    columns = {"image_column", "label_column", "annotations"}
    assert {place[-1] for place in FREE} == {"results", "location", "train", "test", "dusk", "title"} | columns


@pytest.mark.parametrize("place", [place for place, _ in PLACES], ids=lambda place: ".".join(map(str, place)))
def test_every_hostile_value_is_refused_in_one_line_or_free_text(place):
    answers = {value: refusal(put(BASE, place, value)) for value in HOSTILE}
    assert [line for line in answers.values() if line and not re.fullmatch(r"configuration: [^\x00-\x1f]+", line)] == []
    taken = [value for value, line in answers.items() if line is None]
    if place not in FREE:
        assert taken == []
    elif place == ("results",):
        assert not [value for value in taken if re.search(r"[{}\x00-\x1f]|^\s", value)]
    else:
        assert "$(touch PWNED)" in taken


RECORD = """#!{python}
import json, os, sys
from pathlib import Path

words = sys.argv[1:]
with open({record!r}, "a") as record:
    record.write(json.dumps(words) + "\\n")
given = dict(zip(words[1::2], words[2::2]))
files = [value for name, value in given.items() if name.startswith("--output")]
for folder, names in {folders}.get(words[0], []):
    files += [os.path.join(given[folder], name) for name in names]
for file in files:
    if not os.path.isdir(file):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
"""
# what a command writes into a folder that it is given
FOLDERS = {
    "prepare": [("--output", [paths.prepared("."), *paths.prepared_arrays(".")])],
    "train": [("--output", [paths.trained_weights("."), paths.curve("."), paths.training_facts(".")])],
    "aggregate": [("--results", [paths.table("tables", name) for name in paths.TABLES])],
    "tabulate": [("--tables", [paths.table(".", n, kind) for n in paths.PAPER for kind in ("parquet", "md", "tex")])],
}


@pytest.fixture
def hostile(fresh, tmp_path):
    """A run of the whole workflow with a hostile value in every free key, and a program that notes its words."""
    config = BASE
    for place in FREE:
        config = put(config, place, WORD if place == ("results",) else LINES)
    programs = tmp_path / "programs"
    programs.mkdir()
    record = tmp_path / "record.jsonl"
    folders = {
        stage: [(option, [os.path.normpath(name) for name in names]) for option, names in folders]
        for stage, folders in FOLDERS.items()
    }
    program = programs / "layerlottery"
    program.write_text(RECORD.format(python=sys.executable, record=str(record), folders=folders))
    program.chmod(0o755)
    fresh.write(config | {"resources": {"warm_worker": False}})
    sets = [f"{WORD}/datasets/dataset={name}/facts.json" for name in ("files", "folders", "cifar")]
    # Project.snakemake puts the real command first
    path = f"{programs}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = ["--cores", "1", "--configfile", "tiny.yaml", "--", "all", *sets]
    ran = fresh.call(sys.executable, "-m", "snakemake", *words, environment={"PATH": path})
    assert ran.returncode == 0, ran.stderr
    return fresh.root, [json.loads(line) for line in record.read_text().splitlines()]


def test_hostile_values_reach_the_commands_whole(hostile):
    root, commands = hostile
    assert {words[0] for words in commands} >= {"prepare", "score", "train", "attack", "profile", "aggregate", "report"}
    assert list(root.rglob("PWNED")) == []
    for words in commands:
        for option, value in zip(words[1::2], words[2::2], strict=True):
            # an option and its value, which is a path, settings, or a word that no shell changes
            assert re.fullmatch(r"--[a-z-]+", option), words
            assert value.startswith(f"{WORD}/") or value == WORD or re.fullmatch(r"\{.*\}|[\w.]+", value), words
    prepared = [json.loads(words[2]) for words in commands if words[0] == "prepare"]
    assert [one["location"] for one in prepared if "location" in one] == 3 * [LINES]
    assert [one["train"] for one in prepared if "train" in one] == 2 * [LINES]
    assert [one["shifted"] for one in prepared if "location" in one and "train" in one] == 2 * [{"dusk": LINES}]
    assert [json.loads(words[2])["title"] for words in commands if words[0] == "report"] == [LINES]


@pytest.mark.slow
def test_a_benchmark_with_hostile_names_runs_to_its_report(fresh):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("a", "b"):
            folder = fresh.root / WORD / WORD / part / name
            folder.mkdir(parents=True)
            for i in range(30):
                Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{i}.png")
    source = {"source": "folder", "location": f"{WORD}/{WORD}"}
    config = TINY | {"results": f"{WORD}/results", "datasets": {"digits": source}, "report": {"title": LINES}}
    fresh.write(config)
    ran = fresh.snakemake()
    assert ran.returncode == 0, ran.stderr
    results = fresh.root / WORD / "results"
    facts = read_facts(results / "datasets" / "dataset=digits" / "facts.json")
    assert facts["settings"]["location"] == source["location"]
    page = (results / "report" / "index.html").read_text()
    assert WORD in html.unescape(page)
    assert "{ <script>" not in page
    assert list(fresh.root.rglob("PWNED")) == []
    assert "Nothing to be done" in fresh.snakemake().stderr
