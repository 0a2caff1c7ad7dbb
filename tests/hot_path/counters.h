// What this thread has asked of the allocator and of pthread locks: operator new, malloc's family and
// pthread_mutex_lock of the whole program, modules included, are counted on their way through.
#pragma once

#include <cstdint>

namespace hsmux {

struct Counters {
  std::uint64_t allocations = 0, locks = 0;
};
Counters& counters_of_this_thread();

} // namespace hsmux
