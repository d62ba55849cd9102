"""How fast the loop is, side by side with its peers: ``make bench``, docs/benchmarks.md."""
