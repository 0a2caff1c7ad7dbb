// A folder with SoftHSM2 tokens of our own, their PINs, and a configuration for them: what `hsmux init-softhsm` makes.
// What was made is removed again unless keep() is called. Main thread; once per process, since SoftHSM reads its
// configuration only once.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "slots/module.h"

namespace hsmux {

// `given` (may be empty), else $SOFTHSM2_MODULE, else where the systems' packages put it. Errors: kModule.
Result<std::string> find_softhsm(const std::string& given);

class SofthsmFolder {
public:
  // A new folder of mode 0700, or one that is there and empty. Errors: kConflict (not empty), kInvalidArgument (a path
  // that SoftHSM's configuration cannot hold), kIo.
  static Result<std::unique_ptr<SofthsmFolder>> make(const std::string& path);
  // The same with a name of its own in $XDG_RUNTIME_DIR or /tmp.
  static Result<std::unique_ptr<SofthsmFolder>> make_temporary();
  ~SofthsmFolder();
  SofthsmFolder(const SofthsmFolder&) = delete;
  SofthsmFolder& operator=(const SofthsmFolder&) = delete;

  // Tokens hsmux-0, hsmux-1, ... with random PINs, and hsmux.toml. Errors: kModule, kIo, or what the module answered.
  Status fill(const std::string& module_path, std::size_t tokens);
  void keep() { keep_ = true; }

  [[nodiscard]] const std::string& path() const { return path_; } // absolute
  [[nodiscard]] std::string config_path() const { return path_ + "/hsmux.toml"; }
  [[nodiscard]] const std::vector<std::string>& slots() const { return slots_; }

private:
  SofthsmFolder(std::string path, bool made) : path_(std::move(path)), made_(made) {}

  Status make_token(const Module& module, const std::string& name);
  [[nodiscard]] std::string config_text(const std::string& module_path) const;

  std::string path_;
  bool made_; // the folder itself is ours to remove
  bool keep_ = false;
  std::vector<std::string> slots_;
};

} // namespace hsmux
