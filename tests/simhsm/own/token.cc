#include "tests/simhsm/own/token.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>

#include "tests/simhsm/own/fixed_text.h"
#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {
namespace {

std::string random_serial() {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<unsigned char, 16> random{};
  RAND_bytes(random.data(), static_cast<int>(random.size()));
  std::string serial;
  for (const unsigned char each : random) serial += kDigits[each % kDigits.size()];
  return serial;
}

View view_of(std::string_view text) { return {reinterpret_cast<const unsigned char*>(text.data()), text.size()}; }

} // namespace

Token::Token(CK_SLOT_ID slot, const Policy& policy)
    : slot_(slot), policy_(policy), user_pin_(policy.user_pin_tries), so_pin_(policy.so_pin_tries) {}

Token::Token(CK_SLOT_ID slot, const Policy& policy, const TokenSettings& settings) : Token(slot, policy) {
  label_ = settings.label;
  serial_ = settings.serial.empty() ? random_serial() : settings.serial;
  so_pin_.set(view_of(settings.so_pin));
  user_pin_.set(view_of(settings.user_pin));
  initialised_ = true;
}

bool Token::initialised() const {
  const std::lock_guard lock(mutex_);
  return initialised_;
}

CK_SLOT_INFO Token::slot_info() const {
  CK_SLOT_INFO info{};
  fill(info.slotDescription, "hsmux simulated slot " + std::to_string(slot_));
  fill(info.manufacturerID, policy_.manufacturer);
  info.flags = CKF_TOKEN_PRESENT;
  info.hardwareVersion = {1, 0};
  info.firmwareVersion = policy_.firmware;
  return info;
}

CK_TOKEN_INFO Token::info() const {
  const std::lock_guard lock(mutex_);
  CK_TOKEN_INFO info{};
  fill(info.label, label_);
  fill(info.manufacturerID, policy_.manufacturer);
  fill(info.model, policy_.model);
  fill(info.serialNumber, serial_);
  fill(info.utcTime, "");
  info.flags = CKF_RNG | CKF_LOGIN_REQUIRED;
  const auto raise = [&](bool condition, CK_FLAGS flag) { info.flags |= condition ? flag : 0; };
  raise(initialised_, CKF_TOKEN_INITIALIZED);
  raise(user_pin_.is_set(), CKF_USER_PIN_INITIALIZED);
  raise(user_pin_.doubt() >= Pin::Doubt::kCountLow, CKF_USER_PIN_COUNT_LOW);
  raise(user_pin_.doubt() == Pin::Doubt::kFinalTry, CKF_USER_PIN_FINAL_TRY);
  raise(user_pin_.doubt() == Pin::Doubt::kLocked, CKF_USER_PIN_LOCKED);
  raise(so_pin_.doubt() >= Pin::Doubt::kCountLow, CKF_SO_PIN_COUNT_LOW);
  raise(so_pin_.doubt() == Pin::Doubt::kFinalTry, CKF_SO_PIN_FINAL_TRY);
  raise(so_pin_.doubt() == Pin::Doubt::kLocked, CKF_SO_PIN_LOCKED);
  info.ulMaxSessionCount = CK_EFFECTIVELY_INFINITE;
  info.ulSessionCount = sessions_;
  info.ulMaxRwSessionCount = CK_EFFECTIVELY_INFINITE;
  info.ulRwSessionCount = read_write_sessions_;
  info.ulMaxPinLen = Pin::kBytesMax;
  info.ulMinPinLen = Pin::kBytesMin;
  info.ulTotalPublicMemory = info.ulFreePublicMemory = kUnavailable;
  info.ulTotalPrivateMemory = info.ulFreePrivateMemory = kUnavailable;
  info.hardwareVersion = {1, 0};
  info.firmwareVersion = policy_.firmware;
  return info;
}

void Token::initialise(View so_pin, std::string_view label) {
  const std::lock_guard lock(mutex_);
  require(sessions_ == 0, CKR_SESSION_EXISTS);
  if (initialised_) {
    so_pin_.check(so_pin);
  } else {
    Pin::check_length(so_pin);
    so_pin_.set(so_pin);
  }
  objects_.clear();
  user_pin_.forget();
  if (serial_.empty()) serial_ = random_serial();
  label_ = label.substr(0, label.find_last_not_of(' ') + 1);
  initialised_ = true;
}

void Token::init_user_pin(View pin) {
  const std::lock_guard lock(mutex_);
  require(login_ == Login::kOfficer, CKR_USER_NOT_LOGGED_IN);
  Pin::check_length(pin);
  user_pin_.set(pin);
}

void Token::set_pin(bool read_write, View old_pin, View new_pin) {
  const std::lock_guard lock(mutex_);
  require(read_write, CKR_SESSION_READ_ONLY);
  Pin::check_length(new_pin);
  if (login_ == Login::kOfficer) {
    so_pin_.check(old_pin);
    return so_pin_.set(new_pin);
  }
  check_user_pin(old_pin);
  user_pin_.set(new_pin);
}

void Token::session_opened(bool read_write) {
  const std::lock_guard lock(mutex_);
  require(initialised_, CKR_TOKEN_NOT_RECOGNIZED);
  require(read_write || login_ != Login::kOfficer, CKR_SESSION_READ_WRITE_SO_EXISTS);
  ++sessions_;
  if (read_write) ++read_write_sessions_;
}

void Token::session_closed(bool read_write) {
  const std::lock_guard lock(mutex_);
  --sessions_;
  if (read_write) --read_write_sessions_;
  if (sessions_ == 0 && login_ != Login::kNobody) end_login();
}

void Token::log_in(CK_USER_TYPE user, View pin) {
  const std::lock_guard lock(mutex_);
  const Login wanted = user == CKU_SO ? Login::kOfficer : Login::kUser;
  require(login_ != wanted, CKR_USER_ALREADY_LOGGED_IN);
  require(login_ == Login::kNobody, CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
  if (wanted == Login::kOfficer) {
    require(sessions_ == read_write_sessions_, CKR_SESSION_READ_ONLY_EXISTS);
    so_pin_.check(pin);
    login_ = Login::kOfficer;
    return;
  }
  check_user_pin(pin);
  objects_.show_private();
  login_ = Login::kUser;
}

void Token::confirm(View pin) {
  const std::lock_guard lock(mutex_);
  require(login_ == Login::kUser, CKR_USER_NOT_LOGGED_IN);
  check_user_pin(pin);
}

void Token::log_out() {
  const std::lock_guard lock(mutex_);
  require(login_ != Login::kNobody, CKR_USER_NOT_LOGGED_IN);
  end_login();
}

void Token::check_user_pin(View pin) {
  require(user_pin_.is_set(), CKR_USER_PIN_NOT_INITIALIZED);
  user_pin_.check(pin);
}

void Token::end_login() {
  login_ = Login::kNobody;
  ++logouts_;
  objects_.hide_private();
}

} // namespace hsmux::sim::own
