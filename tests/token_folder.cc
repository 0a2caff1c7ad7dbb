#include "tests/token_folder.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "tests/token_folder: %s\n", what.c_str());
  std::exit(1);
}

void check(CK_RV rv, const char* call) {
  if (rv != CKR_OK) give_up(fmt::format("{} answered {:#x}", call, rv));
}

void write_file(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()) || close(fd) != 0) {
    give_up(fmt::format("cannot write {}", path));
  }
}

std::string make_folder(const std::string& in, const std::string& name) {
  std::string path = fmt::format("{}/{}-XXXXXX", in, name);
  if (mkdtemp(path.data()) == nullptr) give_up(fmt::format("cannot make {}", path));
  return path;
}

std::string random_pin() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

std::string environment_value(const char* variable) {
  const char* value = std::getenv(variable);
  return value == nullptr ? "" : value;
}

std::vector<std::string> external_labels() {
  std::vector<std::string> labels;
  std::string rest = environment_value("HSMUX_TEST_TOKENS");
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    labels.push_back(rest.substr(0, comma));
    rest.erase(0, comma + 1);
  }
  return labels;
}

// The process's one folder, with its token directory.
class ProcessFolder {
public:
  static ProcessFolder& get() {
    static ProcessFolder instance;
    return instance;
  }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string conf_path() const { return path_ + "/softhsm2.conf"; }
  std::string next_label() { return fmt::format("hsmux-test-{}", tokens_++); }

private:
  ProcessFolder() : path_(make_folder(std::filesystem::temp_directory_path(), "hsmux-test")), owner_(getpid()) {
    if (TokenFolder::external()) return;
    std::filesystem::create_directory(path_ + "/tokens");
    std::filesystem::permissions(path_ + "/tokens", std::filesystem::perms::owner_all);
    write_file(conf_path(), fmt::format("directories.tokendir = {}/tokens\nobjectstore.backend = file\n"
                                        "log.level = ERROR\nslots.removable = false\n",
                                        path_));
    if (setenv("SOFTHSM2_CONF", conf_path().c_str(), 1) != 0) give_up("cannot set SOFTHSM2_CONF");
  }
  ~ProcessFolder() {
    // A fork()ed child (death tests) runs this, too: the folder is its parent's.
    std::error_code ignored;
    if (getpid() == owner_) std::filesystem::remove_all(path_, ignored);
  }

  std::string path_;
  pid_t owner_;
  unsigned tokens_ = 0;
};

const CK_FUNCTION_LIST& initialise(const std::string& module) {
  // Never unloaded: the test, or an engine in it, goes on with the same module.
  void* library = dlopen(module.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) give_up(fmt::format("{}; install softhsm2, or set HSMUX_TEST_MODULE", dlerror()));
  CK_FUNCTION_LIST* list = nullptr;
  auto* get_list = reinterpret_cast<CK_C_GetFunctionList>(dlsym(library, "C_GetFunctionList"));
  if (get_list == nullptr || get_list(&list) != CKR_OK) give_up(fmt::format("{} is not a PKCS#11 module", module));
  CK_C_INITIALIZE_ARGS args{};
  args.flags = CKF_OS_LOCKING_OK;
  const CK_RV rv = list->C_Initialize(&args);
  if (rv != CKR_CRYPTOKI_ALREADY_INITIALIZED) check(rv, "C_Initialize");
  return *list;
}

std::vector<CK_SLOT_ID> slots_with_token(const CK_FUNCTION_LIST& module) {
  // The size query is what makes SoftHSM add a new empty slot when the last one has been initialised.
  CK_ULONG count = 0;
  check(module.C_GetSlotList(CK_TRUE, nullptr, &count), "C_GetSlotList");
  std::vector<CK_SLOT_ID> slots(count);
  check(module.C_GetSlotList(CK_TRUE, slots.data(), &count), "C_GetSlotList");
  slots.resize(count);
  return slots;
}

template <typename Wanted> CK_SLOT_ID find_slot(const CK_FUNCTION_LIST& module, const char* what, Wanted wanted) {
  for (const CK_SLOT_ID slot : slots_with_token(module)) {
    CK_TOKEN_INFO info{};
    check(module.C_GetTokenInfo(slot, &info), "C_GetTokenInfo");
    if (wanted(info)) return slot;
  }
  give_up(fmt::format("no slot with {}", what));
}

// The label field is padded with blanks (PKCS#11 2.40, 3.2).
std::string padded(std::string label) {
  label.resize(sizeof(CK_TOKEN_INFO::label), ' ');
  return label;
}

CK_SLOT_ID find_token(const CK_FUNCTION_LIST& module, const std::string& label) {
  return find_slot(module, label.c_str(), [wanted = padded(label)](const CK_TOKEN_INFO& info) {
    return std::equal(wanted.begin(), wanted.end(), std::begin(info.label));
  });
}

// The SO's PIN.
std::string init_token(const CK_FUNCTION_LIST& module, const std::string& label, std::string pin) {
  const CK_SLOT_ID empty = find_slot(module, "a token that is not initialised", [](const CK_TOKEN_INFO& info) {
    return (info.flags & CKF_TOKEN_INITIALIZED) == 0;
  });
  std::string so_pin = random_pin(), label_field = padded(label);
  const auto bytes = [](std::string& text) { return reinterpret_cast<CK_UTF8CHAR*>(text.data()); };
  check(module.C_InitToken(empty, bytes(so_pin), so_pin.size(), bytes(label_field)), "C_InitToken");

  CK_SESSION_HANDLE session = 0;
  check(
      module.C_OpenSession(find_token(module, label), CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr, nullptr, &session),
      "C_OpenSession");
  check(module.C_Login(session, CKU_SO, bytes(so_pin), so_pin.size()), "C_Login of the SO");
  check(module.C_InitPIN(session, bytes(pin), pin.size()), "C_InitPIN");
  // The token's last session: closing it logs the SO out.
  check(module.C_CloseSession(session), "C_CloseSession");
  return so_pin;
}

} // namespace

std::string TokenFolder::default_module() {
  if (external()) return environment_value("HSMUX_TEST_MODULE");
  constexpr std::array kSoftHsm = {"/usr/lib/softhsm/libsofthsm2.so",
                                   "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"};
  for (const char* path : kSoftHsm) {
    if (std::filesystem::exists(path)) return path;
  }
  return kSoftHsm.front();
}

bool TokenFolder::external() { return !environment_value("HSMUX_TEST_MODULE").empty(); }

std::size_t TokenFolder::tokens_max() { return external() ? external_labels().size() : 64; }

std::string TokenFolder::conf_path() { return external() ? "" : ProcessFolder::get().conf_path(); }

TokenFolder::TokenFolder(std::size_t tokens, const std::string& module)
    : module_(module), folder_(make_folder(ProcessFolder::get().path(), "folder")) {
  if (tokens > tokens_max()) {
    give_up(fmt::format("the test needs {} tokens, HSMUX_TEST_TOKENS names {}", tokens, tokens_max()));
  }
  // A simhsm wraps the module under test.
  if (external()) setenv("HSMUX_SIM_MODULE", default_module().c_str(), 0);
  const CK_FUNCTION_LIST& functions = initialise(module_);
  const std::vector<std::string> labels = external_labels();
  for (std::size_t i = 0; i < tokens; ++i) {
    Token token;
    token.label = external() ? labels[i] : ProcessFolder::get().next_label();
    token.pin = external() ? environment_value("HSMUX_TEST_PIN") : random_pin();
    token.pin_file = fmt::format("{}/{}.pin", folder_, i);
    write_file(token.pin_file, token.pin + "\n");
    if (!external()) token.so_pin = init_token(functions, token.label, token.pin);
    token.slot_id = find_token(functions, token.label);
    tokens_.push_back(std::move(token));
  }
}

TokenFolder::~TokenFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string TokenFolder::toml(const std::string& extra, const std::string& slot_extra) const {
  std::string text = fmt::format("{}\n[module.test]\npath = '{}'\n", extra, module_);
  if (!external()) text += fmt::format("environment = {{ SOFTHSM2_CONF = '{}' }}\n", conf_path());
  for (std::size_t i = 0; i < size(); ++i) {
    text += fmt::format("\n[[slot]]\nname = \"slot-{}\"\nmodule = \"test\"\ntoken_label = '{}'\n"
                        "pin = {{ file = '{}' }}\n{}\n",
                        i, label(i), pin_file(i), slot_extra);
  }
  return text;
}

std::string TokenFolder::write_toml(const std::string& extra, const std::string& slot_extra) const {
  std::string path = folder_ + "/hsmux.toml";
  write_file(path, toml(extra, slot_extra));
  return path;
}

} // namespace hsmux
