"""The version of this package, read by its build, its files and its downloads."""

__version__ = "0.1.0"
