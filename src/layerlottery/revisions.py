"""Revisions of the stages, raised by hand when a stage's code changes its results.

They stand together, and apart from the stages' own modules, because the Snakefile reads them as rule
parameters and must not import torch. Raising one reruns that stage and all that depends on it.
"""

REVISIONS = {
    "prepare": 1,
    "corrupt": 1,
    "initialize": 1,
    "score": 2,
    "prune": 2,
    "train": 1,
    "rewind": 1,
    "attack": 1,
    "shift": 1,
    "profile": 2,
    "compare": 1,
    "aggregate": 2,
    "tabulate": 1,
    "report": 2,
}
