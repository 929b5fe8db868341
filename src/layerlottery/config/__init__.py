"""The configuration: settings of every stage, studies, the validated Benchmark. Nothing here imports torch."""
