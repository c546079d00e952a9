// Threads for the CPU kernels: those of the OpenMP runtime that is already in the process.
#pragma once

#include <stdint.h>

#include <functional>

namespace ropescale {

// Looks for a loaded OpenMP runtime, first one whose path has `preferred` in it, and uses its
// threads from then on. Loads nothing. Returns the path, or "" where there is none (threads are
// then started for each call). A forked child uses none.
const char* use_loaded_openmp(const char* preferred);

// Cuts [0, count) into one range per thread and runs body(begin, end) on each; returns when all are
// done. `body` must not throw.
void parallel_ranges(int64_t count, int num_threads,
                     const std::function<void(int64_t, int64_t)>& body);

}  // namespace ropescale
