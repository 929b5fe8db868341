"""What a benchmark will take before anything of it runs: jobs, hours, energy, CO2 and disk."""
