// The one function of glibc 2.36 that libstdc++.a asks for (std::random_device): with it here, the library loads on
// glibc 2.34, which RHEL 9 and Ubuntu 22.04 have.
#include <sys/random.h>

#include <cstdint>
#include <cstdlib>

extern "C" std::uint32_t arc4random() { // NOLINT(misc-use-internal-linkage): libstdc++.a refers to it
  std::uint32_t value = 0;
  if (getrandom(&value, sizeof value, 0) != static_cast<ssize_t>(sizeof value)) std::abort();
  return value;
}
