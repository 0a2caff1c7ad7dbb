// The C entry points for who serves metrics: what to count, and where the configuration wants it served.
#include "engine/c_abi.h"

using namespace hsmux; // NOLINT(google-build-using-namespace): these functions are hsmux's own, outside of its
                       // namespace

extern "C" {

hsmux_status hsmux_get_metrics_settings(hsmux_engine* engine, hsmux_metrics_settings* settings, hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    if (settings == nullptr || settings->struct_size < sizeof(std::size_t)) return fail(c_abi::bad_struct());
    const std::optional<MetricsConfig>& given = target.config().metrics;
    const MetricsConfig wanted = given.value_or(MetricsConfig());
    hsmux_metrics_settings filled{};
    filled.struct_size = sizeof filled;
    filled.wanted = given ? 1 : 0;
    wanted.address.copy(static_cast<char*>(filled.address), sizeof filled.address - 1);
    filled.allow_remote = wanted.allow_remote ? 1 : 0;
    filled.page = wanted.page ? 1 : 0;
    filled.token_serial = wanted.token_serial ? 1 : 0;
    c_abi::give(filled, settings);
    return {};
  });
}

void hsmux_algorithms(hsmux_algorithm_visitor visit, void* context) {
  if (visit == nullptr) return;
  for (const AlgorithmSpec& spec : spec_table()) {
    const uint32_t operations = (spec.signs ? 1U << HSMUX_SIGN : 0U) | (spec.decrypts ? 1U << HSMUX_DECRYPT : 0U) |
                                (spec.encrypts && !encrypts_on_host(spec) ? 1U << HSMUX_ENCRYPT : 0U);
    visit(context, spec.name.data(), operations);
  }
}

} // extern "C"
