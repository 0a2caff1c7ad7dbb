#include "slots/login.h"

#include <fmt/format.h>

#include <map>
#include <memory>
#include <mutex>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

struct TokenMemory {
  std::mutex login;          // held during a login: single-flight
  bool latched = false;      // guarded by login
  bool unlatched = false;    // guarded by login: one try is allowed at COUNT_LOW
  std::uint32_t unclear = 0; // guarded by login: failures in a row that do not say whether the PIN was wrong
  unsigned long refused_with = 0;
  bool operator_asked = false; // guarded by login: for a PIN to be entered at the HSM
};

constexpr std::uint32_t kUnclearLoginsMax = 2;

// Unspecific and vendor codes: some modules answer them to a wrong PIN. A reported fault of the HSM is not among them.
bool unclear(unsigned long rv) {
  return disposition({Call::kLogin, rv}).slot == SlotFate::kFailure && rv != CKR_DEVICE_ERROR;
}

// Tokens of this process by identity, not by slot id or module path: those change, the counter of tries does not.
TokenMemory& memory_of(const TokenIdentity& token) {
  static auto* const mutex = new std::mutex;
  static auto* const tokens = new std::map<std::string, std::unique_ptr<TokenMemory>>;
  const std::string key = fmt::format("{}\n{}\n{}\n{}", token.manufacturer, token.model, token.serial, token.label);
  const std::lock_guard lock(*mutex);
  std::unique_ptr<TokenMemory>& memory = (*tokens)[key];
  if (!memory) memory = std::make_unique<TokenMemory>();
  return *memory;
}

std::string explain(LoginVerdict verdict, const TokenIdentity& token, unsigned long refused_with) {
  switch (verdict) {
  case LoginVerdict::kTry: return "";
  case LoginVerdict::kWithheldLatched:
    return fmt::format("no login is tried: this token answered {} before in this process, and tries are few; put the "
                       "PIN right, then start again or unlatch the slot",
                       rv_name(refused_with));
  case LoginVerdict::kWithheldLocked:
    return "the token's user PIN is locked; the security officer must reset it with the vendor's tool";
  case LoginVerdict::kWithheldFinalTry:
    return "no login is tried: one try is left before the token locks; log in once with the vendor's tool";
  case LoginVerdict::kWithheldCountLow:
    return "no login is tried: a wrong PIN was tried since the last login and the token counts; check the PIN, then "
           "set allow_pin_count_low = true for one start, or log in once with the vendor's tool";
  case LoginVerdict::kWithheldNotInitialised:
    return "the token's user PIN has not been set; set it with the vendor's tool";
  case LoginVerdict::kWithheldOperatorNeeded:
    return fmt::format(
        "token {} wants its PIN entered at the HSM (protected authentication path): set login_at_token = "
        "true, and have somebody there; after a login was lost, unlatch the slot when they are",
        token.label);
  }
  return "";
}

} // namespace

LoginVerdict may_login(unsigned long flags, bool latched, bool allow_count_low, bool operator_ready) {
  if ((flags & CKF_USER_PIN_LOCKED) != 0) return LoginVerdict::kWithheldLocked;
  if (latched) return LoginVerdict::kWithheldLatched;
  if ((flags & CKF_USER_PIN_INITIALIZED) == 0) return LoginVerdict::kWithheldNotInitialised;
  if ((flags & CKF_USER_PIN_FINAL_TRY) != 0) return LoginVerdict::kWithheldFinalTry;
  if ((flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0 && !operator_ready) return LoginVerdict::kWithheldOperatorNeeded;
  if ((flags & CKF_USER_PIN_COUNT_LOW) != 0 && !allow_count_low) return LoginVerdict::kWithheldCountLow;
  return LoginVerdict::kTry;
}

namespace {

// With memory.login held: what a login that failed means for the next ones. `origin`: of the PIN, for people.
void remember_failure(TokenMemory& memory, Error& error, const std::string& origin, const std::string& slot_name,
                      const EventSink& events) {
  memory.unclear = unclear(error.rv) ? memory.unclear + 1 : 0;
  const bool too_often = memory.unclear >= kUnclearLoginsMax;
  if (!too_often && disposition(error.status()).slot != SlotFate::kLatch) return;
  memory.latched = true;
  memory.refused_with = error.rv;
  if (too_often) {
    error.kind = ErrorKind::kCredentials;
    error.retry = Retry::kNever;
    error.message += fmt::format("; {} logins in a row failed so, which may be a wrong PIN: no further try is made "
                                 "until the slot is unlatched",
                                 memory.unclear);
    memory.unclear = 0;
  }
  error.message += fmt::format(" (PIN from {})", origin);
  if (events) {
    events({.kind = EventKind::kPinLatched, .slot = slot_name, .call = call_name(Call::kLogin), .rv = error.rv});
  }
}

std::unexpected<Error> withheld(LoginVerdict verdict, const TokenIdentity& token, const TokenMemory& memory,
                                const std::string& slot_name) {
  Error error = make_error(ErrorKind::kCredentials, explain(verdict, token, memory.refused_with));
  error.slot = slot_name;
  return fail(std::move(error));
}

Result<Pin> read_pin(PinSource& pin, const std::string& slot_name) {
  Result<Pin> secret = pin.read();
  if (!secret) secret.error().slot = slot_name;
  return secret;
}

} // namespace

Status login(Session& session, const TokenIdentity& token, PinSource* pin, const LoginOptions& options,
             const std::string& slot_name, const EventSink& events) {
  TokenMemory& memory = memory_of(token);
  const std::lock_guard lock(memory.login);

  // Another engine, or other code of this process, may have logged the token in: login is per token, not per session.
  HSMUX_TRY(const unsigned long state, session.state());
  if (logged_in(state)) return {};

  const bool at_the_token = options.at_the_token && (token.flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0;
  const bool operator_ready = at_the_token && (!memory.operator_asked || memory.unlatched);
  const LoginVerdict verdict =
      may_login(token.flags, memory.latched, options.allow_count_low || memory.unlatched, operator_ready);
  if (verdict != LoginVerdict::kTry) return withheld(verdict, token, memory, slot_name);
  if (!at_the_token && pin == nullptr) {
    Error error =
        make_error(ErrorKind::kCredentials,
                   fmt::format("token {} has no protected authentication path: say where the PIN is (pin), in "
                               "place of login_at_token",
                               token.label));
    error.slot = slot_name;
    return fail(std::move(error));
  }
  Result<Pin> secret = at_the_token ? Result<Pin>(Pin()) : read_pin(*pin, slot_name);
  if (!secret) return fail(std::move(secret).error());

  memory.operator_asked = memory.operator_asked || at_the_token;
  const TimePoint start = MonotonicClock::now();
  Status status = at_the_token ? session.login_at_the_token() : session.login(secret->view());
  const unsigned long rv = status ? 0 : status.error().rv;
  if (events)
    events({.kind = EventKind::kLogin,
            .slot = slot_name,
            .call = call_name(Call::kLogin),
            .rv = rv,
            .duration = MonotonicClock::now() - start});
  memory.unlatched = false;
  if (status) {
    memory.unclear = 0;
  } else {
    remember_failure(memory, status.error(), at_the_token ? "the HSM's own keypad" : pin->describe(), slot_name,
                     events);
  }
  return status;
}

Status login_for_operation(Session& session, const TokenIdentity& token, PinSource& pin, const LoginOptions& options,
                           const std::string& slot_name, const EventSink& events) {
  TokenMemory& memory = memory_of(token);
  const std::lock_guard lock(memory.login);
  // The flags are those of the last connection: to ask for them each time would double the calls.
  const LoginVerdict verdict = may_login(token.flags, memory.latched, options.allow_count_low || memory.unlatched);
  if (verdict != LoginVerdict::kTry) return withheld(verdict, token, memory, slot_name);
  Result<Pin> secret = read_pin(pin, slot_name);
  if (!secret) return fail(std::move(secret).error());
  Status status = session.login_for_operation(secret->view());
  if (status) {
    memory.unclear = 0;
  } else {
    remember_failure(memory, status.error(), pin.describe(), slot_name, events);
  }
  return status;
}

void unlatch(const TokenIdentity& token) {
  TokenMemory& memory = memory_of(token);
  const std::lock_guard lock(memory.login);
  memory.latched = false;
  memory.unlatched = true;
}

bool latched(const TokenIdentity& token) {
  TokenMemory& memory = memory_of(token);
  const std::lock_guard lock(memory.login);
  return memory.latched;
}

} // namespace hsmux
