"""Tests, and what they start, compute with one thread each, as jobs do: several of more would wait for each other."""

import os

# before anything imports torch, which reads it once
os.environ.setdefault("OMP_NUM_THREADS", "1")
