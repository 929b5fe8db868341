"""How jobs live on a machine: GPUs, SLURM, signals, what Snakemake is told, recovery after a kill."""
