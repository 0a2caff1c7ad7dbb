#include "tests/simhsm/backend.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <filesystem>

#include "tests/simhsm/own/hsm.h"

namespace hsmux::sim {
namespace {

constexpr std::array kSoftHsm = {"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"};

std::string wrapped_path(const Settings& settings) {
  if (!settings.module.empty()) return settings.module;
  for (const char* path : kSoftHsm) {
    if (std::filesystem::exists(path)) return path;
  }
  return kSoftHsm.front();
}

const CK_FUNCTION_LIST* load(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "hsmux-simhsm: %s (HSMUX_SIM_MODULE or `module` names the module to wrap)\n", dlerror());
    return nullptr;
  }
  CK_FUNCTION_LIST* list = nullptr;
  auto* get_list = reinterpret_cast<CK_C_GetFunctionList>(dlsym(library, "C_GetFunctionList"));
  if (get_list == nullptr || get_list(&list) != CKR_OK) {
    std::fprintf(stderr, "hsmux-simhsm: %s is not a PKCS#11 module\n", path.c_str());
    return nullptr;
  }
  return list;
}

own::Settings own_settings(const Settings& settings) {
  own::Settings own;
  for (std::size_t i = 0; i < settings.tokens.size(); ++i) {
    const SimulatedToken& token = settings.tokens[i];
    own.tokens.push_back({.label = token.label,
                          .serial = fmt::format("sim{:013}", i),
                          .user_pin = token.user_pin,
                          .so_pin = token.so_pin});
  }
  own.spare_slot = settings.spare_slot;
  own.canned = settings.canned;
  own.makes_iv = settings.makes_iv;
  own.objects_max = settings.limits.objects_max;
  return own;
}

} // namespace

const CK_FUNCTION_LIST* open_backend(const Settings& settings) {
  if (!settings.own) return load(wrapped_path(settings));
  own::configure(own_settings(settings));
  return &own::functions();
}

void change_backend(const Settings& settings) {
  if (settings.own) own::configure(own_settings(settings));
}

void renumber_objects(const Settings& settings, CK_SLOT_ID slot) {
  if (settings.own) own::renumber_objects(slot);
}

} // namespace hsmux::sim
