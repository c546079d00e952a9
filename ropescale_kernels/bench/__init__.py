"""The microbenchmark of `ropescale bench` and of bench/: cases, contenders, timing, report."""
