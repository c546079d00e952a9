// Round to nearest with denormals kept, whatever the caller's thread was set to.
#pragma once

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#else
#include <fenv.h>
#endif

namespace ropescale {

class FloatModeGuard {
  public:
#if defined(__x86_64__) || defined(__i386__)
    FloatModeGuard() : saved_(_mm_getcsr()) { _mm_setcsr(0x1f80); }  // the power-on value
    ~FloatModeGuard() { _mm_setcsr(saved_); }
#else
    FloatModeGuard() {
        fegetenv(&saved_);
        fesetenv(FE_DFL_ENV);
    }
    ~FloatModeGuard() { fesetenv(&saved_); }
#endif
    FloatModeGuard(const FloatModeGuard&) = delete;
    FloatModeGuard& operator=(const FloatModeGuard&) = delete;

  private:
#if defined(__x86_64__) || defined(__i386__)
    unsigned saved_;
#else
    fenv_t saved_;
#endif
};

}  // namespace ropescale
