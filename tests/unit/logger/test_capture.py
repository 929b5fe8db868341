"""Standard streams led elsewhere and back, in a process of its own."""

import subprocess
import sys
import time

CODE = """
import os, subprocess, sys
from snakemake_logger_plugin_layerlottery.capture import Capture
print("before", flush=True)
capture = Capture()
print("print", flush=True)
subprocess.run([sys.executable, "-c", "import sys; print('child'); print('half', end='', file=sys.stderr)"])
first = list(capture.lines())
os.write(1, b" more\\n\\xff\\nrest")
second, third = list(capture.lines()), list(capture.lines(last=True))
capture.restore()
print(first, second, third)
"""


def test_lines_of_this_process_and_its_children_are_held_back():
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    before, held = ran.stdout.splitlines()
    assert before == "before"
    assert held == "['print', 'child'] ['half more', '\N{REPLACEMENT CHARACTER}'] ['rest']"


def test_a_child_that_outlives_it_can_still_write(tmp_path):
    code = """
import subprocess, sys
from snakemake_logger_plugin_layerlottery.capture import Capture
Capture()
child = "import time, pathlib, sys; time.sleep(1); print('late', flush=True); pathlib.Path(sys.argv[1]).touch()"
subprocess.Popen([sys.executable, "-c", child, sys.argv[1]])
import os; os._exit(0)
"""
    done = tmp_path / "done"
    subprocess.run([sys.executable, "-c", code, str(done)], check=True)
    limit = time.monotonic() + 30
    while not done.exists():
        assert time.monotonic() < limit
        time.sleep(0.1)


WITHOUT = """
from snakemake_logger_plugin_layerlottery.capture import Capture
from snakemake_logger_plugin_layerlottery.displays import open_console, stream_of
open_console(stream_of(stdout=False), color=True).print("nowhere")
capture = Capture()
list(capture.lines())
capture.restore()
"""


def test_a_process_without_streams_is_no_obstacle():
    words = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", sys.executable, "-c", WITHOUT]
    assert subprocess.run(words).returncode == 0


FLOOD = """
import os, subprocess, sys
from snakemake_logger_plugin_layerlottery.capture import MOST, Capture
capture = Capture()
code = "import os; os.write(2, b'a line that says much\\\\n' * 500_000)"
subprocess.run([sys.executable, "-c", code])
held = os.fstat(1).st_blocks
kept = list(capture.lines())
left, dropped = os.fstat(1).st_blocks, capture.dropped
os.write(1, b"more\\n")
more = list(capture.lines(last=True))
capture.restore()
print(len(kept) + dropped, len(set(kept[:-1])), len("".join(kept)) <= 2 * MOST, left < held / 100, more)
"""


def test_millions_of_lines_are_counted_and_not_kept():
    ran = subprocess.run([sys.executable, "-c", FLOOD], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "500000 1 True True ['more']\n"
