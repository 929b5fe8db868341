"""Commands in odd surroundings: other encodings, closed pipes, warnings that are errors, errors that nobody foresaw."""

import os
import subprocess
import sys

import click
import pytest

from layerlottery.cli import guard
from layerlottery.cli.options import log_option
from layerlottery.cli.surroundings import print_anywhere

PRINT = """
import sys
from layerlottery.cli.surroundings import print_anywhere
print_anywhere()
print("Δ −1.5 [−2, …] × θ0\\N{NO-BREAK SPACE}µ 試", file=sys.{stream})
"""


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("iso8859-2", "d -1.5 [-2, ~] × theta0\N{NO-BREAK SPACE}u ?"),
        ("cp1252", "d -1.5 [-2, …] × theta0\N{NO-BREAK SPACE}µ ?"),
        ("cp850", "d -1.5 [-2, ~] × theta0\N{NO-BREAK SPACE}µ ?"),
        ("ascii", "d -1.5 [-2, ~] x theta0 u ?"),
        ("utf-8", "Δ −1.5 [−2, …] × θ0\N{NO-BREAK SPACE}µ 試"),
    ],
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_sign_that_the_terminal_lacks_becomes_one_that_means_the_same(encoding, expected, stream):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    code = PRINT.replace("{stream}", stream)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)
    assert getattr(ran, stream).decode(encoding) == f"{expected}\n"


def test_a_file_name_that_is_no_text_is_printed(capfd):
    code = PRINT.replace("{stream}", "stdout").replace("試", "\\udcff")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert capfd.readouterr().out.rstrip().endswith("?")


@pytest.mark.parametrize(("stated", "left"), [("0", None), ("1", None), ("80", "80"), ("wide", "wide"), ("", "")])
def test_a_width_at_which_nothing_can_be_read_is_none(monkeypatch, stated, left):
    monkeypatch.setenv("COLUMNS", stated)
    print_anywhere()
    assert os.environ.get("COLUMNS") == left


def command(*words, **options):
    launch = [sys.executable, "-P", "-c", "from layerlottery.cli.launcher import main; main()", *words]
    return subprocess.run(launch, stderr=subprocess.PIPE, text=True, **options)


def test_a_reader_that_has_enough_ends_a_command_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    ran = command("schema", stdout=writer)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")  # noqa: PTH110
@pytest.mark.parametrize("words", [("schema",), ("dictionary",)])
def test_a_full_disk_below_standard_output_is_one_line(words):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ran = command(*words, stdout=full)
    assert (ran.returncode, ran.stderr) == (1, "layerlottery: system: No space left on device\n")


def test_warnings_that_are_errors_end_no_command():
    code = "import warnings; from layerlottery.cli.surroundings import only_warn; only_warn(); warnings.warn('so?')"
    for action in ("error", "e::DeprecationWarning"):
        ran = subprocess.run([sys.executable, "-W", action, "-c", code], capture_output=True, text=True)
        assert (ran.returncode, "UserWarning: so?" in ran.stderr) == (0, True)


@click.command()
@log_option
def broken():
    raise KeyError("two\nlines " + 2000 * "x")


def failing(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["layerlottery", "broken", *words])
    with pytest.raises(SystemExit) as ended:
        guard.run_guarded(lambda **how: broken.main([*words], **how))
    return ended.value.code


def test_an_unforeseen_error_is_one_line_and_its_traceback_is_in_the_log(monkeypatch, tmp_path, capsys):
    log = tmp_path / "broken.log"
    assert failing(monkeypatch, "--log", str(log)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("layerlottery: broken: KeyError: 'two\\nlines xxx")
    assert line.endswith(f"; this was not foreseen; traceback: {log}")
    assert len(line) < 800
    assert "in broken" in log.read_text()
    assert "Traceback" in log.read_text()


def test_without_a_log_a_variable_shows_the_traceback(monkeypatch, capsys):
    assert failing(monkeypatch) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("LAYERLOTTERY_TRACEBACK=1 shows where")
    monkeypatch.setenv(guard.TRACEBACK, "1")
    assert failing(monkeypatch) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_130(monkeypatch):
    def stopped(**how):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        guard.run_guarded(stopped)
    assert ended.value.code == 130


GIT_FREE = "import layerlottery.evaluation.attack, foolbox, layerlottery.report.report, matplotlib; print('imported')"


@pytest.mark.parametrize(
    "odd",
    [
        {"PATH": "/nowhere"},
        {"PATH": "/nowhere", "GIT_PYTHON_REFRESH": "error"},
        {"GIT_PYTHON_GIT_EXECUTABLE": "/nowhere/git"},
        {"MPLBACKEND": "Qt4Agg"},
        {"MPLBACKEND": "module://no.such.module"},
    ],
    ids=str,
)
def test_no_git_and_no_backend_is_needed(odd):
    ran = subprocess.run([sys.executable, "-c", GIT_FREE], capture_output=True, text=True, env=os.environ | odd)
    assert (ran.returncode, ran.stdout) == (0, "imported\n"), ran.stderr
