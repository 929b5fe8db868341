"""How many CPU threads the job of this process may use besides torch, which knows its own number."""

from __future__ import annotations

_threads = 1


def set_job_threads(threads: int) -> None:
    """To be called once, where the job begins."""
    global _threads
    _threads = threads


def job_threads() -> int:
    """The job's threads; 1 unless it was told otherwise."""
    return _threads
