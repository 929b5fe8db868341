"""The command line: one module per family of commands, the prefork worker, and how a command fails."""
