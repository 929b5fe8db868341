"""Networks that start from a weights file: what its content and its place run again."""

import re

import pytest
import safetensors.torch
import torch
from tests.workflow.project import NETWORK, TINY, clone

from layerlottery.config.networks import TorchvisionSettings
from layerlottery.networks.initialize import drawn
from layerlottery.networks.weights import dense_architecture
from layerlottery.store.artifacts import read_tensors

SCORES = f"{NETWORK}/structure=layers/criterion=l1/draw=0/scored_at=init/scores.json"
TARGETS = [SCORES, f"{NETWORK}/rewind=random.safetensors"]
SMALL = {"family": "torchvision", "name": "mobilenet_v2", "stem": "small", "options": {"width_mult": 0.25}}


def configuration(file):
    study = TINY["studies"][0] | {"rewinds": [0, "random"]}
    return TINY | {"networks": {"tiny": SMALL | {"pretrained": file}}, "studies": [study]}


def weights(seed):
    settings = TorchvisionSettings.model_validate(SMALL)
    return drawn(settings, dense_architecture(settings, channels=1, classes=7, image_size=8), seed).state_dict()


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    project = clone(tmp_path_factory.mktemp("pretrained"))
    safetensors.torch.save_file(weights(1), project.root / "my w.safetensors")
    project.write(configuration("my w.safetensors"))
    ran = project.snakemake(*TARGETS)
    assert ran.returncode == 0, ran.stderr
    return project


def test_a_ticket_starts_from_the_file_and_fresh_weights_do_not(started):
    initial, facts = read_tensors(started.root / NETWORK / "initial.safetensors")
    fresh, others = read_tensors(started.root / NETWORK / "rewind=random.safetensors")
    name = "features.0.0.weight"
    assert torch.equal(torch.from_numpy(initial[name]), weights(1)[name])
    assert (fresh[name] != initial[name]).any()
    assert "pretrained" in facts
    assert "pretrained" not in others


def test_other_numbers_of_blocks_draw_no_other_weights(started):
    config = configuration("my w.safetensors")
    started.write(config | {"studies": [config["studies"][0] | {"removed": [1, 2]}]})
    assert started.jobs(*TARGETS) == {}


def test_more_blocks_than_the_built_network_has_are_refused_before_anything_trains(tmp_path):
    study = TINY["studies"][0] | {"scored_at": ["trained"], "rewinds": ["trained"]}
    rounds = {"rounds": {"blocks": 3, "until": 99}}
    del study["removed"]
    project = clone(tmp_path)
    project.write(TINY | {"networks": {"tiny": SMALL}, "studies": [study | rounds]})
    ran = project.snakemake()
    assert ran.returncode != 0
    assert re.search(r"studies\.tiny\.rounds\.until: found 99; tiny gives at most [1-9]\d?\n", ran.stdout + ran.stderr)
    assert not [*project.results.rglob("initial.safetensors")]
    assert not [*project.results.rglob("training.json")]


def test_a_moved_file_runs_nothing_and_another_content_what_follows(started):
    (started.root / "moved").mkdir()
    (started.root / "my w.safetensors").rename(started.root / "moved" / "m.safetensors")
    started.write(configuration("moved/m.safetensors"))
    assert started.jobs(*TARGETS) == {}
    safetensors.torch.save_file(weights(2), started.root / "moved" / "m.safetensors")
    assert started.jobs(*TARGETS) == {"initialize": 1, "score": 1}


def test_a_missing_file_is_one_line_before_anything_runs(started):
    started.write(configuration("gone.safetensors"), "gone.yaml")
    ran = started.snakemake(*TARGETS, config=("gone.yaml",))
    assert ran.returncode != 0
    assert "networks.tiny: pretrained: gone.safetensors: No such file or directory" in ran.stderr
    assert "Traceback" not in ran.stderr
