"""Images that fit no memory: decoding and augmenting them on one core beside torchvision, and the memory it takes.

    python benchmarks/streaming.py --output streaming.json
    python benchmarks/streaming.py --only memory

JPEG files of 500x375 pixels and quality 90, the size of ImageNet's, are made on the spot; both sides end with the same
float32 batches of 224x224. Turns alternate and the median of their ratios counts. About three minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rows import Row, show

COUNT, BATCH, SIDE, DISTINCT = 256, 64, 224, 32
# ImageNet's, as everybody writes them
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
GOAL = 1.0
# of images of 32x32 in one Parquet file, so that the larger set is made in seconds
SETS, GROWTH = (10_000, 40_000), 1.05


def jpeg(number: int, width: int, height: int) -> bytes:
    """Smooth noise with a little grain: about the bytes of a photograph."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(number)
    small = Image.fromarray(random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    grain = random.integers(-8, 9, (height, width, 3))
    sink = io.BytesIO()
    Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(sink, "JPEG", quality=90)
    return sink.getvalue()


def write_folder(place: Path, count: int, width: int, height: int) -> None:
    """An image folder of `count` files, DISTINCT of them different; the last few are the test images."""
    contents = [jpeg(number, width, height) for number in range(DISTINCT)]
    for number in range(count + DISTINCT):
        folder = place / ("train" if number < count else "test") / str(number % 4)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:06}.jpg").write_bytes(contents[number % DISTINCT])


def write_parquet(place: Path, count: int, side: int) -> None:
    """The same in Parquet files, a thousand rows in a group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    contents = [jpeg(number, side, side) for number in range(DISTINCT)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split, rows in (("train", count), ("test", DISTINCT)):
        images = pa.array([{"bytes": contents[row % DISTINCT], "path": None} for row in range(rows)], kind)
        table = pa.table({"image": images, "label": pa.array([row % 4 for row in range(rows)])})
        pq.write_table(table, place / f"{split}.parquet", row_group_size=1000)


def prepared(place: Path, count: int, size: int, image: tuple[int, int]) -> Path:
    """The facts file of an encoded set."""
    from layerlottery.config.data import ImageFolder
    from layerlottery.data.prepare import prepare

    write_folder(place / "images", count, *image)
    settings = ImageFolder(
        source="folder", location=str(place / "images"), image_size=size, fit="crop", channels=3, stored="encoded"
    )
    prepare(settings, place / "set")
    return place / "set/facts.json"


# what is compared: each yields the number of images of a batch once it is whole

Source = Callable[[], Iterator[int]]


def ours(facts: Path, **recipe: Any) -> Source:
    import torch

    from layerlottery.config.training import TrainingSettings
    from layerlottery.data.augmentation import augment
    from layerlottery.data.batches import Normalizer, epoch_order
    from layerlottery.data.feed import Streamed
    from layerlottery.data.prepared import PreparedSet

    cpu = torch.device("cpu")
    feed = Streamed(PreparedSet.open(facts).split("train"), cpu)
    settings = TrainingSettings(epochs=90, batch_size=BATCH, flip=True, **recipe)
    normalize = Normalizer(MEAN, STD, device=cpu, channels_last=True)

    def batches() -> Iterator[int]:
        order = epoch_order(len(feed), seed=0, epoch=0).split(BATCH)
        for number, (images, _) in enumerate(feed.batches(order)):
            yield len(normalize(augment(images, settings, seed=0, epoch=0, batch=number)))

    return batches


def theirs(folder: Path, *first: Any, tensors: bool = False) -> Source:
    """torchvision's ImageFolder and transforms in a DataLoader, which works in this process: one core for both."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.io import decode_image
    from torchvision.transforms import v2

    # on Pillow's images, or on tensors from torchvision's own decoder
    before = [] if tensors else [v2.PILToTensor()]
    last = [v2.RandomHorizontalFlip(), *before, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    loader = {"loader": lambda path: decode_image(path, mode="RGB")} if tensors else {}
    images = ImageFolder(str(folder), v2.Compose([*first, *last]), **loader)
    loading = DataLoader(images, batch_size=BATCH, shuffle=True)

    def batches() -> Iterator[int]:
        for batch, _ in loading:
            yield len(batch)

    return batches


def rate(source: Source) -> float:
    """Images a second of the processor: other programs may hold the core for a while."""
    began, count = time.process_time(), sum(source())
    return count / (time.process_time() - began)


def speed(folder: Path, turns: int) -> list[Row]:
    from torchvision.transforms import v2

    facts = prepared(folder, COUNT, SIDE, (500, 375))
    train = folder / "images/train"
    same = [v2.Resize(SIDE), v2.CenterCrop(SIDE), v2.RandomCrop(SIDE, padding=28)]
    pairs = {
        "crop and flip, torchvision on Pillow": (ours(facts, crop=28), theirs(train, *same)),
        "the same, torchvision on tensors": (ours(facts, crop=28), theirs(train, *same, tensors=True)),
        "random resized crop and flip, torchvision on Pillow": (
            ours(facts, crop=0, resized_crop=0.08),
            theirs(train, v2.RandomResizedCrop(SIDE)),
        ),
    }
    rows = []
    for what, both in pairs.items():
        rates = [[rate(one) for one in both] for _ in range(turns + 1)][1:]
        ratio = statistics.median(mine / other for mine, other in rates)
        mine, other = (statistics.median(column) for column in zip(*rates, strict=True))
        figures = {"ratio": ratio, "ours": mine, "theirs": other}
        told = f"{ratio:.2f} x ({mine:.0f} against {other:.0f} images/s)"
        rows.append(
            Row(f"decode and augment at 224 px, one core: {what}", f">= {GOAL} x", told, ratio >= GOAL, figures)
        )
    return [*show(rows), *workers(facts, turns)]


def workers(facts: Path, turns: int) -> list[Row]:
    """Two threads beside two worker processes of torch's DataLoader, which only decode; by the clock."""
    import torch
    from torch.utils.data import DataLoader

    from layerlottery.data.feed import Streamed
    from layerlottery.data.prepared import PreparedSet
    from layerlottery.runtime.threads import set_job_threads

    split = PreparedSet.open(facts).split("train")
    order = list(torch.arange(COUNT).split(BATCH))

    def threads() -> Iterator[int]:
        set_job_threads(2)
        for images, _ in Streamed(split, torch.device("cpu")).batches(order):
            yield len(images)
        set_job_threads(1)

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return COUNT

        def __getitem__(self, row: int) -> Any:
            return torch.from_numpy(split.images[row : row + 1][0])

    # its first batches are not counted: they wait for the processes to start
    loading = DataLoader(Images(), batch_sampler=[one.tolist() for one in order * 2], num_workers=2)

    def timed(batches: Iterator[int], skipped: int) -> float:
        for _ in range(skipped):
            next(batches)
        began, count = time.perf_counter(), sum(batches)
        return count / (time.perf_counter() - began)

    pairs = [(timed(threads(), 0), timed(map(len, loading), len(order))) for _ in range(turns + 1)][1:]
    ratio = statistics.median(mine / other for mine, other in pairs)
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    told = f"{ratio:.2f} x ({mine:.0f} against {other:.0f} images/s)"
    figures = {"ratio": ratio, "threads": mine, "processes": other}
    what = "decode at 224 px: two threads against two worker processes"
    return show([Row(what, f">= {GOAL} x", told, ratio >= GOAL, figures)])


def peak(count: int) -> dict[str, float]:
    """MiB that processes have in memory at most: one that prepares a set of `count` images, one that streams 4,000."""
    with tempfile.TemporaryDirectory() as place:
        return {
            step: float(subprocess.run([sys.executable, __file__, step, place, str(count)], **PIPED).stdout.split()[-1])
            for step in ("write", "prepare", "stream")
        }


PIPED: dict[str, Any] = {"check": True, "capture_output": True, "text": True}


def one_step(step: str, place: Path, count: int) -> None:
    import torch
    from training_recipes import resident

    from layerlottery.config.data import ParquetImages
    from layerlottery.data.prepare import prepare

    torch.set_num_threads(1)
    if step == "write":
        write_parquet(place, count, 32)
    elif step == "prepare":
        settings = ParquetImages(source="parquet", location=str(place), image_size=32, channels=3, stored="encoded")
        prepare(settings, place / "set")
    else:
        stream(place / "set/facts.json", 4000)
    # not ru_maxrss, which begins with the peak of the process that started this one
    print(resident()["peak"])


def stream(facts: Path, images: int) -> None:
    """So many images of an epoch, in its order."""
    import torch

    from layerlottery.data.batches import epoch_order
    from layerlottery.data.feed import Streamed
    from layerlottery.data.prepared import PreparedSet

    feed = Streamed(PreparedSet.open(facts).split("train"), torch.device("cpu"))
    for _ in feed.batches(epoch_order(len(feed), seed=0, epoch=0)[:images].split(BATCH)):
        pass


def memory() -> list[Row]:
    peaks = [peak(count) for count in SETS]
    rows = []
    for step in ("prepare", "stream"):
        first, last = (one[step] for one in peaks)
        told = f"{last / first:.2f} x ({first:.0f} and {last:.0f} MiB)"
        what = f"memory to {step} a set, {SETS[1]:,} images against {SETS[0]:,}"
        figures = {"ratio": last / first, "small": first, "large": last}
        rows.append(Row(what, f"<= {GROWTH} x", told, last / first <= GROWTH, figures))
    return show(rows)


def main() -> None:
    if sys.argv[1:2] in (["write"], ["prepare"], ["stream"]):
        return one_step(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5, help="times that each side is timed")
    parser.add_argument("--only", choices=("speed", "memory"), help="this half alone")
    parser.add_argument("--output", type=Path, help="write the rows as JSON")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    rows: list[Row] = []
    if given.only != "memory":
        with tempfile.TemporaryDirectory() as folder:
            rows += speed(Path(folder), given.turns)
    if given.only != "speed":
        rows += memory()
    if given.output:
        given.output.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
