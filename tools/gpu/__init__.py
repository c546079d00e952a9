"""Reports of bench/gpu.sh."""
