"""Looking after a results folder: show, verify, stale, diff."""
