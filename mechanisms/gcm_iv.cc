#include "mechanisms/gcm_iv.h"

#include "mechanisms/host_crypto.h"
#include "slots/module.h"

namespace hsmux {
namespace {

static_assert(sizeof(std::array<IvBytes, 256>) == 256 * kIvBytes);

struct IvSupply {
  std::array<IvBytes, 256> ivs;
  std::size_t left = 0;
  unsigned long fork_generation = 0;
};

} // namespace

Result<IvBytes> fresh_gcm_iv() {
  thread_local IvSupply supply;
  // A child has a copy of what its parent has yet to use.
  if (supply.left == 0 || supply.fork_generation != fork_generation()) {
    watch_forks();
    supply.left = 0;
    HSMUX_CHECK(random_bytes({supply.ivs.front().data(), sizeof supply.ivs}));
    supply.left = supply.ivs.size();
    supply.fork_generation = fork_generation();
  }
  return supply.ivs.at(--supply.left);
}

} // namespace hsmux
