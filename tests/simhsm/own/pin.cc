#include "tests/simhsm/own/pin.h"

#include <openssl/rand.h>

#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {

Bytes Pin::salted(View pin) const {
  Bytes input(salt_.begin(), salt_.end());
  input.insert(input.end(), pin.begin(), pin.end());
  return digest_of(digest(CKM_SHA256), input);
}

void Pin::check_length(View pin) { require(pin.size() >= kBytesMin && pin.size() <= kBytesMax, CKR_PIN_LEN_RANGE); }

void Pin::set(View pin) {
  RAND_bytes(salt_.data(), static_cast<int>(salt_.size()));
  digest_ = salted(pin);
  wrong_ = 0;
}

void Pin::forget() {
  digest_.clear();
  wrong_ = 0;
}

void Pin::check(View pin) {
  require(wrong_ < tries_, CKR_PIN_LOCKED);
  const Bytes given = salted(pin);
  if (given.size() != digest_.size() || CRYPTO_memcmp(given.data(), digest_.data(), given.size()) != 0) {
    ++wrong_;
    refuse(CKR_PIN_INCORRECT);
  }
  wrong_ = 0;
}

Pin::Doubt Pin::doubt() const {
  if (wrong_ >= tries_) return Doubt::kLocked;
  if (wrong_ + 1 == tries_) return Doubt::kFinalTry;
  return wrong_ > 0 ? Doubt::kCountLow : Doubt::kNone;
}

} // namespace hsmux::sim::own
