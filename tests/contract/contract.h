// What every module must do for the engine: an Engine over tokens behind the simhsm, which counts calls and brings
// failures about. SoftHSM2, or the module of HSMUX_TEST_MODULE; a test that needs more tokens than there are skips
// itself.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "mechanisms/key_template.h"
#include "slots/pkcs11.h"
#include "tests/simhsm/control.h"
#include "tests/token_folder.h"

namespace hsmux {

// The algorithm of a test that would do with any of its kind.
inline constexpr auto kEcdsa = Algorithm::kEcdsaP256Sha256;
inline constexpr auto kGcm = Algorithm::kAes256Gcm;
inline constexpr auto kOaep = Algorithm::kRsaOaepSha256;

// True as soon as the condition holds, false after ten seconds.
bool eventually(const std::function<bool()>& condition);
Bytes bytes(std::string_view text);
Bytes random_data(std::size_t size);

template <class T> Error error_of(const Result<T>& result) {
  if (result) {
    ADD_FAILURE() << "this should have failed";
    return {};
  }
  return result.error();
}
// Streams an error's text where an expectation of success is not met.
template <class T> std::string why(const Result<T>& result) { return result ? "" : result.error().text(); }

class Contract : public testing::Test {
protected:
  explicit Contract(std::size_t slots = 2) : slots_(slots) {}
  void SetUp() override;
  void TearDown() override;

  // What parse_config makes of the tokens; `extra` and `slot_extra` as TokenFolder::toml.
  [[nodiscard]] Config config(const std::string& extra = "", const std::string& slot_extra = "") const;
  // Engine::open as it is; the engine is not remembered.
  static Result<std::unique_ptr<Engine>> try_open(Config config, EngineOptions options = {});
  // engine_ over all tokens.
  void open(const std::string& extra = "", const std::string& slot_extra = "", EngineOptions options = {});
  Engine& engine() { return *engine_; }

  // The same new key in all slots; its id. Removed at the end of the test, like all keys made through these.
  std::string make_key(Algorithm algorithm, std::string_view label, std::uint32_t bits = 0);
  std::string make_key_in(std::size_t slot, Algorithm algorithm, std::string_view label);
  // A given key into one slot, under an id of the test's choice.
  void import_key(std::size_t slot, const AlgorithmSpec& spec, const SoftwareKey& key, const Bytes& id,
                  std::string_view label);
  // The tokens have this mechanism; where they do not, the test skips itself.
  [[nodiscard]] bool offered(CK_MECHANISM_TYPE type) const;
  // The module under test, as the engine has it loaded.
  [[nodiscard]] std::shared_ptr<Module> module() const;
  // A session of the test's own. The engine is open, so the token is logged in.
  [[nodiscard]] Session session(std::size_t slot) const;
  void remember(const Bytes& id) { made_.push_back(id); }

  [[nodiscard]] unsigned long slot_id(std::size_t slot) const { return tokens_->slot_id(slot); }
  [[nodiscard]] std::string slot_name(std::size_t slot) const { return "slot-" + std::to_string(slot); }
  SlotState state(std::size_t slot) { return engine().slots().at(slot).stats.state; }
  // The name of the recipe that a slot got; empty for none.
  std::string recipe(std::size_t slot, Algorithm algorithm);
  std::string recipe_reason(std::size_t slot, Algorithm algorithm);

  Result<Bytes> sign(KeyName key, const Bytes& message, RequestOptions options = {});
  Result<Bytes> encrypt(KeyName key, Algorithm algorithm, const Bytes& plaintext);
  Result<Bytes> decrypt(KeyName key, Algorithm algorithm, const Bytes& ciphertext);
  bool verifies(KeyName key, const Bytes& message, const Bytes& signature);

  // All that a refused request must leave as it was: keys of every slot, epochs, states, and sessions thrown away.
  std::string picture();

  std::size_t slots_;
  std::optional<TokenFolder> tokens_;
  std::optional<SimControl> sim_;
  std::unique_ptr<Engine> engine_;

private:
  void remove_keys();
  std::vector<Bytes> made_;
};

class ThreeSlots : public Contract {
protected:
  ThreeSlots() : Contract(3) {}
};

class FourSlots : public Contract {
protected:
  FourSlots() : Contract(4) {}
};

class OneSlot : public Contract {
protected:
  OneSlot() : Contract(1) {}
};

} // namespace hsmux
