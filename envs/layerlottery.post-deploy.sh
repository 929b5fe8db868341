#!/usr/bin/env bash
# run by Snakemake inside the new environment, from the folder that holds the Snakefile: the package itself
set -euo pipefail
pip install --no-deps --editable .
