#!/usr/bin/env bash
# run by Snakemake inside the new environment, from the folder that it was started in: the package itself, that of a
# clone, or the one that LAYERLOTTERY_PACKAGE names to pip (a wheel, say)
set -euo pipefail
if [ -f pyproject.toml ]; then
  pip install --no-deps --editable .
else
  pip install --no-deps "${LAYERLOTTERY_PACKAGE:-layerlottery}"
fi
