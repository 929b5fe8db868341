import os

# figures go into files: a shell's backend is not wanted, and one that matplotlib doesn't know would end its import
os.environ["MPLBACKEND"] = "agg"
