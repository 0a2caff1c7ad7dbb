#include "tools/bench_work.h"

#include <nlohmann/json.hpp>

namespace hsmux {

nlohmann::json to_json(const BenchWork& work) {
  return {{"config", work.config_path}, {"mode", work.mode},   {"rate", work.rate},           {"raw", work.raw},
          {"make_key", work.make_key},  {"key", work.key},     {"algorithm", work.algorithm}, {"callers", work.callers},
          {"slot", work.slot},          {"slots", work.slots}, {"sessions", work.sessions},   {"locks", work.locks},
          {"copies", work.copies}};
}

BenchWork bench_work_from(const nlohmann::json& json) {
  return {.config_path = json.at("config"),
          .mode = json.at("mode"),
          .rate = json.at("rate"),
          .raw = json.at("raw"),
          .key = json.at("key"),
          .algorithm = json.at("algorithm"),
          .make_key = json.at("make_key"),
          .callers = json.at("callers"),
          .slot = json.at("slot"),
          .slots = json.at("slots"),
          .sessions = json.at("sessions"),
          .locks = json.at("locks"),
          .copies = json.at("copies")};
}

nlohmann::json to_json(const BenchRun& run) {
  return {{"operations", run.operations},   {"errors", run.errors},   {"seconds", run.seconds},
          {"cpu_seconds", run.cpu_seconds}, {"mean_us", run.mean_us}, {"p50_us", run.p50_us},
          {"p99_us", run.p99_us},           {"p999_us", run.p999_us}, {"own_p50_us", run.own_p50_us},
          {"first_error", run.first_error}};
}

BenchRun bench_run_from(const nlohmann::json& json) {
  return {.operations = json.at("operations"),
          .errors = json.at("errors"),
          .seconds = json.at("seconds"),
          .cpu_seconds = json.at("cpu_seconds"),
          .mean_us = json.at("mean_us"),
          .p50_us = json.at("p50_us"),
          .p99_us = json.at("p99_us"),
          .p999_us = json.at("p999_us"),
          .own_p50_us = json.at("own_p50_us"),
          .first_error = json.at("first_error")};
}

} // namespace hsmux
