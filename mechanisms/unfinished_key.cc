#include "mechanisms/unfinished_key.h"

#include <algorithm>

#include "slots/key_handles.h"

namespace hsmux {
namespace {

constexpr std::string_view kMarkMagic = "hsmux-unfinished";
constexpr std::uint8_t kMarkVersion = 1;
constexpr std::size_t kHeaderBytes = kMarkMagic.size() + 1 + 8 + 4 + 8 + 8;

template <class Number> void put(Bytes& out, Number value) {
  for (int shift = 8 * (static_cast<int>(sizeof value) - 1); shift >= 0; shift -= 8) {
    out.push_back(static_cast<std::uint8_t>(static_cast<std::uint64_t>(value) >> shift));
  }
}

template <class Number> Number take(ByteView& in) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(Number); ++i) value = value << 8 | in[i];
  in = in.subspan(sizeof(Number));
  return static_cast<Number>(value);
}

} // namespace

bool is_unfinished_id(ByteView cka_id) {
  return cka_id.size() >= kMarkMagic.size() && std::equal(kMarkMagic.begin(), kMarkMagic.end(), cka_id.begin());
}

Bytes unfinished_id(const UnfinishedMark& mark) {
  Bytes out(kMarkMagic.begin(), kMarkMagic.end());
  out.push_back(kMarkVersion);
  put(out, mark.owner.host);
  put(out, mark.owner.process);
  put(out, mark.owner.started);
  put(out, static_cast<std::int64_t>(mark.expires.time_since_epoch().count()));
  out.insert(out.end(), mark.id.begin(), mark.id.end());
  return out;
}

std::optional<UnfinishedMark> parse_unfinished_id(ByteView cka_id) {
  if (!is_unfinished_id(cka_id) || cka_id.size() <= kHeaderBytes || cka_id.size() > kHeaderBytes + kKeyIdBytesMax ||
      cka_id[kMarkMagic.size()] != kMarkVersion) {
    return std::nullopt;
  }
  ByteView rest = cka_id.subspan(kMarkMagic.size() + 1);
  UnfinishedMark mark;
  mark.owner.host = take<std::uint64_t>(rest);
  mark.owner.process = take<std::uint32_t>(rest);
  mark.owner.started = take<std::uint64_t>(rest);
  mark.expires = std::chrono::sys_seconds(std::chrono::seconds(take<std::int64_t>(rest)));
  mark.id.assign(rest.begin(), rest.end());
  return mark;
}

Leftover judge_leftover(const LeftoverFacts& facts) {
  const bool abandoned = facts.expired || facts.owner == LeftoverFacts::Owner::kDead;
  if (!abandoned) return Leftover::kLeave;
  if (facts.finished_elsewhere) return facts.whole ? Leftover::kFinish : Leftover::kRemove;
  return facts.all_slots_asked ? Leftover::kRemove : Leftover::kLeave;
}

} // namespace hsmux
