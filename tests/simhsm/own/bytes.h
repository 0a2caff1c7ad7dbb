// Byte strings that are wiped when they are freed: any of them may be a key. Values; each belongs to whoever holds it.
#pragma once

#include <openssl/crypto.h>

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace hsmux::sim::own {

template <class T> struct WipingAllocator : std::allocator<T> {
  template <class U> struct rebind {
    using other = WipingAllocator<U>;
  };
  WipingAllocator() = default;
  template <class U> constexpr WipingAllocator(const WipingAllocator<U>&) noexcept {}
  void deallocate(T* memory, std::size_t count) {
    OPENSSL_cleanse(memory, count * sizeof(T));
    std::allocator<T>::deallocate(memory, count);
  }
};

using Bytes = std::vector<unsigned char, WipingAllocator<unsigned char>>;
using View = std::span<const unsigned char>;

inline Bytes copy_of(View view) { return {view.begin(), view.end()}; }

} // namespace hsmux::sim::own
