// Signs and verifies through the installed C++ engine: in_cxx CONFIG KEY.
#include <hsmux/engine/engine.h>

#include <cstdio>

namespace {

hsmux::Status sign_and_verify(const char* config_path, const char* key) {
  HSMUX_TRY(hsmux::Config config, hsmux::read_config(config_path));
  HSMUX_TRY(const std::unique_ptr<hsmux::Engine> engine,
            hsmux::Engine::open(std::move(config), {.set_module_environment = true}));
  const hsmux::Bytes order{'a', 'n', ' ', 'o', 'r', 'd', 'e', 'r'};
  const hsmux::SignRequest sign{.key = key, .algorithm = hsmux::Algorithm::kEcdsaP256Sha256, .message = order};
  HSMUX_TRY(const hsmux::Bytes signature, engine->submit_for<hsmux::Bytes>(sign).result.get());
  HSMUX_CHECK(
      engine->verify({.key = sign.key, .algorithm = sign.algorithm, .message = sign.message, .signature = signature}));
  std::printf("%zu bytes of signature\n", signature.size());
  return {};
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const hsmux::Status done = sign_and_verify(argv[1], argv[2]);
  if (!done) std::fprintf(stderr, "%s\n", done.error().message.c_str());
  return done ? 0 : 1;
}
