#include "tools/softhsm_folder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "mechanisms/host_crypto.h"
#include "mechanisms/secure_bytes.h"
#include "slots/token_info.h"
#include "slots/token_setup.h"
#include "tools/file_io.h"
#include "tools/program.h"

namespace hsmux {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPathBytesMax = 800; // SoftHSM reads lines of 1 KiB

constexpr std::array kUsualPlaces{
    "/usr/lib/softhsm/libsofthsm2.so",                  // Debian, Ubuntu, Arch
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", // Debian, Ubuntu
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm.so", // Fedora, RHEL
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",    // from source; Homebrew on Intel
    "/opt/homebrew/lib/softhsm/libsofthsm2.so", // Homebrew on ARM
    "/opt/local/lib/softhsm/libsofthsm2.so",    // MacPorts
};

std::unexpected<Error> io_error(const std::string& path) {
  const int why = errno;
  return fail(ErrorKind::kIo, fmt::format("{} cannot be made: {}", path, std::strerror(why)));
}

// SoftHSM's configuration has no quoting: '#' starts a comment, '=' ends the name, blanks at the ends are cut.
Status check_path(const std::string& path) {
  const bool strange =
      std::ranges::any_of(path, [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '#' || c == '='; });
  if (!strange && path.size() <= kPathBytesMax && !path.ends_with(' ')) return {};
  return fail(
      ErrorKind::kInvalidArgument,
      fmt::format("the folder's path must have at most {} bytes, no control characters, no '#' and no '=', and no "
                  "blank at its end: SoftHSM's configuration cannot hold it",
                  kPathBytesMax));
}

// A basic string of TOML; the path has no control characters.
std::string toml_string(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

// 24 characters of an alphabet of 32: 120 bits, without characters that are easily taken for others.
Result<SecureBytes> random_pin() {
  constexpr std::string_view kAlphabet = "abcdefghijkmnpqrstuvwxyz23456789";
  static_assert(kAlphabet.size() == 32);
  SecureBytes pin(24);
  HSMUX_CHECK(random_bytes(pin.span()));
  for (std::uint8_t& c : pin.span()) c = static_cast<std::uint8_t>(kAlphabet[c % kAlphabet.size()]);
  return pin;
}

Result<Pin> write_random_pin(const std::string& path) {
  HSMUX_TRY(const SecureBytes bytes, random_pin());
  HSMUX_CHECK(write_new_file(path, bytes.view(), 0600));
  const ByteView view = bytes.view();
  return Pin::copy_of({reinterpret_cast<const char*>(view.data()), view.size()});
}

// SoftHSM shows one free slot more after each token that was made: the list is read anew.
Result<unsigned long> free_slot(const Module& module) {
  HSMUX_TRY(const std::vector<TokenIdentity> tokens, read_tokens(module));
  for (const TokenIdentity& token : tokens) {
    if (!initialised(token)) return token.slot_id;
  }
  return fail(ErrorKind::kDevice, "SoftHSM shows no free slot for a new token; is this module really SoftHSM2?");
}

} // namespace

Result<std::string> find_softhsm(const std::string& given) {
  if (!given.empty()) return given;
  if (const char* variable = std::getenv("SOFTHSM2_MODULE"); variable != nullptr && *variable != '\0') return variable;
  for (const char* path : kUsualPlaces) {
    if (access(path, R_OK) == 0) return path;
  }
  return fail(ErrorKind::kModule,
              fmt::format("SoftHSM2 is not installed at a usual place ({}): install it (Debian: apt "
                          "install softhsm2), or give --module PATH or SOFTHSM2_MODULE",
                          fmt::join(kUsualPlaces, ", ")));
}

Result<std::unique_ptr<SofthsmFolder>> SofthsmFolder::make(const std::string& path) {
  std::error_code error;
  std::string absolute = fs::absolute(path, error).lexically_normal().string();
  if (error || path.empty()) return fail(ErrorKind::kInvalidArgument, "DIR is not a path");
  if (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  HSMUX_CHECK(check_path(absolute));
  fs::create_directories(fs::path(absolute).parent_path(), error);
  const bool made = mkdir(absolute.c_str(), 0700) == 0;
  if (!made && errno != EEXIST) return io_error(absolute);
  if (!made) {
    const bool empty = fs::is_directory(absolute, error) && fs::is_empty(absolute, error);
    if (error || !empty) {
      return fail(ErrorKind::kConflict, fmt::format("{} exists already and is not an empty folder; it is left alone: "
                                                    "name another, or remove it",
                                                    absolute));
    }
    if (chmod(absolute.c_str(), 0700) != 0) return io_error(absolute);
  }
  return std::unique_ptr<SofthsmFolder>(new SofthsmFolder(std::move(absolute), made));
}

Result<std::unique_ptr<SofthsmFolder>> SofthsmFolder::make_temporary() {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  const bool usable = runtime != nullptr && *runtime == '/' && access(runtime, W_OK) == 0;
  std::string path = fmt::format("{}/hsmux-XXXXXX", usable ? runtime : "/tmp");
  HSMUX_CHECK(check_path(path));
  if (mkdtemp(path.data()) == nullptr) return io_error(path);
  return std::unique_ptr<SofthsmFolder>(new SofthsmFolder(std::move(path), true));
}

SofthsmFolder::~SofthsmFolder() {
  if (keep_) return;
  std::error_code ignored;
  for (const char* name : {"tokens", "pins", "softhsm2.conf", "hsmux.toml"}) {
    fs::remove_all(fs::path(path_) / name, ignored);
  }
  if (made_) fs::remove(path_, ignored); // not when somebody put something else into it
}

Status SofthsmFolder::fill(const std::string& module_path, std::size_t tokens) {
  for (const char* name : {"/tokens", "/pins"}) {
    if (mkdir((path_ + name).c_str(), 0700) != 0) return io_error(path_ + name);
  }
  const std::string conf = path_ + "/softhsm2.conf";
  HSMUX_CHECK(write_new_file(conf,
                             bytes_of(fmt::format("directories.tokendir = {}/tokens\nobjectstore.backend = file\n"
                                                  "log.level = ERROR\nslots.removable = false\n",
                                                  path_)),
                             0600));
  HSMUX_TRY(const std::shared_ptr<Module> module, Module::load({.name = "softhsm",
                                                                .path = module_path,
                                                                .environment = {{"SOFTHSM2_CONF", conf}},
                                                                .init_args = {},
                                                                .set_environment = true}));
  for (std::size_t i = 0; i < tokens; ++i) {
    if (Program::interrupted()) return fail(ErrorKind::kUnavailable, "interrupted");
    HSMUX_CHECK(make_token(*module, fmt::format("hsmux-{}", i)));
  }
  return write_new_file(config_path(), bytes_of(config_text(module->path())), 0600);
}

Status SofthsmFolder::make_token(const Module& module, const std::string& name) {
  HSMUX_TRY(const Pin user_pin, write_random_pin(fmt::format("{}/pins/{}.pin", path_, name)));
  HSMUX_TRY(const Pin so_pin, write_random_pin(fmt::format("{}/pins/{}.so-pin", path_, name)));
  HSMUX_TRY(const unsigned long slot_id, free_slot(module));
  HSMUX_CHECK(set_up_token(module, slot_id, name, so_pin, user_pin));
  slots_.push_back(name);
  return {};
}

std::string SofthsmFolder::config_text(const std::string& module_path) const {
  std::string text = fmt::format("# Made by hsmux init-softhsm: SoftHSM2 tokens for trying out and for tests.\n"
                                 "# What each key means: docs/configuration.md\n\n"
                                 "[module.softhsm]\n"
                                 "path = {}\n"
                                 "environment = {{ SOFTHSM2_CONF = {} }}\n\n",
                                 toml_string(module_path), toml_string(path_ + "/softhsm2.conf"));
  for (const std::string& slot : slots_) {
    text +=
        fmt::format("[[slot]]\nname = \"{0}\"\ntoken_label = \"{0}\"\npin = {{ file = \"pins/{0}.pin\" }}\n\n", slot);
  }
  return text + "[keys]\n"
                "placement = \"all\"\n"
                "# Development only, never with a real HSM: a key for several slots is made on this host and imported\n"
                "# into each, so it has been outside of an HSM.\n"
                "development_software_keys = true\n";
}

} // namespace hsmux
