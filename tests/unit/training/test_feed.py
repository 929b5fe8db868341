"""Feeding: resident and streamed batches are the same bits, whatever happens on the way."""

import shutil
import signal
import threading
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.unit.data.encoded_sets import twins

from layerlottery.config.networks import NetworkSettings
from layerlottery.config.training import TrainingSettings
from layerlottery.data import feed as feeding
from layerlottery.data.feed import Resident, Streamed, in_advance, resident
from layerlottery.data.prepared import PreparedSet, Split
from layerlottery.errors import Interrupted, LayerLotteryError
from layerlottery.networks.initialize import initialize_network
from layerlottery.runtime import threads
from layerlottery.store.artifacts import read_tensors
from layerlottery.training.loop import Trainer
from layerlottery.training.room import IMAGES
from layerlottery.training.train import train

CPU = torch.device("cpu")
# 30 images: the last batch is a smaller one
SETTINGS = TrainingSettings(epochs=3, batch_size=8, learning_rate=0.05, schedule="onecycle", crop=1, flip=True)


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ready")
    decoded, _ = twins(folder)
    initialize_network(decoded, folder / "initial.safetensors", NetworkSettings(depth=8, width=2), seed=0)
    run(folder, "decoded", folder / "undisturbed")
    return folder


def run(ready, stored, output, **options):
    options = {"seed": 0, "device": CPU} | options
    return train(ready / "initial.safetensors", ready / stored / "facts.json", output, SETTINGS, **options)


def result(output):
    """Trained weights, and everything in the learning curve but the seconds."""
    weights = read_tensors(output / "weights.safetensors")[0]
    return weights, pq.read_table(output / "curve.parquet").drop(["seconds"]).to_pylist()


def assert_equal(output, other):
    (weights, curve), (others, other_curve) = result(output), result(other)
    assert weights.keys() == others.keys()
    assert all(np.array_equal(weights[name], others[name]) for name in weights)
    assert curve == other_curve


@pytest.mark.parametrize("count", [1, 2])
def test_an_encoded_set_trains_to_the_bits_of_the_decoded_one(ready, tmp_path, monkeypatch, count):
    monkeypatch.setattr(threads, "_threads", count)
    run(ready, "encoded", tmp_path)
    assert_equal(tmp_path, ready / "undisturbed")


def test_a_decoded_set_that_fits_no_memory_trains_to_the_same_bits(ready, tmp_path, monkeypatch):
    # training and test images take 20,736 bytes
    monkeypatch.setenv(IMAGES, "0.017")
    monkeypatch.setattr("layerlottery.training.room.pass_size", lambda device: 8)
    run(ready, "decoded", tmp_path)
    assert_equal(tmp_path, ready / "undisturbed")


# 4 batches an epoch: before the first, within the first epoch, at its end, within the last
@pytest.mark.parametrize("stop_at", [0, 2, 4, 10])
def test_interrupted_in_mid_epoch_a_stream_goes_on_bit_for_bit(ready, tmp_path, monkeypatch, stop_at):
    checkpoint, step, done = tmp_path / "checkpoint.safetensors", Trainer._step, []

    def interrupting_step(self, *arguments):
        if len(done) == stop_at:
            signal.raise_signal(signal.SIGTERM)
        done.append(1)
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", interrupting_step)
    with pytest.raises(Interrupted):
        run(ready, "encoded", tmp_path, checkpoint=checkpoint)
    assert checkpoint.exists()
    monkeypatch.setattr(Trainer, "_step", step)
    run(ready, "encoded", tmp_path, checkpoint=checkpoint)
    assert_equal(tmp_path, ready / "undisturbed")


@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_shard_that_breaks_in_mid_epoch_is_named_and_the_checkpoint_goes_on(ready, tmp_path, monkeypatch, damage):
    place, checkpoint, step, done = tmp_path / "ready", tmp_path / "checkpoint.safetensors", Trainer._step, []
    shutil.copytree(ready / "encoded", place / "encoded")
    shutil.copy(ready / "initial.safetensors", place)
    shard = place / "encoded/train_images-00000.bin"
    whole = shard.read_bytes()

    def breaking_step(self, *arguments):
        done.append(1)
        if len(done) == 6:
            if damage == "gone":
                # an open file would stay readable: as on a network's file system whose server has lost it
                shard.unlink()
                self.data.train.split.images.records._open.clear()
            else:
                shard.write_bytes(whole[:50] if damage == "cut" else bytes(len(whole)))
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", breaking_step)
    said = {"gone": "No such file", "cut": "cut short", "changed": "does not match its hash"}[damage]
    with pytest.raises(LayerLotteryError, match=rf"train_images-00000\.bin: .*{said}") as caught:
        run(place, "encoded", tmp_path, checkpoint=checkpoint, checkpoint_seconds=0.0)
    assert "\n" not in str(caught.value)
    assert read_tensors(checkpoint)[1]["batch"] == 2
    shard.write_bytes(whole)
    monkeypatch.setattr(Trainer, "_step", step)
    run(place, "encoded", tmp_path, checkpoint=checkpoint)
    assert_equal(tmp_path, ready / "undisturbed")


@pytest.mark.parametrize("size", [-1, 5000])
def test_a_mapped_array_that_is_cut_in_mid_epoch_is_named_and_the_checkpoint_stays(ready, tmp_path, monkeypatch, size):
    """Its missing bytes would read as zeros, its missing pages end the process."""
    place, checkpoint, step, done = tmp_path / "ready", tmp_path / "checkpoint.safetensors", Trainer._step, []
    shutil.copytree(ready / "decoded", place / "decoded")
    shutil.copy(ready / "initial.safetensors", place)
    array = place / "decoded/train_images.npy"
    whole = array.stat().st_size

    def cutting_step(self, *arguments):
        done.append(1)
        if len(done) == 6:
            array.open("r+b").truncate(size if size > 0 else whole + size)
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", cutting_step)
    with pytest.raises(LayerLotteryError, match=rf"train_images\.npy: found \d+ bytes, expected {whole}: it was cut"):
        run(place, "decoded", tmp_path, checkpoint=checkpoint, checkpoint_seconds=0.0)
    assert len(done) == 6
    assert read_tensors(checkpoint)[1]["batch"] == 2


def test_too_little_device_memory_for_a_batch_is_one_line_and_keeps_the_checkpoint(ready, tmp_path, monkeypatch):
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(b"of an earlier run")
    monkeypatch.setenv(IMAGES, "0.0001")
    said = r"training\.batch_size: found 8; streaming 100 images of 12x12 at a time takes 172\.8 kB of device memory, "
    with pytest.raises(LayerLotteryError, match=said + "found 104 B for images; lower it"):
        run(ready, "encoded", tmp_path, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == b"of an earlier run"


@pytest.mark.parametrize("text", ["much", "-1", "0", "nan", "inf"])
def test_a_budget_is_a_number(ready, tmp_path, monkeypatch, text):
    monkeypatch.setenv(IMAGES, text)
    with pytest.raises(LayerLotteryError, match=rf"{IMAGES}: found '{text}'; allowed: a number above 0"):
        run(ready, "decoded", tmp_path)


def test_a_device_out_of_memory_is_one_line_and_keeps_the_checkpoint(ready, tmp_path, monkeypatch):
    checkpoint, step, done = tmp_path / "checkpoint.safetensors", Trainer._step, []

    def exhausting_step(self, *arguments):
        done.append(1)
        if len(done) == 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has ...")
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", exhausting_step)
    with pytest.raises(LayerLotteryError, match=r"training\.batch_size: found 8; no device memory .* out of memory\);"):
        run(ready, "decoded", tmp_path, checkpoint=checkpoint, checkpoint_seconds=0.0)
    assert read_tensors(checkpoint)[1]["batch"] == 1


# feeds


@pytest.fixture
def splits(ready):
    return [PreparedSet.open(ready / stored / "facts.json").split("train") for stored in ("decoded", "encoded")]


def test_shares_of_batches_in_any_order_are_the_same_in_every_feed(splits):
    chosen = [torch.tensor(rows, dtype=torch.int64) for rows in ([5, 1], [29], [0, 0, 7], [])]
    expected = [(splits[0].images[rows.numpy()], splits[0].labels[rows.numpy()]) for rows in chosen]
    for feed in (resident(splits[0], CPU), *(Streamed(split, CPU) for split in splits)):
        assert len(feed) == 30
        for (images, labels), (pixels, classes) in zip(feed.batches(chosen), expected, strict=True):
            assert np.array_equal(images.numpy(), pixels)
            assert np.array_equal(labels.numpy(), classes)


def test_a_whole_split_moves_to_a_device_in_pieces(splits, monkeypatch):
    monkeypatch.setattr("layerlottery.data.prepared._PIECE", 1000)
    held = resident(splits[1], CPU)
    assert isinstance(held, Resident)
    assert np.array_equal(held.images.numpy(), splits[0].images)
    assert np.array_equal(held.labels.numpy(), splits[0].labels)


def test_what_is_read_in_advance_is_bounded_and_keeps_its_order():
    taken, used = [], []

    def take(number):
        taken.append(number)
        assert number <= len(used) + 2
        return number * number

    for found in in_advance(take, range(20), 2):
        used.append(found)
    assert used == [number * number for number in range(20)]
    assert taken == list(range(20))


def test_reading_in_advance_goes_on_while_a_batch_is_used():
    read = threading.Event()
    stream = in_advance(lambda number: read.set() if number == 2 else None, range(9), 2)
    next(stream)
    assert read.wait(10)
    stream.close()


def test_a_stream_that_is_left_early_reads_no_further():
    taken = []
    stream = in_advance(taken.append, range(1000), 2)
    next(stream)
    stream.close()
    seen = len(taken)
    time.sleep(0.05)
    assert len(taken) == seen <= 3
    assert not any(thread.name.startswith("feed") for thread in threading.enumerate())


def test_an_error_in_advance_comes_in_its_turn():
    def take(number):
        if number == 2:
            raise LayerLotteryError("shard: gone")
        return number

    stream = in_advance(take, range(5), 2)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(LayerLotteryError, match="shard: gone"):
        next(stream)


class Event:
    """A GPU's event, of which only who waited for it is known."""


class Copies:
    """A GPU's stream, on a processor."""

    def record_event(self):
        return Event()


def test_batches_for_a_gpu_are_pinned_and_waited_for(splits, monkeypatch):
    """Without a GPU only the order of the calls can be seen: pinned, copied on a stream of its own, waited for."""
    calls = []

    class Current:
        def wait_event(self, event):
            calls.append(("wait", type(event)))

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Copies())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: threading.Lock())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Current())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: calls.append(("pin", len(tensor))) or tensor)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device, non_blocking: tensor)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: calls.append(("use", len(tensor))))
    chosen = [torch.arange(number, number + 3) for number in range(0, 12, 3)]
    fed = Streamed(splits[1], torch.device("cuda", 0)).batches(chosen)
    for rows, (images, labels) in zip(chosen, fed, strict=True):
        assert np.array_equal(images.numpy(), splits[0].images[rows.numpy()])
        assert np.array_equal(labels.numpy(), splits[0].labels[rows.numpy()])
    assert [call for call in calls if call[0] != "pin"] == [("wait", Event), ("use", 3), ("use", 3)] * 4
    assert [call for call in calls if call[0] == "pin"] == [("pin", 3)] * 8
    assert feeding.AHEAD == 2


# what stays on a GPU


@pytest.mark.parametrize(
    ("free", "jobs", "images", "expected"),
    [
        (10_000_000, "1", None, [Resident, Resident]),
        # what a training takes beside them leaves room for the training images, or for none
        (700_000, "1", None, [Resident, Streamed]),
        (600_000, "1", None, [Streamed, Streamed]),
        # each of two jobs has half
        (1_400_000, "2", None, [Resident, Streamed]),
        (10_000_000, "1", "0.6", [Resident, Streamed]),
    ],
)
def test_what_fits_beside_the_training_stays(monkeypatch, free, jobs, images, expected):
    from layerlottery.training import room

    split = Split(np.zeros((1000, 1, 20, 20), np.uint8), np.zeros(1000, np.int64))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    monkeypatch.setattr(room, "step_memory", lambda *given, **options: 250_000)
    monkeypatch.setattr(room, "pass_size", lambda device: 8)
    monkeypatch.setattr(room, "resident", lambda split, device: Resident(torch.empty(0), torch.empty(0)))
    monkeypatch.setenv("LAYERLOTTERY_JOBS_PER_GPU", jobs)
    if images:
        monkeypatch.setenv(IMAGES, images)
    found = room.feeds([split, split], torch.nn.Identity(), SETTINGS, torch.device("cuda", 0))
    assert [type(one) for one in found] == expected
