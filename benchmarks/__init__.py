"""Comparisons measured side by side in one run: `python -m benchmarks`; growth over the days: `benchmarks.growth`."""
