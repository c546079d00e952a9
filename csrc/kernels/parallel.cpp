#include "parallel.h"

#include <dlfcn.h>
#include <pthread.h>

#include <string>
#include <system_error>
#include <thread>
#include <vector>
#if defined(__linux__)
#include <link.h>
#endif

namespace ropescale {
namespace {

// The entry points GCC's OpenMP code calls; LLVM's and Intel's runtimes export them too. Going
// through them shares the caller's thread team: a pool of our own would fight the one that spins.
using GompParallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
using OmpGetInt = int (*)();

struct OpenMP {
    GompParallel parallel = nullptr;
    OmpGetInt thread_num = nullptr;
    OmpGetInt num_threads = nullptr;
    std::string path;
};

OpenMP& openmp() {
    static OpenMP runtime;
    return runtime;
}

#if defined(__linux__)
struct Search {
    std::string preferred;
    std::vector<std::string> found;
};

int collect_openmp(dl_phdr_info* info, size_t, void* data) {
    auto* search = static_cast<Search*>(data);
    const std::string path = info->dlpi_name ? info->dlpi_name : "";
    const std::string file = path.substr(path.rfind('/') + 1);
    for (const char* name : {"libgomp", "libiomp5", "libomp"}) {
        if (file.rfind(name, 0) != 0) continue;
        const bool wanted = path.find(search->preferred) != std::string::npos;
        search->found.insert(wanted ? search->found.begin() : search->found.end(), path);
        break;
    }
    return 0;
}
#endif

struct Task {
    int64_t count;
    const std::function<void(int64_t, int64_t)>* body;
    void run(int64_t part, int64_t parts) const {
        const int64_t begin = count / parts * part + count % parts * part / parts;
        const int64_t next = part + 1;
        const int64_t end = count / parts * next + count % parts * next / parts;
        if (begin < end) (*body)(begin, end);
    }
};

// A forked child has the runtime's state and none of its threads, and GCC's runtime would wait for
// them for ever. The child starts threads of its own instead.
void leave_openmp() { openmp() = {}; }

// The runtime may give a smaller team than was asked for, so each member asks for its size.
void run_in_team(void* data) {
    static_cast<const Task*>(data)->run(openmp().thread_num(), openmp().num_threads());
}

}  // namespace

const char* use_loaded_openmp(const char* preferred) {
    OpenMP& runtime = openmp();
#if defined(__linux__)
    Search search{preferred, {}};
    dl_iterate_phdr(collect_openmp, &search);
    for (const std::string& path : search.found) {
        void* handle = dlopen(path.c_str(), RTLD_NOLOAD | RTLD_LAZY);
        if (!handle) continue;
        OpenMP candidate;
        candidate.parallel = reinterpret_cast<GompParallel>(dlsym(handle, "GOMP_parallel"));
        candidate.thread_num = reinterpret_cast<OmpGetInt>(dlsym(handle, "omp_get_thread_num"));
        candidate.num_threads = reinterpret_cast<OmpGetInt>(dlsym(handle, "omp_get_num_threads"));
        candidate.path = path;
        if (candidate.parallel && candidate.thread_num && candidate.num_threads) {
            runtime = candidate;
            static const int registered = pthread_atfork(nullptr, nullptr, leave_openmp);
            (void)registered;
            break;
        }
    }
#else
    (void)preferred;
#endif
    return runtime.path.c_str();
}

void parallel_ranges(int64_t count, int num_threads,
                     const std::function<void(int64_t, int64_t)>& body) {
    Task task{count, &body};
    if (num_threads <= 1) return task.run(0, 1);
    if (openmp().parallel) {
        openmp().parallel(run_in_team, &task, unsigned(num_threads), 0);
        return;
    }
    std::vector<std::thread> team;
    int part = 1;
    try {
        for (; part < num_threads; ++part) {
            team.emplace_back([&task, part, num_threads] { task.run(part, num_threads); });
        }
    } catch (const std::system_error&) {
        // No more threads to be had: this one does the rest.
    }
    task.run(0, num_threads);
    for (; part < num_threads; ++part) task.run(part, num_threads);
    for (std::thread& thread : team) thread.join();
}

}  // namespace ropescale
