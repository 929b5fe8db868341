"""From results of networks to tables: outcomes, runs, summary, comparisons."""
