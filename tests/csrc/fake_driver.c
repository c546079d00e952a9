/* A libcuda.so.1 whose version and whose result of cuInit come from the environment. CUDA's runtime
 * reports an old driver, or a driver without a device, from these two. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>

enum { kNotFound = 500 };

int cuDriverGetVersion(int* version) {
    *version = atoi(getenv("FAKE_DRIVER_VERSION"));
    return 0;
}

int cuInit(unsigned flags) {
    (void)flags;
    return atoi(getenv("FAKE_DRIVER_INIT"));
}

static int absent(void) { return kNotFound; }

int cuGetProcAddress_v2(const char* name, void** function, int version, unsigned long long flags,
                        int* status) {
    (void)version;
    (void)flags;
    void* self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    *function = dlsym(self, name);
    if (!*function) *function = (void*)absent;
    if (status) *status = 0;
    return 0;
}

/* CUDA's runtime finds this symbol by name, and finds all other functions through it. */
int cuGetProcAddress(const char* name, void** function, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(name, function, version, flags, 0);
}

int cuGetExportTable(const void** table, const void* id) {
    (void)table;
    (void)id;
    return kNotFound;
}
