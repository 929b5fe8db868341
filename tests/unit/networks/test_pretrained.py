"""Trained weights for networks of libraries, from files made on the spot; nothing is fetched."""

import json
import shutil
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torchvision import models

import layerlottery
from layerlottery.cli.main import cli
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.data import Digits
from layerlottery.config.loading import first_line
from layerlottery.config.networks import Network
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import FACTS
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.initialize import drawn, initialize_network, start
from layerlottery.networks.pretrained import read_state
from layerlottery.networks.weights import dense_architecture, load_network
from layerlottery.networks.zoo import family_of
from layerlottery.store.artifacts import read_tensors

NETWORK = TypeAdapter(Network)
HEAD = {"fc.weight", "fc.bias"}


def settings(pretrained, name="resnet18", family="torchvision", **more):
    if family == "timm":
        pytest.importorskip("timm")
    return NETWORK.validate_python({"family": family, "name": name, "pretrained": pretrained, **more})


def form(chosen, *, classes=10, channels=3, size=32):
    return dense_architecture(chosen, channels=channels, classes=classes, image_size=size)


def started(chosen, seed=1, **images):
    return start(chosen, form(chosen, **images), seed)


def saved(path, state):
    (safetensors.torch.save_file if path.suffix == ".safetensors" else torch.save)(state, path)
    return str(path)


def refused(call, *given, **named):
    """The one line of a refusal."""
    with pytest.raises(LayerLotteryError) as caught:
        call(*given, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def trained():
    """The state of a resnet18 for 1000 classes; also of its statistics none is a constructor's."""
    torch.manual_seed(5)
    state = models.resnet18().state_dict()
    return {name: one + torch.rand_like(one) if one.is_floating_point() else one + 7 for name, one in state.items()}


@pytest.fixture(scope="module")
def file(trained, tmp_path_factory):
    return saved(tmp_path_factory.mktemp("file") / "w.safetensors", trained)


def same(state, other, names):
    return all(torch.equal(state[name], other[name]) for name in names)


# what a network starts from


def test_everything_but_a_head_for_other_classes_is_the_files(file, trained):
    chosen = settings(file)
    model, source = started(chosen, seed=1)
    assert same(model.state_dict(), trained, trained.keys() - HEAD)
    assert source["pretrained"]["new_head"] == ["fc.weight", "fc.bias"]
    # the head is the one that a random network of the same seed has
    random = drawn(chosen, form(chosen), 1).state_dict()
    assert same(model.state_dict(), random, HEAD)
    again, other = started(chosen, seed=1)[0], started(chosen, seed=2)[0]
    assert torch.equal(again.fc.weight, model.fc.weight)
    assert not torch.equal(other.fc.weight, model.fc.weight)
    assert torch.equal(other.conv1.weight, model.conv1.weight)


def test_a_head_for_as_many_classes_is_kept(file, trained):
    model, source = started(settings(file), classes=1000)
    assert same(model.state_dict(), trained, trained)
    assert source["pretrained"]["new_head"] == []


def test_the_global_random_state_stays(file):
    before = torch.get_rng_state()
    started(settings(file))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("family", "name", "head", "size"),
    [
        ("torchvision", "mobilenet_v3_small", "classifier.3", 32),
        ("torchvision", "convnext_tiny", "classifier.2", 32),
        ("torchvision", "squeezenet1_1", "classifier.1", 32),
        ("torchvision", "swin_t", "head", 32),
        ("timm", "vit_tiny_patch16_224", "head", 32),
        ("timm", "convnext_atto", "head.fc", 32),
        ("timm", "deit_tiny_distilled_patch16_224", "head head_dist", 32),
    ],
)
def test_the_head_is_found_whatever_it_is_called(family, name, head, size, tmp_path):
    without = settings(False, name, family)
    state = drawn(without, form(without, classes=12, size=size), 3).state_dict()
    model, source = started(settings(saved(tmp_path / "w.safetensors", state), name, family), size=size)
    expected = [f"{part}.{kind}" for part in head.split() for kind in ("weight", "bias")]
    assert source["pretrained"]["new_head"] == expected
    assert same(model.state_dict(), state, state.keys() - {*expected})


def test_a_file_of_a_backbone_alone_gets_a_head(trained, tmp_path):
    path = saved(tmp_path / "w.pth", {name: one for name, one in trained.items() if name not in HEAD})
    assert started(settings(path), classes=1000)[1]["pretrained"]["new_head"] == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_training_checkpoint_of_a_wrapped_network(key, trained, tmp_path):
    held = {key: {f"module.{name}": one for name, one in trained.items()}, "epoch": 3}
    assert same(read_state(tmp_path / saved(tmp_path / "w.pth", held)), trained, trained)


def test_older_names_and_files_without_counters(trained, tmp_path):
    vit = settings(False, "vit_b_32")
    state = drawn(vit, form(vit, size=64), 0).state_dict()
    old = {name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): one for name, one in state.items()}
    assert old.keys() != state.keys()
    model, _ = started(settings(saved(tmp_path / "vit.safetensors", old), "vit_b_32"), size=64)
    assert same(model.state_dict(), state, state)
    early = {name: one for name, one in trained.items() if "num_batches" not in name}
    model, _ = started(settings(saved(tmp_path / "early.pth", early)))
    assert same(model.state_dict(), early, early.keys() - HEAD)


def test_timm_brings_weights_to_other_channels_and_sizes(tmp_path):
    vit = settings(False, "vit_tiny_patch16_224", "timm")
    state = drawn(vit, form(vit, size=64), 0).state_dict()
    path = saved(tmp_path / "w.safetensors", state)
    model, _ = started(settings(path, "vit_tiny_patch16_224", "timm"), channels=1, size=32)
    # grey images stand for equal colours
    summed = state["patch_embed.proj.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(model.patch_embed.proj.weight, summed, check_device=False)
    assert model.pos_embed.shape == (1, 1 + 2 * 2, 192)
    assert torch.equal(model.blocks[3].attn.qkv.weight, state["blocks.3.attn.qkv.weight"])


def test_a_small_stem_keeps_the_weights_where_only_strides_change(tmp_path):
    state = models.mobilenet_v2().state_dict()
    model, _ = started(settings(saved(tmp_path / "w.safetensors", state), "mobilenet_v2", stem="small"))
    assert model.features[0][0].stride == (1, 1)
    assert torch.equal(model.features[0][0].weight, state["features.0.0.weight"])


# the libraries' own weights


def test_torchvisions_weights_are_fetched_checked_and_hold_no_code(trained, monkeypatch):
    asked = {}

    def fetch(url, **how):
        asked.update(how, url=url)
        return trained

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    model, source = started(settings(True))
    assert (asked["check_hash"], asked["weights_only"]) == (True, True)
    assert asked["url"] == models.ResNet18_Weights.DEFAULT.url
    assert source["pretrained"]["weights"] == "ResNet18_Weights.IMAGENET1K_V1"
    assert same(model.state_dict(), trained, trained.keys() - HEAD)


def test_timms_weights_come_from_its_hub_without_pickled_code(monkeypatch):
    without, asked = settings(False, family="timm"), {}
    state = drawn(without, form(without, classes=1000), 0).state_dict()

    def fetch(place, **how):
        asked.update(how, place=place)
        return state

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fetch)
    model, source = started(settings(True, "resnet18.a1_in1k", "timm"))
    assert (asked["place"], asked["weights_only"]) == ("timm/resnet18.a1_in1k", True)
    assert source["pretrained"]["weights"] == "timm.resnet18.a1_in1k"
    assert same(model.state_dict(), state, state.keys() - HEAD)


def test_a_machine_without_network_is_told_of_the_alternative(monkeypatch):
    def unreachable(*given, **how):
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    for family in ("torchvision", "timm"):
        line = refused(started, settings(True, family=family))
        assert line.startswith(f"networks: {family}.resnet18: pretrained: can't fetch the library's weights: OSError: ")
        assert line.endswith("on a machine without network give the path of a file: pretrained: PATH")


def test_every_network_of_torchvision_has_weights_with_a_hash():
    for name in models.list_models(module=models):
        weights = models.get_model_weights(name)["DEFAULT"]
        assert torch.hub.HASH_REGEX.search(weights.url), name


def test_names_that_timm_has_no_weights_of():
    timm = pytest.importorskip("timm")
    assert "Allowed tags: " in refused(started, settings(True, "resnet18.nope", "timm"))
    nameless = next(one for one in timm.list_models() if not timm.get_pretrained_cfg(one).has_weights)
    chosen = settings(True, nameless, "timm")
    line = refused(family_of(chosen).published, chosen, channels=3, image_size=32)
    assert line.startswith(f"timm has no weights of {nameless}; the closest names with weights are ")


# the configuration


def complaint(given):
    with pytest.raises(ValidationError) as caught:
        NETWORK.validate_python(given)
    return first_line(caught.value)


def test_a_slice_follows_the_content_and_not_the_place(file, trained, tmp_path):
    moved, other = shutil.copy(file, tmp_path / "moved.safetensors"), tmp_path / "other.safetensors"
    saved(other, trained | {"fc.bias": trained["fc.bias"] + 1})
    here, there, changed = (settings(str(path)) for path in (file, moved, other))
    assert here.slice() == there.slice() != changed.slice()
    assert here.pretrained_sha256 in here.slice()
    assert str(file) not in here.slice()
    assert here.untrained.slice() == settings(False).slice() == '{"family":"torchvision","name":"resnet18"}'
    assert settings(True).slice() == '{"family":"torchvision","name":"resnet18","pretrained":true}'
    # what a manifest holds is read again where the file is no longer
    again = NETWORK.validate_python(here.model_dump(mode="json") | {"pretrained": "gone.safetensors"})
    assert again.slice() == here.slice()


def test_an_edited_file_is_noticed_within_a_process(trained, tmp_path):
    path = tmp_path / "w.safetensors"
    first = settings(saved(path, trained)).slice()
    saved(path, {"fc.bias": trained["fc.bias"]})
    assert settings(str(path)).slice() != first


@pytest.mark.parametrize(("word", "value"), [("true", True), ("True", True), ("false", False), ("no", False)])
def test_words_of_the_command_line_are_truth_values(word, value):
    assert settings(word).pretrained is value


def test_what_a_configuration_may_not_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    torchvision = {"family": "torchvision", "name": "resnet18"}
    allowed = "allowed: families torchvision and timm"
    for given, line in (
        ({"depth": 20, "pretrained": True}, f"pretrained: family resnet has none; {allowed}"),
        ({"family": "wide_resnet", "depth": 16, "widen": 1, "pretrained": "w.pth"}, f"wide_resnet has none; {allowed}"),
        ({"family": "vit", "pretrained": True}, f"family vit has none; {allowed}"),
        (
            torchvision | {"pretrained": "gone.pth"},
            "pretrained: gone.pth: No such file or directory (working directory",
        ),
        (torchvision | {"pretrained": "folder"}, "pretrained: folder: found a folder; allowed: a regular file"),
        (torchvision | {"pretrained": 3}, "found 3; allowed: true, false, or the path of a weights file"),
        (torchvision | {"pretrained": None}, "found None; allowed: true, false, or the path of a weights file"),
        (torchvision | {"pretrained": ""}, "allowed: true, false, or the path of a weights file"),
        (torchvision | {"pretrained_sha256": "0" * 64}, "pretrained_sha256: found beside pretrained: False"),
        (torchvision | {"pretrained": True, "pretrained_sha256": "0" * 64}, "found beside pretrained: True"),
    ):
        found = complaint(given)
        assert line in found, found
        assert "\n" not in found
    (tmp_path / "net.py").write_text("def build(): ...")
    custom = complaint({"family": "custom", "function": "net.py:build", "pretrained": True})
    assert custom.endswith("a function of your own loads its weights itself")


# the stage


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    prepare(Digits(source="digits", train_size=60, test_size=30), folder)
    return folder / FACTS


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """Weights of a resnet18 of grey images, for 5 classes."""
    chosen = settings(False)
    state = drawn(chosen, form(chosen, classes=5, channels=1), 9).state_dict()
    return saved(tmp_path_factory.mktemp("grey") / "w.safetensors", state)


def test_results_do_not_depend_on_the_files_place(grey, digits, tmp_path):
    moved = shutil.copy(grey, tmp_path / "moved.safetensors")
    outputs = [tmp_path / "a" / "out.safetensors", tmp_path / "b" / "out.safetensors"]
    for path, output in zip((grey, moved), outputs, strict=True):
        initialize_network(digits, output, settings(str(path)), seed=0)
    (tensors, facts), (others, again) = map(read_tensors, outputs)
    assert facts == again
    assert all((tensors[name] == others[name]).all() for name in tensors)
    assert grey not in json.dumps(facts)
    # the network itself is none but its weights: later stages need no file of pretrained ones
    assert "pretrained" not in facts["architecture"]["network"]
    assert load_network(outputs[0])[0].conv1.weight.shape == (64, 1, 7, 7)


def test_fresh_weights_stay_random(grey, digits, tmp_path):
    for name, chosen in (("with", settings(grey)), ("without", settings(False))):
        initialize_network(digits, tmp_path / name / "out.safetensors", chosen, seed=0, draw=1)
    (tensors, facts), (others, again) = (
        read_tensors(tmp_path / name / "out.safetensors") for name in ("with", "without")
    )
    assert facts == again
    assert all((tensors[name] == others[name]).all() for name in tensors)


def test_the_command_that_the_rule_runs(grey, digits, tmp_path):
    wildcards = SimpleNamespace(network="r18")
    study = {"name": "s", "datasets": ["digits"], "networks": ["r18"], "seeds": [0], "criteria": ["l1"], "removed": [1]}
    network = {"family": "torchvision", "name": "resnet18", "pretrained": grey}
    benchmark = Benchmark.model_validate(
        {"datasets": {"digits": {"source": "digits"}}, "networks": {"r18": network}, "studies": [study]}
    )
    output = tmp_path / "out.safetensors"
    words = ["--settings", benchmark.network_slice(wildcards), *benchmark.weights_option(wildcards)]
    ran = CliRunner().invoke(cli, ["initialize", *words, "--data", str(digits), "--output", str(output)])
    assert ran.exit_code == 0, ran.output
    assert read_tensors(output)[1]["pretrained"]["weights"] == f"sha256:{benchmark.networks['r18'].pretrained_sha256}"
    assert benchmark.untrained_slice(wildcards) == '{"family":"torchvision","name":"resnet18"}'
    assert benchmark.model_validate_json(benchmark.manifest_slice()).networks == benchmark.networks


# the library


def test_a_pretrained_network_of_the_users_with_a_new_head(file):
    network = models.resnet18()
    network.load_state_dict(safetensors.torch.load_file(file))
    network.fc = nn.Linear(network.fc.in_features, 10)
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8)
    ticket = layerlottery.find_ticket(network, (images, labels), "snip", remove=2)
    kept = ticket.model.state_dict()
    assert same(kept, network.state_dict(), kept)
    assert len(ticket.removed_blocks) == 2
    assert not [name for name in kept for gone in ticket.removed_blocks if name.startswith(f"{gone}.")]
