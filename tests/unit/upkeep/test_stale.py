"""Stale files: what counts as one, what never does, and that nothing else is removed."""

import subprocess
import sys

import pytest
import yaml

from layerlottery.cli.configuration import load_configuration
from layerlottery.config.loading import load_benchmark
from layerlottery.config.recipes import Recipes
from layerlottery.errors import LayerLotteryError
from layerlottery.store import lock
from layerlottery.training.alone import alone
from layerlottery.upkeep.stale import asked_files, find_stale, sweep
from layerlottery.upkeep.stale import remove as remove_files
from layerlottery.words import human_size

STUDY = {
    "name": "small",
    "datasets": ["digits"],
    "networks": ["resnet20"],
    "seeds": [0],
    "criteria": ["snip"],
    "removed": [1],
}
SMALL = {"datasets": {"digits": {"source": "digits"}}, "training": {"epochs": 3}, "studies": [STUDY]}
# every kind of file that there is
WIDE = SMALL | {
    "datasets": {"digits": {"source": "digits"}, "more": {"source": "digits"}},
    "studies": [
        STUDY | {"datasets": ["digits", "more"], "seeds": [0, 1], "rewinds": [0, 2, "random"], "removed": [1, 2]},
        STUDY | {"name": "structures", "structures": ["layers", "filters", "weights"], "draws": 2},
        STUDY | {"name": "trained", "scored_at": ["trained"], "criteria": ["kl", "l1"]},
        STUDY | {"name": "budgets", "structures": ["filters"], "criteria": ["complexity_macs"]},
    ],
}
SEED = "networks/dataset=digits/network=resnet20/seed=0"
RECIPE = f"/recipe={Recipes(training=SMALL['training']).level('resnet20')}"
DENSE = f"{SEED}{RECIPE}"
TICKET = f"{DENSE}/structure=layers/criterion=snip/draw=0/scored_at=init/removed=1/rewind=0"
RANDOM = TICKET.replace("criterion=snip", "criterion=random")
USERS = [
    "notes.txt",
    "networks/README.md",
    "tables/mine.parquet",
    "tables/runs.parquet.bak",
    f"{DENSE}/plot.png",
    f"{DENSE}/.weights.safetensors.old",
    f"{RANDOM}/weights.pt",
    "networks/dataset=digits/network=resnet20/seed=one/weights.safetensors",
    f"old/{RANDOM}/weights.safetensors",
]


def studies(*changes):
    return load_benchmark(SMALL | {"studies": [STUDY | {"name": f"{at}"} | one for at, one in enumerate(changes)]})


def plant(results, files):
    for name in files:
        path = results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() or path.is_symlink()}


def names(stale):
    return {file.path for file in stale}


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


# what is asked for


def test_everything_that_a_wide_benchmark_makes_is_recognized_when_another_does_not_ask_for_it(results):
    wide, small = (asked_files(load_benchmark(config)) for config in (WIDE, SMALL))
    assert small < wide
    plant(results, wide)
    assert find_stale(results, [load_benchmark(WIDE)]) == ([], 0)
    stale, others = find_stale(results, [load_benchmark(SMALL)])
    assert (names(stale), others) == (wide - small, 0)


def test_the_results_folder_of_the_configuration_does_not_matter_to_the_names():
    assert asked_files(load_benchmark(SMALL | {"results": "some/where/else"})) == asked_files(load_benchmark(SMALL))


def test_what_trainings_leave_beside_their_checkpoints_is_asked_for(results):
    asked = asked_files(load_benchmark(WIDE))
    for folder in (DENSE, TICKET, f"{DENSE}/rewind=2"):
        checkpoint = results / "checkpoints" / f"{folder}.safetensors"
        with alone(checkpoint):
            held = files_below(results)
        assert len(held) == 1
        beside = {f"checkpoints/{folder}{ending}" for ending in (".safetensors", ".segments.json")}
        assert {*held, *beside} <= asked
    assert f"checkpoints/{DENSE}/kept/epoch=2.safetensors" in asked
    assert f"checkpoints/{DENSE}/kept/epoch=1.safetensors" not in asked


def test_shards_of_encoded_images_go_with_the_set_that_asks_for_them(results):
    shards = {f"datasets/dataset={name}/train_images-00012.bin" for name in ("digits", "other")}
    plant(results, shards | {"datasets/dataset=digits/train_images-1.bin"})
    stale, others = find_stale(results, [load_benchmark(SMALL)])
    assert [(file.path, file.owner) for file in stale] == [
        ("datasets/dataset=other/train_images-00012.bin", "datasets/dataset=other")
    ]
    assert others == 1


def test_budgets_of_other_structures_are_asked_for_although_no_study_scores_them():
    benchmark = studies({"structures": ["filters"], "criteria": ["complexity_macs"]})
    scores = f"{SEED}/structure={{}}/criterion={{}}/draw=0/scored_at=init/scores.json"
    asked = asked_files(benchmark)
    assert scores.format("filters", "complexity_macs") in asked
    assert scores.format("layers", "snip") in asked
    assert scores.format("layers", "complexity_macs") not in asked


# what is stale


@pytest.mark.parametrize(
    ("before", "after", "kept", "gone"),
    [
        ({"seeds": [0, 1]}, {"seeds": [0]}, f"{DENSE}/profile.json", "seed=1"),
        ({"criteria": ["snip", "random"]}, {}, f"{TICKET}/ticket.json", "criterion=random/"),
        ({"removed": [1, 2]}, {}, f"{TICKET}/ticket.json", "removed=2/"),
        ({"rewinds": [0, 2]}, {}, f"{DENSE}/weights.safetensors", ("rewind=2", "/kept/epoch=2")),
        ({"draws": 2}, {}, f"{TICKET}/ticket.json", "draw=1/"),
    ],
    ids=["seed", "criterion", "removed", "rewind", "draw"],
)
def test_a_removed_part_is_stale_and_nothing_else(results, before, after, kept, gone):
    plant(results, asked_files(studies(before)))
    stale, others = find_stale(results, [studies(after)])
    gone = (gone,) if isinstance(gone, str) else gone
    assert others == 0
    assert kept not in names(stale)
    assert stale
    assert {name for name in names(stale) if any(part in name for part in gone)} == names(stale)
    assert names(stale) == files_below(results) - asked_files(studies(after))


def test_several_benchmarks_share_a_folder(results):
    one, other = studies({"seeds": [0]}), studies({"seeds": [1]})
    plant(results, asked_files(one) | asked_files(other))
    assert find_stale(results, [one, other]) == ([], 0)
    assert names(find_stale(results, [other])[0]) == asked_files(one) - asked_files(other)


def test_a_users_files_are_counted_and_never_stale(results):
    plant(results, [*asked_files(load_benchmark(SMALL)), *USERS])
    assert find_stale(results, [load_benchmark(SMALL)]) == ([], len(USERS))


def test_leftovers_of_killed_writers_are_stale_also_beside_files_that_stay(results):
    left = [
        f"{TICKET}/.weights.safetensors.a1b2c3d4",
        f"{RANDOM}/.attack.parquet.abcdefgh",
        "tables/.runs.parquet.x_y_z_12",
    ]
    plant(results, [*asked_files(load_benchmark(SMALL)), *left])
    stale, others = find_stale(results, [load_benchmark(SMALL)])
    assert (names(stale), others) == (set(left), 0)
    assert [file.owner for file in stale] == [RANDOM, TICKET, "."]


def test_a_stale_file_belongs_to_its_network_wherever_it_lies(results):
    mine = {name for name in asked_files(studies({"criteria": ["random"]})) if RANDOM in name}
    mine |= {f"logs/train/{RANDOM}.log", f"checkpoints/{RANDOM}.safetensors"}
    plant(results, mine)
    stale, _ = find_stale(results, [load_benchmark(SMALL)])
    assert names(stale) == mine
    assert {file.owner for file in stale} == {RANDOM}
    assert [file.size for file in stale] == [len(file.path) for file in stale]


def test_links_are_not_followed_and_stay(results, tmp_path):
    outside = tmp_path / "scratch"
    plant(outside, [f"{RANDOM}/weights.safetensors"])
    plant(results, [f"{DENSE}/weights.safetensors"])
    ticket = results / RANDOM
    ticket.parent.mkdir(parents=True)
    ticket.symlink_to(outside / RANDOM)
    (results / DENSE / "profile.json").symlink_to(outside / RANDOM / "weights.safetensors")
    stale, others = find_stale(results, [studies({"seeds": [1]})])
    assert (names(stale), others) == ({f"{DENSE}/weights.safetensors"}, 2)
    remove_files(results, stale)
    assert (outside / RANDOM / "weights.safetensors").is_file()
    assert ticket.is_symlink()


# removal


def test_removal_leaves_what_is_asked_for_and_no_empty_folder(results):
    kept = asked_files(load_benchmark(SMALL))
    plant(results, [*asked_files(load_benchmark(WIDE)), *USERS])
    (results / "empty of a user").mkdir()
    (results / "checkpoints" / SEED / "seed=9").mkdir(parents=True)
    remove_files(results, find_stale(results, [load_benchmark(SMALL)])[0])
    assert files_below(results) == kept | {*USERS}
    empty = [path.name for path in results.rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert empty == ["empty of a user"]


def test_a_file_that_went_meanwhile_is_no_error(results):
    plant(results, asked_files(load_benchmark(WIDE)))
    stale, _ = find_stale(results, [load_benchmark(SMALL)])
    (results / stale[0].path).unlink()
    remove_files(results, stale)
    assert find_stale(results, [load_benchmark(SMALL)]) == ([], 0)


HOLD = """
import sys
from pathlib import Path
from layerlottery.store.lock import try_lock
lock = try_lock(Path(sys.argv[1]))
print("holds", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holding():
    """Start another process that holds a lock file; ended after the test."""
    started = []

    def hold(path):
        command = [sys.executable, "-c", HOLD, str(path)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "holds\n"

    yield hold
    for process in started:
        process.communicate()


def test_nothing_is_removed_while_a_benchmark_runs(results, holding, tmp_path):
    plant(results, [f"{RANDOM}/weights.safetensors"])
    holding(results / lock.NAME)
    stale, _ = find_stale(results, [load_benchmark(SMALL)])
    with pytest.raises(LayerLotteryError, match="in use by another benchmark"):
        remove_files(results, stale)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    with pytest.raises(LayerLotteryError, match="a benchmark is running in it"):
        list(sweep([load_configuration(tmp_path / "small.yaml", [f"results={results}"])], delete=True))
    assert (results / RANDOM / "weights.safetensors").is_file()


def test_nothing_is_removed_while_a_training_outlives_its_benchmark(results, holding):
    running = f"checkpoints/{RANDOM}.lock"
    plant(results, [f"{RANDOM}/weights.safetensors", running])
    holding(results / running)
    stale, _ = find_stale(results, [load_benchmark(SMALL)])
    with pytest.raises(LayerLotteryError, match=r"criterion=random/.*\.lock: its training still runs"):
        remove_files(results, stale)
    assert (results / RANDOM / "weights.safetensors").is_file()


def test_a_training_that_died_is_removed_with_its_lock(results):
    plant(results, [f"checkpoints/{RANDOM}.lock", f"checkpoints/{RANDOM}.safetensors"])
    remove_files(results, find_stale(results, [load_benchmark(SMALL)])[0])
    assert files_below(results) == {lock.NAME}


# the command


@pytest.fixture
def given(tmp_path, monkeypatch):
    """A folder with two configurations and everything that both ask for."""
    monkeypatch.chdir(tmp_path)
    more = SMALL | {"studies": [STUDY | {"seeds": [0, 1]}]}
    for name, config in (("config.yaml", SMALL), ("more.yaml", more)):
        (tmp_path / name).write_text(yaml.safe_dump(config))
    plant(tmp_path / "results", [*asked_files(load_benchmark(more)), "notes.txt"])
    (tmp_path / "results" / lock.NAME).unlink()
    return tmp_path


def run(*files, values=(), results=None, remove=False):
    changes = [*values, *([] if results is None else [f"results={results}"])]
    return list(sweep([load_configuration(file, changes) for file in files], delete=remove))


def test_it_lists_networks_sizes_and_a_total_and_removes_nothing(given):
    before = files_below(given / "results")
    stale, _ = find_stale(given / "results", [load_benchmark(SMALL)])
    lines = run(given / "config.yaml")
    ticket = TICKET.replace("seed=0", "seed=1")
    network, dense = (folder.replace("seed=0", "seed=1") for folder in (SEED, DENSE))
    scored = ticket.partition("/removed=")[0].replace(RECIPE, "")
    assert [line.split()[-1] for line in lines[:-3]] == [network, dense, ticket, scored]
    assert sum(int(line.split()[0]) for line in lines[:-3]) == len(stale)
    total = sum((given / "results" / file.path).stat().st_size for file in stale)
    assert lines[-3:] == [
        f"results: {len(stale)} files, {human_size(total)}, that no configuration asks for",
        "1 more files belong to no stage here (other programs, other benchmarks) and stay",
        "nothing is removed without --remove",
    ]
    assert files_below(given / "results") == before


def test_it_removes_when_told_to_and_has_nothing_to_do_then(given):
    assert run(given / "config.yaml", remove=True)[-1] == "removed"
    left = files_below(given / "results")
    assert left == asked_files(load_benchmark(SMALL)) | {"notes.txt"}
    assert run(given / "config.yaml", remove=True)[0] == "results: 0 files, 0 B, that no configuration asks for"


def test_each_configuration_stands_alone_and_values_are_laid_over_all(given):
    assert run(given / "config.yaml", given / "more.yaml")[0].startswith("results: 0 files")
    grid = "datasets: [digits], networks: [resnet20], criteria: [snip], removed: [1]"
    one_more = f"studies=[{{name: small, seeds: [0, 1], {grid}}}]"
    assert run(given / "config.yaml", values=[one_more])[0].startswith("results: 0 files")


def test_another_results_folder(given):
    (given / "results").rename(given / "elsewhere")
    with pytest.raises(LayerLotteryError, match="results: no such folder; --results names that of a benchmark"):
        run(given / "config.yaml")
    found = run(given / "config.yaml", results="elsewhere")
    assert found == run(given / "config.yaml", values=["results=elsewhere"])
    assert found[-3].startswith("elsewhere: ")


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        (
            "results: else\n" + yaml.safe_dump(SMALL),
            (),
            "results: found else, results; the configurations must share one",
        ),
        ("datasets: [", (), "other.yaml: .*while parsing"),
        ("- a list", (), "other.yaml: .*must be given as JSON or YAML"),
        ("datasetz: {}", (), "configuration: unknown key 'datasetz'"),
        (yaml.safe_dump(SMALL), ["seeds"], ".*have to be defined as name=value pairs"),
    ],
    ids=["two folders", "no YAML", "a list", "unknown key", "no value"],
)
def test_mistakes_are_named(given, text, values, message):
    (given / "other.yaml").write_text(text)
    with pytest.raises(LayerLotteryError, match=message):
        run(given / "config.yaml", given / "other.yaml", values=values)


def test_a_missing_configuration_is_named(given):
    with pytest.raises(LayerLotteryError, match=r"none\.yaml: No such file"):
        run(given / "none.yaml")


def test_values_of_the_command_line_are_read_as_snakemake_reads_them(given):
    # Snakemake hands over every nested value as text
    values = ["training={epochs: 2, weight_decay: 1e-3}", "report={title: 7}"]
    benchmark = load_configuration(given / "config.yaml", values)
    assert (benchmark.training.epochs, benchmark.training.weight_decay, benchmark.report.title) == (2, 0.001, "7")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_234_567, "1.2 MB"), (5e9, "5.0 GB"), (2.5e15, "2500.0 TB")],
)
def test_sizes_for_people(size, text):
    assert human_size(size) == text
