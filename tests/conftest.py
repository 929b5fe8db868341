"""Tests, and what they start, compute with one thread each, as jobs do: several of more would wait for each other."""

import os
import signal

# before anything imports torch, which reads it once
os.environ.setdefault("OMP_NUM_THREADS", "1")
# a shell's background job ignores these, and all that it starts would
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
