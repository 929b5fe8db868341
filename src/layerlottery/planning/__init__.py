"""What a benchmark will take before it runs: jobs, time, energy, CO2 and disk."""
