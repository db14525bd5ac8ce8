"""Side-by-side benchmarks: `make bench`, or `python -m benchmarks [--only NAME] [--out DIR] [--quick]`."""
