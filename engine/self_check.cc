#include "engine/self_check.h"

#include <random>

#include "mechanisms/recipe.h"

namespace hsmux {
namespace {

// Below `share`? For sampling only.
bool drawn(double share) {
  if (share <= 0) return false;
  if (share >= 1) return true;
  thread_local std::minstd_rand random{std::random_device{}()};
  return std::uniform_real_distribution<double>(0, 1)(random) < share;
}

} // namespace

bool SelfCheck::wanted(const Work& work, std::size_t slot, const KeyHandle& handle) const {
  if (work.operation != Operation::kSign || !work.key->spki) return false;
  return !handle.verified || distrusted_.at(slot).load(std::memory_order_relaxed) != 0 || drawn(share_);
}

Status SelfCheck::verify(const Work& work, std::size_t slot, ByteView signature) {
  std::atomic<std::uint32_t>& distrusted = distrusted_.at(slot);
  const Status right = verify_signature(*work.spec, *work.key->spki, work.has_message ? work.data : ByteView(),
                                        ByteView(work.digest).first(work.digest_bytes), signature);
  if (right) {
    std::uint32_t left = distrusted.load(std::memory_order_relaxed);
    if (left > 0) distrusted.compare_exchange_strong(left, left - 1);
    return {};
  }
  distrusted = kDistrusted;
  Error error = make_error(ErrorKind::kDevice,
                           "the signature that the slot made does not verify with the key's public half; it was not "
                           "released",
                           Retry::kElsewhere);
  error.call = Call::kSign;
  return fail(std::move(error));
}

} // namespace hsmux
