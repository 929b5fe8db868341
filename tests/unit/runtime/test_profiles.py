"""Profiles of Snakemake whose keys stand twice are refused, wherever they were named."""

from pathlib import Path

import pytest

from layerlottery.errors import LayerLotteryError
from layerlottery.runtime.profiles import check_profiles, storage_of

TWICE = "cores: 1\ndefault-resources:\n  mem_mb: 1\n  runtime: 2\n  mem_mb: 3\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("mine/profile.yaml", ["--profile", "mine"]),
        ("mine/config.yaml", ["--cores", "2", "--profile=mine", "all"]),
        ("own.yaml", ["--workflow-profile", "own.yaml"]),
        ("profiles/big/profile.yaml", ["--workflow-profile=big"]),
        ("profiles/default/profile.yaml", ["--dry-run"]),
    ],
)
def test_a_key_that_stands_twice_is_refused(here, file, words):
    (here / file).parent.mkdir(parents=True, exist_ok=True)
    (here / file).write_text(TWICE)
    with pytest.raises(LayerLotteryError, match=r"yaml: the key 'mem_mb' stands twice, in lines 3 and 5"):
        check_profiles(words)
    (here / file).write_text(TWICE.replace("  mem_mb: 3\n", ""))
    check_profiles(words)


def test_the_environment_names_one(here, monkeypatch):
    (here / "p").mkdir()
    (here / "p" / "config.yaml").write_text("cores: 1\ncores: 2\n")
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "p")
    with pytest.raises(LayerLotteryError, match="the key 'cores' stands twice"):
        check_profiles([])


@pytest.mark.parametrize("words", [[], ["--profile", "nowhere"], ["--workflow-profile", "none"], ["--profile"]])
def test_no_profile_is_no_matter(here, words):
    check_profiles(words)


@pytest.mark.parametrize("executor", ["kubernetes", "lsf", "htcondor"])
def test_profiles_that_give_a_training_one_gpu_refuse_more(here, executor):
    profile = Path(__file__).parents[3] / "workflow" / "profiles" / executor
    check_profiles(["--workflow-profile", str(profile)], gpus=1)
    refused = rf"^resources\.gpus_per_training: found 2; allowed with the executor {executor}: 1$"
    with pytest.raises(LayerLotteryError, match=refused):
        check_profiles(["--workflow-profile", str(profile)], gpus=2)
    check_profiles(["--workflow-profile", str(profile.with_name("slurm"))], gpus=2)


@pytest.mark.parametrize(
    ("words", "storage"),
    [
        ([], None),
        (["--default-storage-provider"], None),
        (["--default-storage-provider", "fs"], "fs"),
        (["--workflow-profile", "own"], "s3"),
        (["--profile=own", "--default-storage-provider=gcs"], "gcs"),
    ],
)
def test_a_storage_is_named_by_words_or_a_profile(here, words, storage):
    (here / "own").mkdir()
    (here / "own" / "config.yaml").write_text("jobs: 1\ndefault-storage-provider: s3\n")
    assert storage_of(words) == storage
