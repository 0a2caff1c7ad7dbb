#include "mechanisms/secure_bytes.h"

#include <openssl/crypto.h>

#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

namespace hsmux {
namespace {

constexpr std::size_t kHeapBytes = 256UL << 10, kSmallestBlock = 16;

} // namespace

void prepare_secure_heap() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (CRYPTO_secure_malloc_initialized() == 0) CRYPTO_secure_malloc_init(kHeapBytes, kSmallestBlock);
  });
}

void wipe(std::span<std::uint8_t> bytes) { OPENSSL_cleanse(bytes.data(), bytes.size()); }

SecureBytes::SecureBytes(std::size_t size) : size_(size), capacity_(size) {
  if (size == 0) return;
  prepare_secure_heap();
  bytes_ = static_cast<std::uint8_t*>(OPENSSL_secure_zalloc(size));
  // A full secure heap is no reason to fail: the plain heap is wiped all the same.
  if (bytes_ == nullptr) bytes_ = static_cast<std::uint8_t*>(OPENSSL_zalloc(size));
  if (bytes_ == nullptr) throw std::bad_alloc();
}

SecureBytes::SecureBytes(SecureBytes&& other) noexcept
    : bytes_(std::exchange(other.bytes_, nullptr)), size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

SecureBytes& SecureBytes::operator=(SecureBytes&& other) noexcept {
  SecureBytes taken(std::move(other)); // so that the old content is wiped now and not with `other`
  std::swap(bytes_, taken.bytes_);
  std::swap(size_, taken.size_);
  std::swap(capacity_, taken.capacity_);
  return *this;
}

SecureBytes::~SecureBytes() {
  // Knows by the address which of the two heaps it came from.
  OPENSSL_secure_clear_free(bytes_, capacity_);
}

void SecureBytes::resize_down(std::size_t size) {
  if (size >= size_) return;
  wipe(span().subspan(size));
  size_ = size;
}

} // namespace hsmux
