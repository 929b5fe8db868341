"""Every file of a results folder, once. Hive-style, in the order of the stages; Snakemake's patterns are these.

A path stops at what its content depends on. Folders may hold wildcards, or be those of one network.
"""

from __future__ import annotations

import os.path
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath

# what no training has touched: θ0, fresh weights, and scores of θ0
NETWORK = "networks/dataset={dataset}/network={network}/seed={seed}"
# the dense network, trained by a recipe; what another recipe made stays beside it
DENSE = NETWORK + "/recipe={recipe}"
# scores of θ0 lie in the network's folder, those of trained weights in the dense network's
SCORED = NETWORK + "{trained}/structure={structure}/criterion={criterion}/draw={draw}/scored_at={scored_at}"
CHOSEN = DENSE + "/structure={structure}/criterion={criterion}/draw={draw}/scored_at={scored_at}"
FIRST = CHOSEN + "/removed={step}/rewind={rewind}"
# rounds lie below each other: removed=1/rewind=0/round=2/round=3 is what three rounds of one block each have left
TICKET = FIRST + "{rounds}"
# a ticket of a later round, beside which lie the scores that chose it: of the round before
ROUND = FIRST + "{later}"
# tickets' folders, for rules that need not know how one was chosen: with fewer wildcards its jobs are found sooner
PRUNED = DENSE + "/{pruning}/rewind={rewind}{rounds}"
START = DENSE + "/rewind={epoch}"
FRESH_START = NETWORK + "/rewind=random"
RUN = "networks/dataset={dataset}/{run}"
DATASET = "datasets/dataset={dataset}"

LIVE = "live"
# views of results, which are none themselves: live curves, a page for each network, a report of what is there so far
VIEWS = (f"{LIVE}/", "report/pages/", "report/partial/")

PRUNING = r"structure=[^/]+/criterion=[^/]+/draw=\d+/scored_at=[^/]+/removed=\d+"
RECIPE = r"[A-Za-z0-9_.-]+-[0-9a-f]{8}"
# by which a ticket that starts from the trained weights is fine-tuned
TUNED = re.compile(r"trained-(?P<recipe>[0-9a-f]{8})")

# of encoded images
SHARD = re.compile(r"(?P<index>\w+)-\d{5,}\.bin")

# of results that an earlier version made
EARLIER = "/recipe=earlier-00000000"

WILDCARDS = {
    "dataset": r"[A-Za-z0-9_.-]+",
    "network": r"[A-Za-z0-9_.-]+",
    "seed": r"\d+",
    "recipe": RECIPE,
    "trained": rf"(?:/recipe={RECIPE})?",
    "structure": r"layers|filters_at_macs|filters_by_share|filters|weights|dense_at_cost|dense_tuned",
    "criterion": r"[A-Za-z0-9_.-]+",
    "draw": r"\d+",
    "scored_at": r"init|trained",
    "step": r"\d+",
    "rewind": r"\d+|random|trained-[0-9a-f]{8}",
    "rounds": r"(?:/round=\d+)*",
    "later": r"(?:/round=\d+)+",
    "epoch": r"[1-9]\d*",
    "fingerprint": r"[0-9a-f]{64}",
    "shard": r"\d{5,}",
    "pruning": PRUNING,
    "run": rf"network=[^/]+/seed=\d+/recipe=[^/]+(?:/{PRUNING}/rewind=[^/]+(?:/round=\d+)*)?",
}

SPLITS = ("train", "test", "shifted", "held_out")

TABLES = (
    *("runs", "robustness", "answers", "detection", "curves", "scores", "similarity"),
    *("summary", "comparisons", "resilience", "agreement", "stability"),
)
# the paper's tables and figure, and what its text claims: each also as Markdown and LaTeX
CONNECTED = ("pons", "consensus", "complexity")  # the tables of connected papers, in the same form
PAPER = ("table1", "table2", "table3", "table4", "table5", "figure3", "claims", *CONNECTED)

# a results folder, and a file's place in it; files that wait beside a checkpoint have the place that they wait for
LAYOUT = re.compile(
    r"(?P<results>.*)(?<!/checkpoints)/"
    r"(?P<place>(checkpoints/)?(networks|datasets)/dataset=[^/]+/.+|tables/[^/]+|report/[^/]+|manifest\.json)"
)
WAITING = re.compile(r"checkpoints/(.+)/finished/([^/]+)")


@dataclass(frozen=True)
class Folders:
    """The folder patterns below one results folder."""

    results: str

    @property
    def dataset(self) -> str:
        return f"{self.results}/{DATASET}"

    @property
    def dense(self) -> str:
        return f"{self.results}/{DENSE}"

    @property
    def network(self) -> str:
        return f"{self.results}/{NETWORK}"

    @property
    def scored(self) -> str:
        return f"{self.results}/{SCORED}"

    @property
    def round(self) -> str:
        return f"{self.results}/{ROUND}"

    @property
    def first(self) -> str:
        return f"{self.results}/{FIRST}"

    @property
    def pruned(self) -> str:
        return f"{self.results}/{PRUNED}"

    @property
    def run(self) -> str:
        return f"{self.results}/{RUN}"

    @property
    def tables(self) -> str:
        return f"{self.results}/tables"

    def log(self, stage: str, pattern: str = "all") -> str:
        return f"{self.results}/logs/{stage}/{pattern}.log"

    def checkpoint(self, pattern: str) -> str:
        return f"{self.results}/checkpoints/{pattern}.safetensors"

    def kept(self, pattern: str) -> str:
        """Weights of earlier epochs that a dense training keeps; Snakemake does not own them."""
        return f"{self.results}/checkpoints/{pattern}/kept"

    @property
    def live(self) -> str:
        """Learning curves as trackers want them; Snakemake does not own them."""
        return f"{self.results}/{LIVE}"

    def report(self) -> str:
        return f"{self.results}/report/index.html"

    def pages(self) -> str:
        """A page for each network, beside the report, which links to them."""
        return f"{self.results}/report/pages"

    def manifest(self) -> str:
        """Provenance of the tables: configuration, code, machines, hashes."""
        return f"{self.results}/manifest.json"


def prepared(dataset: str) -> str:
    return f"{dataset}/facts.json"


def prepared_arrays(dataset: str, *splits: str) -> list[str]:
    return [f"{dataset}/{split}_{kind}.npy" for split in splits or SPLITS for kind in ("images", "labels")]


def shard(index: Path, number: int | str) -> Path:
    """A file of records beside their index, by its number."""
    shown = f"{number:05}" if isinstance(number, int) else number
    return index.with_name(f"{index.stem}-{shown}.bin")


def shards(dataset: str) -> list[str]:
    """The files that hold encoded images, beside the arrays that then are their indices; a pattern of each split."""
    return [str(shard(Path(f"{dataset}/{split}_images.npy"), "{shard}")) for split in SPLITS]


def index(file: PurePath) -> PurePath | None:
    """The index that a file of records belongs to; None for any other file."""
    found = SHARD.fullmatch(file.name)
    return file.with_name(f"{found['index']}.npy") if found else None


def corrupted_images(dataset: str) -> str:
    return f"{dataset}/corrupted_images.npy"


def corrupted_facts(dataset: str) -> str:
    return f"{dataset}/corrupted.json"


def outlier_images(dataset: str) -> str:
    return f"{dataset}/outlier_images.npy"


def outlier_facts(dataset: str) -> str:
    return f"{dataset}/outliers.json"


def initial_weights(run: str) -> str:
    return f"{run}/initial.safetensors"


def start_weights(dense: str, rewind: str) -> str:
    """The dense network's weights that tickets start from: θ0, θi after epoch i, fresh (`random`) or trained ones."""
    if TUNED.fullmatch(rewind):
        return trained_weights(dense)
    network = dense.rpartition("/recipe=")[0]
    if rewind == "0":
        return initial_weights(network)
    return start_file(f"{network if rewind == 'random' else dense}/rewind={rewind}")


def start_file(start: str) -> str:
    """The same by the start's own name, which is no folder: `…/rewind=5`."""
    return f"{start}.safetensors"


def trained_weights(run: str) -> str:
    return f"{run}/weights.safetensors"


def curve(run: str) -> str:
    return f"{run}/curve.parquet"


def training_facts(run: str) -> str:
    return f"{run}/training.json"


def scores(scored: str) -> str:
    return f"{scored}/scores.json"


def element_scores(scored: str) -> str:
    """Scores of every weight, where weights are what is removed."""
    return f"{scored}/scores.safetensors"


def before(ticket: str) -> str:
    """The folder of the round before, of a ticket of a later round."""
    return ticket.rpartition("/round=")[0]


def scores_by_structure(scored: str) -> list[str]:
    """Files of scores in this folder: the scores of weights, or of blocks and filters; both for a pattern."""
    if "{structure}" in scored:
        return [scores(scored), element_scores(scored)]
    return [element_scores(scored) if "/structure=weights/" in scored else scores(scored)]


def ticket_facts(ticket: str) -> str:
    return f"{ticket}/ticket.json"


def attack(run: str) -> str:
    return f"{run}/attack.parquet"


def attack_progress(checkpoint: str) -> str:
    """AutoAttack's progress, beside a training's checkpoint; Snakemake does not own it."""
    return f"{checkpoint.removesuffix('.safetensors')}.autoattack.json"


def shift(run: str) -> str:
    return f"{run}/shift.parquet"


def detection(run: str) -> str:
    return f"{run}/detection.parquet"


def similarity(ticket: str) -> str:
    return f"{ticket}/similarity.parquet"


def profile(dense: str) -> str:
    return f"{dense}/profile.json"


def finished(checkpoint: str) -> str:
    """Where the files of a training wait that ended unnoticed, since its Snakemake had been killed."""
    return f"{checkpoint.removesuffix('.safetensors')}/finished"


def training_journal(checkpoint: str) -> str:
    """The time and energy that a training has spent so far, beside its checkpoint."""
    return f"{checkpoint.removesuffix('.safetensors')}.segments.json"


def training_lock(checkpoint: str) -> str:
    """Held by the process that works on a training."""
    return f"{checkpoint.removesuffix('.safetensors')}.lock"


def same_training_lock(checkpoint: str, fingerprint: str) -> str:
    """Held by the process that works on a training of this fingerprint, beside the dense network's checkpoint."""
    return f"{checkpoint.removesuffix('.safetensors')}/training={fingerprint}.lock"


def trained(run: str) -> list[str]:
    """The files that a training makes."""
    return [trained_weights(run), curve(run), training_facts(run)]


def training_state(checkpoint: str) -> list[str]:
    """Files that a training keeps until its job has ended: checkpoint, journal, lock, and its files when they wait."""
    return [checkpoint, training_journal(checkpoint), training_lock(checkpoint), *trained(finished(checkpoint))]


def kept_weights(kept: str, epoch: str) -> str:
    """One epoch's weights among those that a dense training keeps."""
    return f"{kept}/epoch={epoch}.safetensors"


def table(tables: str, name: str, suffix: str = "parquet") -> str:
    return f"{tables}/{name}.{suffix}"


def tables(folder: str) -> list[str]:
    """Every table of the results."""
    return [table(folder, name) for name in TABLES]


def paper_tables(folder: str) -> list[str]:
    """The paper's tables in all their forms."""
    return [table(folder, name, suffix) for name in PAPER for suffix in ("parquet", "md", "tex")]


def table_files(folder: str) -> list[str]:
    """Every file of the tables' folder."""
    return [*tables(folder), *paper_tables(folder)]


def located(path: Path) -> tuple[str, str] | None:
    """The results folder that a file lies in, and its place there; None for a file outside of the layout."""
    return _located(os.path.abspath(path))  # noqa: PTH100 - what the path says counts, not what it links to


@lru_cache(maxsize=4096)
def _located(path: str) -> tuple[str, str] | None:
    found = LAYOUT.fullmatch(path)
    return (found["results"], WAITING.sub(r"\1/\2", found["place"])) if found else None


def place(path: Path) -> str | None:
    """A file's path below its results folder, which says what it is of; None outside of the layout."""
    found = located(path)
    return found[1] if found else None


def wildcards(place: str) -> dict[str, str]:
    """What a path below a results folder says, by name; of a later round all that is `removed`, and its `step`."""
    parts = (part.partition("=") for part in place.removesuffix(".safetensors").split("/"))
    found = {name: value for name, equals, value in parts if equals}
    if "round" in found:
        step, number = int(found["removed"]), int(found["round"])
        found |= {"step": str(step), "removed": str(gone(found["structure"], step, number))}
    return found


def gone(structure: str, step: int, rounds: int) -> int:
    """What is gone after so many rounds: blocks, or, `step` being percent of the filters left, percent of them all."""
    return round(100 * (1 - (1 - step / 100) ** rounds)) if structure == "filters_by_share" else step * rounds


def spellings(path: str) -> list[str]:
    """A path of results as today's layout has it: its own, or that of an earlier version's.

    There `removed=` was `density=`, and no level named the recipe of a training.
    """
    plain = path.replace("/density=", "/removed=")
    return [plain, re.sub(r"(/seed=\d+)(?=[/.]|$)(?!/recipe=)", rf"\1{EARLIER}", plain, count=1)]


def expression(pattern: str) -> str:
    """A regular expression for the paths of a pattern; wildcards are named groups."""
    parts = re.split(r"\{(\w+)\}", pattern)
    return "".join(f"(?P<{part}>{WILDCARDS[part]})" if at % 2 else re.escape(part) for at, part in enumerate(parts))
