// A buffer for plaintext and key material: wiped at its end, in OpenSSL's secure heap while there is room. Move-only;
// one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "slots/result.h"

namespace hsmux {

// Overwrites memory in a way that the compiler does not remove.
void wipe(std::span<std::uint8_t> bytes);

// Sets up OpenSSL's secure heap (256 KiB) unless the process already did. For code that lets OpenSSL make secrets
// before any SecureBytes exists; SecureBytes calls it itself.
void prepare_secure_heap();

class SecureBytes {
public:
  SecureBytes() = default;
  explicit SecureBytes(std::size_t size); // zeroed
  SecureBytes(SecureBytes&& other) noexcept;
  SecureBytes& operator=(SecureBytes&& other) noexcept;
  ~SecureBytes();

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] ByteView view() const { return {bytes_, size_}; }
  [[nodiscard]] std::span<std::uint8_t> span() { return {bytes_, size_}; }
  // `size` at most size(); the rest is wiped.
  void resize_down(std::size_t size);

private:
  std::uint8_t* bytes_ = nullptr;
  std::size_t size_ = 0, capacity_ = 0;
};

} // namespace hsmux
