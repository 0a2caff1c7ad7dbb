/* Signs and verifies through the installed C ABI: in_c CONFIG KEY. */
#include <hsmux/engine/hsmux.h>
#include <stdio.h>

int main(int argc, char** argv) {
  const uint8_t order[] = "an order";
  uint8_t signature[256];
  size_t bytes = sizeof signature;
  hsmux_engine* engine = NULL;
  hsmux_open_options options;
  hsmux_sign_request sign;
  hsmux_verify_request verify;
  hsmux_error error;
  if (argc != 3) return 2;
  HSMUX_INIT(&options);
  HSMUX_INIT(&sign);
  HSMUX_INIT(&verify);
  HSMUX_INIT(&error);
  options.config_path = argv[1];
  options.set_module_environment = 1;
  sign.key = verify.key = argv[2];
  sign.algorithm = verify.algorithm = "ecdsa-p256-sha256";
  sign.data = verify.data = order;
  sign.data_bytes = verify.data_bytes = sizeof order;
  verify.signature = signature;
  if (hsmux_open(&options, &engine, &error) != HSMUX_OK ||
      hsmux_sign(engine, &sign, signature, &bytes, &error) != HSMUX_OK ||
      (verify.signature_bytes = bytes, hsmux_verify(engine, &verify, &error)) != HSMUX_OK) {
    fprintf(stderr, "%s\n", error.message);
    hsmux_close(engine, 0);
    return 1;
  }
  printf("hsmux %s: %zu bytes of signature\n", hsmux_version(), bytes);
  return hsmux_close(engine, 0) == HSMUX_OK ? 0 : 1;
}
