#include "tests/simhsm/own/machine.h"

#include <mutex>

#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {

Machine& Machine::get() {
  // Never destroyed: threads may still be in it while the process ends.
  static Machine& machine = *std::make_unique<Machine>().release();
  return machine;
}

void Machine::configure(const Settings& settings) {
  const std::unique_lock lock(mutex_);
  policy_.canned = settings.canned;
  policy_.makes_iv = settings.makes_iv;
  policy_.objects_max = settings.objects_max;
  if (ever_initialised_) return;
  policy_.user_pin_tries = settings.user_pin_tries;
  policy_.so_pin_tries = settings.so_pin_tries;
  policy_.manufacturer = settings.manufacturer;
  policy_.model = settings.model;
  policy_.firmware = settings.firmware;
  spare_slot_ = settings.spare_slot;
  tokens_.clear();
  for (const TokenSettings& token : settings.tokens) tokens_.emplace_back(tokens_.size(), policy_, token);
  add_spare();
}

void Machine::initialise() {
  const std::unique_lock lock(mutex_);
  require(!initialised_, CKR_CRYPTOKI_ALREADY_INITIALIZED);
  ever_initialised_ = true;
  add_spare();
  initialised_ = true;
}

void Machine::finalise() {
  require(initialised_.exchange(false), CKR_CRYPTOKI_NOT_INITIALIZED);
  close_sessions(nullptr);
}

void Machine::add_spare() {
  if (spare_slot_ && (tokens_.empty() || tokens_.back().initialised())) tokens_.emplace_back(tokens_.size(), policy_);
}

std::vector<CK_SLOT_ID> Machine::slots(bool grow) {
  const std::unique_lock lock(mutex_);
  if (grow) add_spare();
  std::vector<CK_SLOT_ID> ids;
  for (const Token& token : tokens_) ids.push_back(token.slot());
  return ids;
}

Token& Machine::token(CK_SLOT_ID slot) {
  const std::shared_lock lock(mutex_);
  require(slot < tokens_.size(), CKR_SLOT_ID_INVALID);
  return tokens_[slot]; // a deque that only grows keeps its elements where they are
}

CK_SESSION_HANDLE Machine::open_session(Token& token, bool read_write) {
  const CK_SESSION_HANDLE handle = next_session_++;
  auto session = std::make_shared<Session>(handle, token, read_write);
  token.session_opened(read_write);
  Part& part = part_of(handle);
  const std::unique_lock lock(part.mutex);
  part.sessions.emplace(handle, std::move(session));
  return handle;
}

std::shared_ptr<Session> Machine::session(CK_SESSION_HANDLE handle) {
  Part& part = part_of(handle);
  const std::shared_lock lock(part.mutex);
  const auto at = part.sessions.find(handle);
  require(at != part.sessions.end(), CKR_SESSION_HANDLE_INVALID);
  return at->second;
}

void Machine::close_session(CK_SESSION_HANDLE handle) {
  Part& part = part_of(handle);
  std::shared_ptr<Session> session;
  {
    const std::unique_lock lock(part.mutex);
    const auto at = part.sessions.find(handle);
    require(at != part.sessions.end(), CKR_SESSION_HANDLE_INVALID);
    session = std::move(at->second);
    part.sessions.erase(at);
  }
  session->close();
}

void Machine::close_sessions(const Token* token) {
  for (Part& part : parts_) {
    std::vector<std::shared_ptr<Session>> closed;
    {
      const std::unique_lock lock(part.mutex);
      std::erase_if(part.sessions, [&](auto& entry) {
        const bool goes = token == nullptr || &entry.second->token() == token;
        if (goes) closed.push_back(std::move(entry.second));
        return goes;
      });
    }
    for (const auto& session : closed) session->close();
  }
}

} // namespace hsmux::sim::own
