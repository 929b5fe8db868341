"""Files know who they are: a sibling in a file's place, its own seal intact, is refused by all that read it."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from tests.sharing import shared
from tests.unit.hostile import call
from tests.unit.store.test_seals import stand_in
from tests.workflow.project import FIRST, LEVEL, TINY, Project, clone

from layerlottery import paths
from layerlottery.config.studies import Run
from layerlottery.paper import tabulate
from layerlottery.upkeep.verify import described, remove, verify

FEW = {"attack": TINY["attack"] | {"attacks": ["transfer"]}}
# each way in which networks differ once, beside the first ticket
UNLIKE = {
    "seeds": [0, 1],
    "criteria": ["random"],
    "removed": [2],
    "rewinds": [1],
    "structures": ["filters"],
}
SEVERAL = TINY | FEW | {"studies": [FIRST | {"name": key, key: value} for key, value in UNLIKE.items()]}
RUN = """
import json, sys
from layerlottery.cli.main import main
for words in json.load(sys.stdin):
    sys.argv = words
    main()
"""


def jobs_of(project):
    """Words of each job's command and the files that it reads."""
    dry = project.snakemake("--dry-run", "--forceall", "--printshellcmds")
    assert dry.returncode == 0, dry.stderr
    blocks = [
        block for block in re.split(r"\n\n", dry.stdout) if re.search("Shell command: (exec )?layerlottery ", block)
    ]
    for block in blocks:
        read = re.search(r"^    input: (.+)$", block, re.MULTILINE)
        words = shlex.split(re.search(r"^Shell command: (?:exec )?(.+)$", block, re.MULTILINE)[1])
        yield words, read[1].split(", ") if read else []


def fill(folder, config=SEVERAL):
    project = clone(folder)
    project.write(config)
    jobs = list(jobs_of(project))
    ran = project.call(sys.executable, "-c", RUN, input=json.dumps([words for words, _ in jobs]))
    assert ran.returncode == 0, ran.stderr
    (folder / "jobs.json").write_text(json.dumps(jobs))


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    with shared(tmp_path_factory, "several", fill) as folder:
        yield folder


@pytest.fixture(scope="module")
def inside(benchmark, tmp_path_factory):
    """A copy as the current folder; what a test changes is put back."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(benchmark, folder, dirs_exist_ok=True, symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield Project(folder)


def jobs():
    return json.loads(Path("jobs.json").read_text())


class Swapped:
    """One file in the place of another."""

    def __init__(self, path, other):
        self.path, self.content = Path(path), Path(other).read_bytes()
        self.before = self.path.read_bytes()

    def __enter__(self):
        self.path.write_bytes(self.content)

    def __exit__(self, *_):
        self.path.write_bytes(self.before)


def kin(path):
    """By the name of what differs, a file that differs from this one in that alone."""
    own = Path(path).parts
    for other in sorted(Path("results").rglob(Path(path).name)):
        if len(other.parts) == len(own):
            unlike = [name.partition("=")[0] for name, word in zip(own, other.parts, strict=True) if name != word]
            if len(unlike) == 1:
                yield unlike[0], str(other)
    for other in sorted(Path(path).parent.glob(f"*{Path(path).suffix}")):
        if other != Path(path):
            yield "stage", str(other)


def is_read(stage, path):
    """Not what a stage only waits for; and arrays are told by the hashes that facts hold of them."""
    if stage == "tabulate":
        return path.stem in tabulate.READ
    return (stage, path.name) != ("rewind", "weights.safetensors") and path.suffix != ".npy"


def swaps():
    """Command, file that it reads, another: each command, kind of file and difference once."""
    seen = set()
    for words, inputs in jobs():
        for path in inputs:
            for unlike, other in kin(path) if is_read(words[1], Path(path)) else ():
                key = (words[1], Path(path).name, unlike, "structure=" in path)
                if key not in seen:
                    seen.add(key)
                    yield words, path, other, unlike


def refused(words, path):
    """The one line that names the file; what was printed, if it is another."""
    status, err = call(words)
    lines = [line for line in err.splitlines() if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d |W\d{4} ", line)]
    assert (status, len(lines)) == (1, 1), (words[1], path, err[-1000:])
    assert lines[0].startswith(f"layerlottery: {path}: "), (words[1], path, lines)
    return lines[0]


def test_every_reader_refuses_a_sibling(inside):
    found = list(swaps())
    for words, path, other, _ in found:
        with Swapped(path, other):
            line = refused(words, path)
        assert "a file of another place: found " in line
        assert ", expected " in line
    commands = {words[1] for words, *_ in found}
    assert commands >= {"score", "prune", "train", "rewind", "attack", "shift", "compare", "profile", "aggregate"}
    assert commands >= {"tabulate", "report", "manifest"}
    assert {unlike for *_, unlike in found} >= {"seed", "criterion", "removed", "rewind", "structure", "stage"}
    assert len(found) > 60


def test_the_line_says_what_differs(inside):
    path = f"results/{paths.trained_weights(DENSE.folder)}"
    words = next(words for words, inputs in jobs() if words[1] == "attack" and path in inputs)
    with Swapped(path, path.replace("seed=0", "seed=1")):
        assert ": a file of another place: found seed=1, expected seed=0; delete it, then" in refused(words, path)


def test_verify_names_every_sibling(inside):
    results = Path("results")
    assert verify(results).good, described(verify(results))
    chosen = {}
    for _, path, other, unlike in swaps():
        chosen.setdefault((Path(path).name, unlike), (path, other))
    before = {path: Path(path).read_bytes() for path, _ in chosen.values()}
    after = {path: Path(other).read_bytes() for path, other in chosen.values()}
    for path, content in after.items():
        Path(path).write_bytes(content)
    try:
        found = verify(results)
    finally:
        for path, content in before.items():
            Path(path).write_bytes(content)
    named = {str(path) for path, reason in found.damaged.items() if "another place" in reason}
    assert named >= set(after)


def test_kept_weights_of_another_epoch_are_passed_over(inside):
    """They are of the same training, so that their fingerprint is right."""
    kept = Path(f"results/checkpoints/{DENSE.folder}/kept/epoch=1.safetensors")
    assert kept.is_file()
    words = next(words for words, _ in jobs() if words[1] == "rewind")
    output = Path(words[words.index("--output") + 1])
    before = output.read_bytes()
    later = kept.with_name("epoch=2.safetensors")
    shutil.copy(kept, later)
    other = [word.replace("rewind=1", "rewind=2") for word in words]
    other[other.index("--epoch") + 1] = "2"
    try:
        status, err = call(other)
        assert status == 0, err
        assert f"kept weights not used: {later}: a file of another place" in err
        assert Path(str(output).replace("rewind=1", "rewind=2")).read_bytes() != before
    finally:
        later.unlink()
        Path(str(output).replace("rewind=1", "rewind=2")).unlink(missing_ok=True)


# the chain: files of another benchmark in the same place


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Results of the same names, whose images, networks and criteria are others."""
    other = {
        "datasets": {"digits": {"source": "digits", "train_size": 80, "test_size": 30}},
        "networks": {"tiny": {"depth": 20, "width": 3}},
        "criteria": {"l1": {"images_per_class": 2, "keep": "low"}},
        "attack": FEW["attack"] | {"epsilons": [4.0]},
    }
    with shared(tmp_path_factory, "elsewhere", lambda folder: fill(folder, TINY | other)) as folder:
        yield folder


DENSE = Run("digits", "tiny", 0, recipe=LEVEL)
NETWORK = DENSE.folder.removesuffix(f"/recipe={LEVEL}")
TICKET = Run("digits", "tiny", 0, "layers", "l1", 0, "init", 1, recipe=LEVEL, round=1)
FOREIGN = [
    (paths.prepared(paths.DATASET.format(dataset="digits")), ("attack", "compare")),
    (paths.initial_weights(NETWORK), ("prune", "profile")),
    (paths.scores(TICKET.scored), ("train", "aggregate")),
    (paths.initial_weights(TICKET.folder), ("train",)),
    (paths.ticket_facts(TICKET.folder), ("profile", "aggregate")),
    (paths.trained_weights(DENSE.folder), ("attack", "compare")),
    (paths.trained_weights(TICKET.folder), ("attack", "shift", "compare")),
    *((name(TICKET.folder), ("aggregate",)) for name in (paths.attack, paths.shift, paths.detection, paths.curve)),
    *((name(TICKET.folder), ("aggregate",)) for name in (paths.similarity, paths.training_facts)),
    (paths.profile(DENSE.folder), ("aggregate",)),
]


def command(stage):
    return next(words for words, _ in jobs() if words[1] == stage)


def about(words, run):
    return any(f"results/{run.folder}/" in f"{word}/" for word in words)


@pytest.mark.parametrize(("name", "stages"), FOREIGN, ids=[Path(name).name for name, _ in FOREIGN])
def test_a_file_of_another_configuration_breaks_the_chain(inside, elsewhere, name, stages):
    path = f"results/{name}"
    with Swapped(path, elsewhere / path):
        for stage in stages:
            # or of a ticket's job that reads what was made from it
            of = [(words, inputs) for words, inputs in jobs() if words[1] == stage]
            of = [words for words, inputs in of if path in inputs] or [words for words, _ in of if about(words, TICKET)]
            status, err = call(of[0] if of else command(stage))
            line = [line for line in err.splitlines() if line.startswith("layerlottery: ")]
            assert (status, len(line)) == (1, 1), (stage, err[-900:])
            assert re.search(r": made from another \S+: found [0-9a-f]{12}, expected [0-9a-f]{12}, as", line[0]), line
        found = verify(Path("results"))
    assert Path(path) in found.damaged, described(found)


@pytest.mark.parametrize(
    ("stage", "key", "value"), [("attack", "pgd_steps", 1), ("shift", "calibration_bins", 5), ("compare", "images", 12)]
)
def test_networks_tested_with_other_settings_are_not_compared(inside, stage, key, value):
    """Made from the very same files."""
    words = next(words for words, _ in jobs() if words[1] == stage and about(words, TICKET))
    outputs = [Path(words[at + 1]) for at, word in enumerate(words) if word in ("--output", "--output-detection")]
    before = [path.read_bytes() for path in outputs]
    other = list(words)
    at = other.index("--settings") + 1
    other[at] = json.dumps(json.loads(other[at]) | {key: value})
    try:
        status, err = call(other)
        assert status == 0, err
        status, err = call(command("aggregate"))
    finally:
        for path, content in zip(outputs, before, strict=True):
            path.write_bytes(content)
    lines = [line for line in err.splitlines() if line.startswith("layerlottery: ")]
    assert (status, len(lines)) == (1, 1), err
    assert f": made with other settings of {stage}: found " in lines[0]


@pytest.fixture
def apart(benchmark, tmp_path):
    """A results folder of its own, to break."""
    return Path(shutil.copytree(benchmark / "results", tmp_path / "results"))


@pytest.mark.parametrize(
    ("name", "because"),
    [
        (paths.initial_weights(TICKET.folder), paths.ticket_facts(TICKET.folder)),
        (paths.ticket_facts(TICKET.folder), paths.initial_weights(TICKET.folder)),
        (paths.initial_weights(NETWORK), paths.curve(DENSE.folder)),
        (paths.detection(TICKET.folder), paths.shift(TICKET.folder)),
        (paths.scores(TICKET.scored), None),
    ],
)
def test_verify_says_what_is_missing(apart, name, because):
    (apart / name).unlink()
    found = verify(apart)
    assert list(found.missing) == [apart / name]
    assert not found.good
    lines = [line for line in described(found) if line.startswith(f"{apart / name}: missing; ")]
    assert len(lines) == 1
    assert because is None or f"{apart / because} was made " in lines[0] or DENSE.folder in lines[0]


def test_what_verify_removes_comes_back_as_it_was(inside, elsewhere):
    """Of a file of another configuration only that one goes: those made from the right one are right."""
    path = Path("results", paths.scores(TICKET.scored))
    facts = path.read_bytes()
    with Swapped(path, elsewhere / path):
        found = verify(Path("results"))
        assert list(found.damaged) == [path]
        assert found.damaged[path].startswith("another file than the ")
        assert remove(Path("results"), found).split()[:4] == ["snakemake", "--cores", "all", str(path)]
        assert not path.exists()
        status, err = call(next(words for words, _ in jobs() if words[1] == "score" and str(path) in words))
        assert status == 0, err
        assert path.read_bytes() == facts
    assert verify(Path("results")).good


def test_one_foreign_result_does_not_condemn_its_network(inside, elsewhere):
    path = Path("results", paths.attack(TICKET.folder))
    with Swapped(path, elsewhere / path):
        assert list(verify(Path("results")).damaged) == [path]


@pytest.mark.parametrize("stand", ["pipe", "folder", "sparse"])
def test_verify_names_what_is_no_file(apart, stand):
    path = apart / paths.attack(TICKET.folder)
    path.unlink()
    stand_in(stand, path)
    found = verify(apart)
    assert set(found.damaged) == {path}
    remove(apart, found)
    assert path.exists() == (stand == "folder")


@pytest.mark.parametrize("stand", ["pipe", "folder", "zero", "sparse"])
def test_every_reader_refuses_what_is_no_file(inside, stand):
    seen = set()
    for words, inputs in jobs():
        for path in inputs:
            if is_read(words[1], Path(path)) and (key := (words[1], Path(path).name)) not in seen:
                seen.add(key)
                before = Path(path).read_bytes()
                Path(path).unlink()
                try:
                    stand_in(stand, Path(path))
                    refused(words, path)
                finally:
                    Path(path).rmdir() if Path(path).is_dir() else Path(path).unlink()
                    Path(path).write_bytes(before)
    assert len(seen) > 40
