"""Live curves: every epoch once, through stops and kills, and a tracker's trouble is no training's."""

import json
import os
import signal
import struct
import subprocess
import sys
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from layerlottery.config.data import Digits
from layerlottery.config.live import LoggingSettings
from layerlottery.config.networks import NetworkSettings
from layerlottery.config.recipes import Recipes
from layerlottery.config.studies import Run
from layerlottery.config.training import TrainingSettings
from layerlottery.data.prepare import prepare
from layerlottery.errors import Interrupted, LayerLotteryError
from layerlottery.networks.initialize import initialize_network
from layerlottery.store.artifacts import read_facts, read_table, read_tensors
from layerlottery.training import live
from layerlottery.training.live import named
from layerlottery.training.recorder import STATE
from layerlottery.training.train import train
from layerlottery.upkeep.curves import tell
from layerlottery.upkeep.stale import find_stale
from layerlottery.upkeep.verify import verify

RECIPE = TrainingSettings(epochs=5, batch_size=20, schedule="onecycle", crop=0, flip=False)
TICKET = Run(
    "digits", "tiny", 0, "layers", "snip", 0, "init", 2, "0", recipe=Recipes(training=RECIPE).level("tiny"), round=1
)
BOARD = LoggingSettings(tensorboard=True)
NAME = "digits/tiny snip removed=2 seed=0"
# these are measured anew by every segment, and the others follow from the configuration
TIMED = ("seconds", "images_per_second")


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ready")
    prepare(Digits(source="digits", train_size=60, test_size=30), folder)
    initialize_network(folder / "facts.json", folder / "initial.safetensors", NetworkSettings(depth=8, width=2), seed=0)
    return folder


class Training:
    """A ticket's training in a results folder of its own."""

    def __init__(self, ready, root):
        self.ready, self.results = ready, root / "results"
        self.output = self.results / TICKET.folder
        self.checkpoint = root / "checkpoint.safetensors"

    def run(self, logging=BOARD, stop_after=None, **options):
        def on_epoch(row):
            if row["epoch"] == stop_after:
                signal.raise_signal(signal.SIGTERM)

        inputs = self.ready / "initial.safetensors", self.ready / "facts.json"
        options = {"seed": 0, "device": torch.device("cpu"), "checkpoint": self.checkpoint} | options
        return train(*inputs, self.output, RECIPE, logging=logging, on_epoch=on_epoch, **options)

    def stopped(self, epoch, logging=BOARD):
        with pytest.raises(Interrupted):
            self.run(logging, stop_after=epoch)

    @property
    def content(self):
        return read_tensors(self.output / "weights.safetensors")[1]["content"]

    def curve(self):
        return read_table(self.output / "curve.parquet").to_pylist()

    def folder(self, name=NAME):
        return self.results / "live" / name


@pytest.fixture
def training(ready, tmp_path):
    return Training(ready, tmp_path)


@pytest.fixture(scope="module")
def undisturbed(ready, tmp_path_factory):
    found = Training(ready, tmp_path_factory.mktemp("undisturbed"))
    found.run()
    return found


def seen(folder):
    """What TensorBoard's own reader shows of a run: tag -> [(step, value)]."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def timeless(folder):
    return {tag: values for tag, values in seen(folder).items() if tag not in TIMED}


def test_tensorboard_shows_the_learning_curve(undisturbed):
    shown, curve = seen(undisturbed.folder()), undisturbed.curve()
    columns = {"loss/train": "train_loss", "accuracy/test": "test_accuracy", "learning_rate": "learning_rate"}
    columns |= {"loss/test": "test_loss", "accuracy/train": "train_accuracy", "seconds": "seconds"}
    assert shown.keys() == {*columns, "images_per_second"}
    for tag, column in columns.items():
        assert [step for step, _ in shown[tag]] == [1, 2, 3, 4, 5]
        assert [value for _, value in shown[tag]] == pytest.approx([row[column] for row in curve], rel=1e-6)
    rates = [60 / row["seconds"] for row in curve]
    assert [value for _, value in shown["images_per_second"]] == pytest.approx(rates, rel=1e-6)


def hyperparameters(folder):
    """What TensorBoard's tab of hyperparameters shows of a run."""
    from tensorboard.plugins.hparams import metadata

    events = EventAccumulator(str(folder))
    events.Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    return metadata.parse_session_start_info_plugin_data(content).hparams


def test_tensorboard_knows_the_hyperparameters_and_the_place(undisturbed):
    told = hyperparameters(undisturbed.folder())
    assert {name: told[name].string_value for name in ("dataset", "network", "criterion", "schedule")} == {
        "dataset": "digits",
        "network": "tiny",
        "criterion": "snip",
        "schedule": "onecycle",
    }
    assert (told["removed"].number_value, told["seed"].number_value, told["batch_size"].number_value) == (2, 0, 20)


def test_a_training_that_is_watched_computes_the_same(undisturbed, training):
    training.run(LoggingSettings())
    assert training.content == undisturbed.content
    assert not (training.results / "live").exists()
    # nor does its configuration have another hash
    facts = [read_facts(one.output / "training.json")["config_hash"] for one in (training, undisturbed)]
    assert facts[0] == facts[1]


def test_a_stopped_training_goes_on_in_the_same_run_and_tells_each_epoch_once(undisturbed, training):
    for epoch in (1, 3):
        training.stopped(epoch)
        assert json.loads((training.folder() / STATE).read_text())["trackers"]["tensorboard"]["written"] == epoch
    training.run()
    assert timeless(training.folder()) == timeless(undisturbed.folder())
    # no event is hidden by a later one: none was written twice
    assert [len(found) for found in raw_steps(training.folder())] == [1, 2, 2]
    assert not (training.folder() / STATE).exists()


def raw_steps(folder):
    """The epochs in each event file, in the order of writing."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    files = sorted(folder.glob("events*"), key=lambda file: file.stat().st_mtime_ns)
    return [
        [
            event.step
            for event in EventFileLoader(str(file)).Load()
            for value in event.summary.value
            if value.tag == "loss/train"
        ]
        for file in files
    ]


def test_epochs_after_the_last_checkpoint_are_not_told_again(undisturbed, training):
    training.stopped(2)
    older = training.checkpoint.read_bytes()
    training.stopped(4)
    # as after a kill: told of epoch 4, and back at epoch 2
    training.checkpoint.write_bytes(older)
    training.run()
    assert raw_steps(training.folder()) == [[1, 2], [3, 4], [5]]
    assert timeless(training.folder()) == timeless(undisturbed.folder())


def test_switched_on_halfway_the_first_epochs_are_told_too(undisturbed, training):
    training.stopped(3, LoggingSettings())
    training.run()
    assert timeless(training.folder()) == timeless(undisturbed.folder())


@pytest.mark.parametrize("planted", ["[]", "{", '{"fingerprint": 1}', "null", '{"fingerprint": "", "trackers": []}'])
def test_a_state_that_is_none_means_a_new_run(training, planted):
    training.folder().mkdir(parents=True)
    (training.folder() / STATE).write_text(planted)
    training.run()
    assert [step for step, _ in seen(training.folder())["loss/train"]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("finished", [True, False])
def test_a_recipe_other_than_the_paths_is_refused_and_nothing_lost(training, undisturbed, monkeypatch, finished):
    if finished:
        training.run()
    else:
        training.stopped(4)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[__name__], "RECIPE", RECIPE.model_copy(update={"learning_rate": 0.01}))
        with pytest.raises(LayerLotteryError, match=r"settings of recipe .{8}; allowed there: those of recipe .{8}$"):
            training.run()
    training.run()
    assert training.content == undisturbed.content
    assert timeless(training.folder()) == timeless(undisturbed.folder())
    assert hyperparameters(training.folder())["learning_rate"].number_value == RECIPE.learning_rate


STRICKEN = {
    "a full disk": ("raise OSError(28, 'No space left on device')", "tensorboard: no more live curves of"),
    "no package": ("raise ModuleNotFoundError('no tensorboardX')", "pip install 'layerlottery[tensorboard]'"),
    "a crash": ("import os; os._exit(9)", "ended with status 9"),
    "a hang": ("import time; time.sleep(20); import os; os._exit(0)", "the training does not wait for it"),
    "a flood": ("print('x' * 10**6); raise ValueError('\\x1b[2J' + 'y\\n' * 10**5)", "ValueError: \\x1b[2Jy y y"),
}


@pytest.mark.parametrize("trouble", STRICKEN)
def test_a_trackers_trouble_is_one_line_and_no_trainings(undisturbed, training, trouble, tmp_path, monkeypatch, caplog):
    code, said = STRICKEN[trouble]
    package = tmp_path / "stricken" / "tensorboardX"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")]))
    if trouble == "a hang":
        monkeypatch.setattr(live, "PATIENCE", 0.5)
    training.run()
    assert training.content == undisturbed.content
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == 1
    assert said in lines[0]
    assert len(lines[0]) < 400


def test_a_place_that_can_not_be_written_is_one_line(undisturbed, training, caplog):
    training.results.mkdir()
    (training.results / "live").write_text("a file")
    training.run()
    assert training.content == undisturbed.content
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == 1
    assert "tensorboard: no more live curves" in lines[0]


def test_a_recorder_that_can_not_be_started_is_one_line(undisturbed, training, monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    training.run()
    assert training.content == undisturbed.content
    assert ["no live curves" in record.getMessage() for record in caplog.records] == [True]


def test_handing_over_never_waits(monkeypatch, tmp_path):
    (tmp_path / "deaf.py").write_text("import time; time.sleep(20)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(live, "RECORDER", "deaf")
    monkeypatch.setattr(live, "PATIENCE", 0.2)
    recorder = live._Recorder({})
    row = {"epoch": 1, "text": "x" * 1000}
    for _ in range(200):  # three times what a pipe holds
        recorder.send(row)
    assert len(recorder.waiting) > 100_000
    began = time.monotonic()
    recorder.close()
    assert time.monotonic() - began < 5
    recorder.process.kill()
    recorder.process.wait()


@pytest.mark.slow
def test_killed_and_stopped_in_the_middle_it_shows_what_an_undisturbed_one_shows(undisturbed, training):
    recipe = ["--settings", RECIPE.slice(), "--logging", BOARD.slice(), "--checkpoint-seconds", "0.01"]
    files = ["--weights", training.ready / "initial.safetensors", "--data", training.ready / "facts.json"]
    own = ["--output", training.output, "--checkpoint", training.checkpoint]
    code = "import sys; from layerlottery.cli.launcher import main; main()"
    words = [sys.executable, "-c", code, "train", *recipe, *files, *own]
    statuses = []
    for told, number in ((2, signal.SIGTERM), (3, signal.SIGKILL), (9, None)):
        process = subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True)
        for line in process.stderr:
            if f"epoch {told}/5" in line:
                process.send_signal(number)
        statuses.append(process.wait())
    assert statuses in ([75, -9, 0], [75, 0, 0])
    assert timeless(training.folder()) == timeless(undisturbed.folder())


def test_outside_of_a_results_folder_curves_lie_with_the_results(tmp_path):
    assert named(tmp_path / "my\n ticket") == (str(tmp_path / "my\n ticket" / "live"), "my ticket", {})


# afterwards


def test_curves_of_finished_trainings_are_told_afterwards(undisturbed, training):
    training.run(LoggingSettings())
    said = [list(tell(training.results, BOARD)) for _ in range(2)]
    assert said == [["1 learning curve told to tensorboard"]] * 2
    assert timeless(training.folder()) == timeless(undisturbed.folder())


def test_results_are_verified_and_swept_beside_live_curves(undisturbed):
    files = {path.relative_to(undisturbed.results).parts[0] for path in undisturbed.results.rglob("*")}
    assert "live" in files
    assert find_stale(undisturbed.results, [])[1] == 0
    found = verify(undisturbed.results)
    assert [path for path in (*found.damaged, *found.leftovers) if "live" in path.parts] == []


# the other trackers, without a network


@pytest.mark.slow
def test_weights_and_biases_offline_tells_each_epoch_once(training, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    wanted = LoggingSettings(wandb="lottery")
    training.stopped(2, wanted)
    training.run(wanted)
    segments = sorted((training.results / "live" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(segments) == 2
    assert len({path.name for path in segments}) == 1  # one id: wandb sync joins them
    records = [one for path in segments for one in wandb_records(path)]
    history = [record.history for record in records if record.WhichOneof("record_type") == "history"]
    losses = [{item.key or item.nested_key[0]: json.loads(item.value_json) for item in row.item} for row in history]
    assert [row["_step"] for row in losses] == [1, 2, 3, 4, 5]
    assert [row["loss/train"] for row in losses] == [row["train_loss"] for row in training.curve()]
    began = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (began.project, began.display_name) == ("lottery", NAME.replace("/", " "))
    config = {item.key: json.loads(item.value_json) for item in began.config.update}
    assert (config["criterion"], config["removed"], config["batch_size"]) == ("snip", 2, 20)


def wandb_records(path):
    """The records of an offline run: LevelDB's log format, after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole, block = path.read_bytes(), 7, b"", 32 * 1024
    while at + 7 <= len(data):
        if block - at % block < 7:  # no header fits into the rest
            at += block - at % block
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # full, or the last part
            yield Record.FromString(whole)
            whole = b""


@pytest.mark.slow
def test_mlflow_goes_on_with_its_run(training, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # in place of a server
    wanted = LoggingSettings(mlflow="lottery")
    training.stopped(2, wanted)
    training.run(wanted)
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("lottery").experiment_id
    (found,) = client.search_runs([experiment])
    assert (found.info.run_name, found.info.status) == (NAME.replace("/", " "), "FINISHED")
    assert (found.data.params["criterion"], found.data.params["removed"]) == ("snip", "2")
    held = client.get_metric_history(found.info.run_id, "loss/train")
    assert [(one.step, one.value) for one in held] == [(row["epoch"], row["train_loss"]) for row in training.curve()]


def test_without_a_server_mlflow_says_so(undisturbed, training, monkeypatch, caplog):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    training.run(LoggingSettings(mlflow="lottery"))
    assert training.content == undisturbed.content
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "MLFLOW_TRACKING_URI names no server" in line
