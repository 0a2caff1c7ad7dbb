// Tokens for tests: a TokenFolder owns a few freshly made SoftHSM2 tokens, their PINs in files, and a configuration for
// them. SoftHSM reads SOFTHSM2_CONF once per process, so all TokenFolders of a process share one token directory (made
// at first use, removed when the process ends); each owns tokens of its own, told apart by label. Make the first one
// before other threads run: it sets SOFTHSM2_CONF. One thread at a time.
//
// With HSMUX_TEST_MODULE set nothing is initialised: the tokens are those of HSMUX_TEST_TOKENS ("label1,label2"), their
// PIN is HSMUX_TEST_PIN.
//
// What goes wrong here is the machine's or the test's fault, and ends the process with a text.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace hsmux {

class TokenFolder {
public:
  // The module that the tests use: HSMUX_TEST_MODULE, else SoftHSM2.
  static std::string default_module();
  // True where tokens are somebody else's (HSMUX_TEST_MODULE): tests of SoftHSM's own ways skip themselves.
  static bool external();
  // How many tokens a test may ask for.
  static std::size_t tokens_max();

  // `module` may be the simhsm: the tokens are then made through it, so reset() its counts after. It keeps the module
  // initialised (C_Initialize may answer CKR_CRYPTOKI_ALREADY_INITIALIZED later), with no session open.
  explicit TokenFolder(std::size_t tokens, const std::string& module = default_module());
  ~TokenFolder(); // removes folder(); the tokens go when the process ends
  TokenFolder(const TokenFolder&) = delete;
  TokenFolder& operator=(const TokenFolder&) = delete;

  [[nodiscard]] std::size_t size() const { return tokens_.size(); }
  [[nodiscard]] const std::string& folder() const { return folder_; } // 0700, for the test's own files, too
  [[nodiscard]] const std::string& module_path() const { return module_; }
  [[nodiscard]] static std::string conf_path(); // softhsm2.conf; empty where external()

  [[nodiscard]] const std::string& label(std::size_t i) const { return tokens_.at(i).label; } // "hsmux-test-7"
  [[nodiscard]] const std::string& pin(std::size_t i) const { return tokens_.at(i).pin; }
  // Of the security officer; empty where external().
  [[nodiscard]] const std::string& so_pin(std::size_t i) const { return tokens_.at(i).so_pin; }
  [[nodiscard]] const std::string& pin_file(std::size_t i) const { return tokens_.at(i).pin_file; } // 0600
  [[nodiscard]] unsigned long slot_id(std::size_t i) const { return tokens_.at(i).slot_id; } // in this process only

  // A configuration (engine/config.h) of module "test" and slots "slot-0", "slot-1", ... `extra` stands at the top:
  // top-level keys first, then tables. `slot_extra` is added to every slot.
  [[nodiscard]] std::string toml(const std::string& extra = "", const std::string& slot_extra = "") const;
  // The same in folder()/hsmux.toml; its path.
  [[nodiscard]] std::string write_toml(const std::string& extra = "", const std::string& slot_extra = "") const;

private:
  struct Token {
    std::string label, pin, pin_file, so_pin;
    unsigned long slot_id = 0;
  };

  std::string module_, folder_;
  std::vector<Token> tokens_;
};

} // namespace hsmux
