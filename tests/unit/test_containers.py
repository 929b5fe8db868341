"""The recipes of containers in envs/: what they copy is there, what they install is pinned, who runs is not root.

No engine runs here: these are checks of the texts.
"""

import re
import tomllib

import pytest
from tests.workflow.project import ROOT

DOCKERFILE = (ROOT / "envs" / "Dockerfile").read_text()
APPTAINER = (ROOT / "envs" / "layerlottery.def").read_text()


def instructions(text):
    """Instruction and arguments of each logical line of a Dockerfile."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in joined]


def section(name):
    return re.search(rf"^%{name}\n((?: +.*\n|\n)*)", APPTAINER, re.MULTILINE)[1]


def test_every_instruction_is_one_that_docker_knows():
    known = {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "CMD"}
    assert {name for name, _ in instructions(DOCKERFILE)} <= known
    assert instructions(DOCKERFILE)[0][0] == "FROM"


def test_what_is_copied_is_there_and_not_ignored():
    copied = [words.split()[:-1] for name, words in instructions(DOCKERFILE) if name == "COPY"]
    names = {name for words in copied for name in words}
    assert names >= {"pyproject.toml", "constraints.txt", "src", "workflow", "Snakefile"}
    assert [name for name in names if not (ROOT / name).exists()] == []
    ignored = (ROOT / "envs" / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == names
    assert {line.split()[0] for line in section("files").splitlines() if line.strip()} == names


@pytest.mark.parametrize("text", [DOCKERFILE, section("post")], ids=["docker", "apptainer"])
def test_every_package_has_the_version_of_the_constraints(text):
    installed = re.findall(r"pip install.*", text)
    assert len(installed) == 2
    assert all("--constraint constraints.txt" in line for line in installed)
    pins = (ROOT / "constraints.txt").read_text()
    assert {f"{name}==" in pins for name in ("torch", "torchvision", "snakemake")} == {True}


def test_jobs_do_not_run_as_root():
    users = [words for name, words in instructions(DOCKERFILE) if name == "USER"]
    assert users == ["benchmark"]
    after = DOCKERFILE.partition("USER benchmark")[2]
    assert "RUN" not in {name for name, _ in instructions(after)}


def test_both_have_the_oldest_python_that_the_package_takes_and_the_same_wheels():
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    image = f"python:{oldest}-slim-bookworm"
    assert f"FROM {image}\n" in DOCKERFILE
    assert f"From: {image}\n" in APPTAINER
    # whose index, is for those to say who build it
    assert "\nARG TORCH_INDEX=\n" in DOCKERFILE
    assert "    torch_index=\n" in APPTAINER
