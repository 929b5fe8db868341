"""A forecast of a benchmark before it runs: jobs, time, energy, CO2 and disk."""
