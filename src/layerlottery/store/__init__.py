"""Files that can be trusted: hashes, seals, atomic writes, locks, the schemas of tables."""
