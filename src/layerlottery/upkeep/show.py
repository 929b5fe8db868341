"""Everything that the files of one network say about it. Each is checked when read; damage to one hides nothing else.

Imports no torch.
"""

from __future__ import annotations

import os.path
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from layerlottery import paths
from layerlottery.config.stages import made
from layerlottery.config.studies import Run
from layerlottery.errors import LayerLotteryError
from layerlottery.store import lock
from layerlottery.store.artifacts import read_facts, read_table, read_tensors
from layerlottery.store.hashing import digest
from layerlottery.store.lock import options_of
from layerlottery.tables.statistics import saved
from layerlottery.upkeep.finding import run_of

NETWORKS = "networks/dataset="  # with which a network's folder begins below the results folder
KEPT_ANSWERS = ("answers", "images_hash", "predicted")

Facts = dict[str, Any]

ALLOWED = "allowed: the folder of a dense network (…/recipe=…) or of a ticket (…/rewind=0), and any file in it"
RESULT = ("epochs", "train_images", "train_seconds", "images_per_second")
ENERGY = ("kwh", "cpu_kwh", "gpu_kwh", "ram_kwh")
COSTS = ("filters", "params", "macs", "memory_bytes", "latency_ms")
MACHINE = ("git_commit", "package_version", "python_version", "torch_version", "cuda_version", "cudnn_version")
PROVENANCE = ("config_hash", *MACHINE, "driver_version", "device", "threads", "precision")


def describe(path: Path) -> Facts:
    """Identity, result, removal, cost, training, provenance, tests, similarity and files of one network.

    `path` is its folder or a file in it. Whatever no intact file tells is None or empty; units are those of the data
    dictionary. Raises LayerLotteryError when the path belongs to no network.
    """
    network = find_network(path)
    run, training = network.run, network.read(paths.training_facts) or {}
    found: Facts = {
        "identity": asdict(run) | {"folder": network.folder(run)},
        "result": _result(network, training),
        "removal": _removal(network) if run.removed else None,
        "cost": _cost(network),
        "training": _training(training),
        "provenance": {name: training.get(name) for name in PROVENANCE},
        "evaluation": [row for name in (paths.shift, paths.attack) for row in network.read(name) or []],
        "detection": network.read(paths.detection) or [],
        "similarity": (network.read(paths.similarity) or []) if run.removed else [],
    }
    return found | {"files": network.files()}


def is_damaged(description: Mapping[str, Any]) -> bool:
    """Whether a file that the description rests on is damaged."""
    return any(file["state"] == "damaged" for file in description["files"])


def find_network(path: Path) -> StoredNetwork:
    """The network whose folder `path` is or lies in; the name of a missing file will do."""
    for known in (path, path.resolve()):
        folder = known if known.is_dir() or not known.suffix else known.parent
        at = folder.as_posix().rfind(NETWORKS)
        run = run_of(folder.as_posix()[at:])
        if run is not None and folder.is_dir():
            return StoredNetwork(folder.as_posix()[:at], run)
    if any(run_of(one[at:].removesuffix("/")) for one in paths.spellings(folder.as_posix())):
        raise LayerLotteryError(f"{path}: results of an earlier version, in another layout; recreate them")
    raise LayerLotteryError(f"{path}: no network{'' if path.exists() else ' and no such file'}; {ALLOWED}")


@dataclass
class StoredNetwork:
    """A network below the results folder `prefix` ("" or with a slash at its end); remembers what was read for it."""

    prefix: str
    run: Run
    _opened: dict[str, tuple[Facts, Any]] = field(default_factory=dict)

    def folder(self, run: Run) -> str:
        """The folder of this network or of its dense one."""
        return f"{self.prefix}{run.folder}"

    def read(self, name: Callable[[str], str], folder: str | None = None) -> Any:
        """Contents of a file of this network, or of another folder: facts or rows; None unless it is intact."""
        return self._open(name(folder or self.folder(self.run)))

    def files(self) -> list[Facts]:
        """{file, state, reason, config_hash} of every file in the network's folder, then of those read elsewhere.

        Names are relative to the folder. States: intact, damaged, missing, or not yet there as long as a benchmark runs
        in the results folder; foreign is what no stage writes there.
        """
        own = self.folder(self.run)
        for path in self._expected():
            self._open(path)
        found = {path: state for path, (state, _) in self._opened.items()}
        for path in sorted(str(path) for path in Path(own).iterdir() if path.is_file()):
            found.setdefault(path, _state("foreign"))
        missing = [path for path, state in found.items() if state["state"] == "missing"]
        if missing and lock.held(Path(self.prefix)):
            found |= dict.fromkeys(missing, _state("not yet"))
        # the network's own come first
        order = sorted(found, key=lambda path: (os.path.dirname(path) != own, path))  # noqa: PTH120
        return [{"file": os.path.relpath(path, own)} | found[path] for path in order]

    def _expected(self) -> list[str]:
        own = self.run.folder
        places = {paths.TICKET if self.run.removed else paths.DENSE: [own]}
        if self.run.before:
            places[paths.ROUND] = [own]
        files = made(places)
        starts = Path(self.prefix, own).glob(Path(paths.start_weights(own, "*")).name)
        return [*(f"{self.prefix}{file}" for file in files), *map(str, starts)]

    def _open(self, path: str) -> Any:
        if path not in self._opened:
            self._opened[path] = _checked(Path(path), Path(self.prefix))
        return self._opened[path][1]


def _checked(path: Path, results: Path) -> tuple[Facts, Any]:
    if not path.exists():
        return _state("missing"), None
    try:
        held, made_by = _contents(path)
    except (LayerLotteryError, OSError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        if reason.endswith(f"snakemake --cores all {path}"):
            # of the benchmark that was last run here
            reason = f"{reason} {shlex.join(options_of(results))}".rstrip()
        return _state("damaged", reason=reason), None
    return _state("intact", made_by=made_by), held


def _state(state: str, *, reason: str | None = None, made_by: str | None = None) -> Facts:
    return {"state": state, "reason": reason, "config_hash": made_by}


def _contents(path: Path) -> tuple[Any, str]:
    """Facts or rows of an intact file, and its configuration's hash."""
    if path.suffix == ".parquet":
        table = read_table(path)
        # answers to single images are for the tables
        shown = [field.name for field in table.schema if field.name not in KEPT_ANSWERS]
        return table.select(shown).to_pylist(), table.schema.metadata[b"config_hash"].decode()
    facts = read_facts(path) if path.suffix == ".json" else read_tensors(path)[1]
    return facts, facts["config_hash"]


def _result(network: StoredNetwork, training: Facts) -> Facts:
    run = network.run
    own, dense = _accuracies(network)
    delta = None if own is None or dense is None else own - dense
    paired = {"dense_accuracy": dense, "delta_accuracy": delta} if run.removed else {}
    counts = {name: training.get(name) for name in RESULT}
    return {"accuracy": own} | paired | {"start_epoch": run.start_epoch} | counts


def _accuracies(network: StoredNetwork) -> tuple[float | None, float | None]:
    """The network's and its dense one's, both from the stage shift as in the tables, or both from the training."""
    pairs = []
    for source in (_clean_accuracy, _last_accuracy):
        pairs.append((source(network, network.run), source(network, network.run.dense)))
        if None not in pairs[-1]:
            break
    return max(pairs, key=lambda pair: (pair[0] is not None, pair[1] is not None))


def _clean_accuracy(network: StoredNetwork, run: Run) -> float | None:
    rows = network.read(paths.shift, network.folder(run)) or []
    return next((row["accuracy"] for row in rows if row["kind"] == "clean"), None)


def _last_accuracy(network: StoredNetwork, run: Run) -> float | None:
    training: Facts = network.read(paths.training_facts, network.folder(run)) or {}
    return training.get("accuracy")


def _removal(network: StoredNetwork) -> Facts:
    """The removed blocks and the scores that chose them; filters and weights are counted by layer."""
    run = network.run
    ticket = network.read(paths.ticket_facts) or {}
    name = paths.element_scores if run.structure == "weights" else paths.scores
    # a later round was chosen by scores of the one before, which lie beside it
    scored = network.read(name, network.folder(run) if run.before else f"{network.prefix}{run.scored}") or {}
    left = ticket.get("layers") or ticket.get("architecture", {}).get("masked") or {}
    return {
        "removed_blocks": ticket.get("removed_blocks"),
        "tied": ticket.get("tied"),
        "budget": ticket.get("budget"),
        "left": left,
        "settings": ticket.get("criterion_settings") or scored.get("settings"),
        "scores": _ranked(scored, ticket),
    }


def _ranked(scored: Facts, ticket: Facts) -> list[Facts]:
    """Blocks in the order of their scores, lowest first, then those that can't go; each with its fate."""
    blocks, removed_blocks = scored.get("blocks", []), ticket.get("removed_blocks")
    worst = max((block["score"] for block in blocks if block["name"] in (removed_blocks or [])), default=None)

    def fate(block: Facts) -> str | None:
        if not block["removable"]:
            return "can't go"
        if removed_blocks is None:
            return None
        if block["name"] in removed_blocks:
            return "removed"
        if block["name"] in ticket.get("ties", []):
            return "kept in a tie"
        if "sets" in scored:
            # successive blocks were chosen together, not by what each scores
            return "kept"
        stay = "one stays" if scored.get("minimum") == 1 else "two stay"
        return f"kept, {stay} in a stage" if worst is not None and block["score"] < worst else "kept"

    ranked = sorted((block for block in blocks if block["removable"]), key=lambda block: block["score"])
    rest = [block for block in blocks if not block["removable"]]
    return [block | {"fate": fate(block)} for block in (*ranked, *rest)]


def _cost(network: StoredNetwork) -> Facts | None:
    """The architecture's cost and its savings against the dense one in percent; None if not profiled."""
    run = network.run
    profile = network.read(paths.profile, network.folder(run.dense))
    ticket = network.read(paths.ticket_facts) if run.removed else None
    if profile is None or (run.removed and ticket is None):
        return None
    costs = {one["architecture"]: one for one in profile["architectures"]}
    own, dense = costs.get(digest(ticket["architecture"]) if ticket else profile["dense"]), costs[profile["dense"]]
    if own is None:
        return None
    timed = {name: profile[name] for name in ("latency_batch", "latency_threads")}
    gains = _gains(own, dense) if run.removed else {}
    return {name: own[name] for name in COSTS} | gains | timed


def _gains(own: Facts, dense: Facts) -> Facts:
    columns = {"params": "params", "macs": "macs", "memory": "memory_bytes"}
    reductions = {f"{name}_reduction": saved(own[column], dense[column]) for name, column in columns.items()}
    return reductions | {"latency_speedup": dense["latency_ms"] / own["latency_ms"]}


def _training(training: Facts) -> Facts:
    segments = training.get("segments", [])
    return {name: sum(segment[name] for segment in segments) for name in ENERGY} | {"segments": segments}
