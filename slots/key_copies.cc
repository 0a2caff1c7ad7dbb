#include "slots/key_copies.h"

#include <algorithm>
#include <array>
#include <utility>

#include "slots/disposition.h"
#include "slots/pkcs11.h"

namespace hsmux {
namespace {

struct Gaining {
  std::string_view manufacturer, model; // of CK_TOKEN_INFO, their beginnings
};
// SoftHSM 2.6.1 opens, locks and reads two files at each C_SignInit with a token key (about 19 system calls); an object
// of a session is in memory. Measured: P-256 1.4 times, AES-GCM 1 KiB 2.9 times the rate.
constexpr std::array kGaining{Gaining{"SoftHSM project", "SoftHSM v2"}};

constexpr std::string_view kMark = "hsmux-copy-";

bool ends_the_session(const Error& error) { return disposition(error.status()).session == SessionFate::kDiscard; }

// A copy of a sensitive key is sensitive, and of one that is not extractable not extractable; to set that again is
// refused by some tokens (SoftHSM 2.6.1: CKR_ATTRIBUTE_READ_ONLY).
Result<ObjectHandle> make_copy(Session& session, ObjectHandle key, ByteView id) {
  constexpr std::array<unsigned long, 2> kAsked{CKA_SENSITIVE, CKA_EXTRACTABLE};
  HSMUX_TRY(const auto values, session.attributes(key, kAsked));
  const auto is = [&](std::size_t i, std::uint8_t wanted) { return values[i] == Bytes{wanted}; };
  Bytes marked(kMark.begin(), kMark.end());
  marked.insert(marked.end(), id.begin(), id.end());
  Template copy;
  copy.flag(CKA_TOKEN, false).bytes(CKA_ID, marked).text(CKA_LABEL, "hsmux session copy");
  if (!is(0, CK_TRUE)) copy.flag(CKA_SENSITIVE, true);
  if (!is(1, CK_FALSE)) copy.flag(CKA_EXTRACTABLE, false);
  return session.copy(key, copy);
}

// A token whose key was deleted while it was copied may have made half a copy (SoftHSM 2.6.1 does): the copy is good
// when the key is still there and says the same of itself, and the copy keeps its secrets.
Result<bool> is_good(Session& session, ObjectHandle key, ObjectHandle copy) {
  constexpr std::array<unsigned long, 10> kAsked{CKA_TOKEN, CKA_SENSITIVE, CKA_EXTRACTABLE, CKA_CLASS,  CKA_KEY_TYPE,
                                                 CKA_SIGN,  CKA_DECRYPT,   CKA_ENCRYPT,     CKA_UNWRAP, CKA_DERIVE};
  constexpr std::size_t kAlike = 3; // from here on
  HSMUX_TRY(const auto of_copy, session.attributes(copy, kAsked));
  HSMUX_TRY(const auto of_key, session.attributes(key, kAsked));
  return of_copy[0] == Bytes{CK_FALSE} && of_copy[1] == Bytes{CK_TRUE} && of_copy[2] == Bytes{CK_FALSE} &&
         std::equal(of_copy.begin() + kAlike, of_copy.end(), of_key.begin() + kAlike, of_key.end());
}

} // namespace

bool is_copy_id(ByteView id) { return id.size() >= kMark.size() && std::equal(kMark.begin(), kMark.end(), id.begin()); }

bool gains_by_copies(const TokenIdentity& token) {
  return std::ranges::any_of(kGaining, [&](const Gaining& row) {
    return token.manufacturer.starts_with(row.manufacturer) && token.model.starts_with(row.model);
  });
}

void KeyCopies::want(std::uint64_t epoch, ObjectClass object_class, ByteView id, ObjectHandle handle) {
  const std::lock_guard lock(mutex_);
  to_make_.push_back({epoch, object_class, Bytes(id.begin(), id.end()), handle, 0});
}

void KeyCopies::drop(std::uint64_t epoch, ObjectHandle copy) {
  const std::lock_guard lock(mutex_);
  std::erase_if(made_, [&](const Copied& each) { return each.epoch == epoch && each.copy == copy; });
  if (epoch != std::exchange(epoch_, epoch)) to_destroy_.clear(); // gone with their session
  to_destroy_.push_back(copy);
}

bool KeyCopies::wanted() const {
  const std::lock_guard lock(mutex_);
  return !to_make_.empty() || !to_destroy_.empty();
}

std::uint32_t KeyCopies::count() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::uint32_t>(made_.size());
}

Status KeyCopies::carry_out(Session& anchor, std::uint64_t epoch) {
  std::vector<Copied> to_make;
  std::vector<ObjectHandle> to_destroy;
  {
    const std::lock_guard lock(mutex_);
    to_make.swap(to_make_);
    to_destroy.swap(to_destroy_);
    if (epoch_ != epoch) to_destroy.clear();
  }
  for (const ObjectHandle copy : to_destroy) {
    // Otherwise it ends with the anchor.
    if (const Status destroyed = anchor.destroy(copy); !destroyed && ends_the_session(destroyed.error()))
      return destroyed;
  }
  for (Copied& each : to_make) {
    if (each.epoch != epoch) continue;
    ++generation_;
    Result<ObjectHandle> copy = make_copy(anchor, each.key, each.id);
    ++generation_;
    if (!copy && ends_the_session(copy.error())) return fail(std::move(copy).error());
    if (!copy) continue; // the key itself serves
    each.copy = *copy;
    const Result<bool> good = is_good(anchor, each.key, *copy);
    if (!good && ends_the_session(good.error())) return fail(good.error());
    if (!good.value_or(false) || !handles_.store_copy(epoch, each.object_class, each.id, each.key, *copy)) {
      (void)anchor.destroy(*copy); // or the key was forgotten meanwhile
      continue;
    }
    const std::lock_guard lock(mutex_);
    made_.push_back(std::move(each));
  }
  return {};
}

Status KeyCopies::refresh(Session& anchor, std::uint64_t epoch) {
  std::vector<Copied> made;
  {
    const std::lock_guard lock(mutex_);
    made = made_;
  }
  for (const Copied& each : made) {
    HSMUX_TRY(const auto found, anchor.find(key_template_by_id(each.object_class, each.id)));
    if (found.size() == 1 && found.front() == each.key) continue;
    if (handles_.forget(each.object_class, each.id)) drop(epoch, each.copy);
  }
  return carry_out(anchor, epoch);
}

void KeyCopies::forget_all() {
  const std::lock_guard lock(mutex_);
  to_make_.clear();
  made_.clear();
  to_destroy_.clear();
}

} // namespace hsmux
