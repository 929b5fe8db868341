import os

# foolbox imports matplotlib, which has to know the backend that a shell names, and GitPython, which has to find git
os.environ |= {"MPLBACKEND": "agg", "GIT_PYTHON_REFRESH": "quiet"}
