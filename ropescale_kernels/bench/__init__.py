"""The microbenchmark behind `ropescale bench` and bench/: cases, baselines, timing, report."""
