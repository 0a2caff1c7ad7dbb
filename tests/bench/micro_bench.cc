// Single steps of a request's way, on simhsm without any service time: what hsmux itself costs.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "engine/engine.h"
#include "engine/router.h"
#include "mechanisms/key_name.h"
#include "mechanisms/key_template.h"
#include "metrics/collector.h"
#include "slots/pkcs11.h"
#include "tests/token_folder.h"

namespace hsmux {
namespace {

constexpr CallStatus kFine{Call::kSign, CKR_OK};

template <class T> T take(Result<T> result) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "%s\n", result.error().text().c_str());
  std::exit(1);
}

// One slot of the simulator's own HSM, and over it an engine with a key.
struct Bench {
  Bench() {
    SlotOptions options;
    options.name = "hsm-a";
    options.selector.token_label = tokens.label(0);
    options.pin = PinFromValue{std::make_shared<const Pin>(*Pin::copy_of(tokens.pin(0)))};
    options.sessions_min = options.sessions_max = 16;
    engine = take(Engine::open(config));
    const auto module = take(Module::load({.name = config.modules.front().name,
                                           .path = config.modules.front().path,
                                           .environment = config.modules.front().environment,
                                           .init_args = {},
                                           .init_timeout = std::chrono::seconds(30),
                                           .set_environment = false}));
    slot = take(Slot::open(
        options, module, {}, [this] { router.capacity_freed(0); }, Deadline::after(std::chrono::seconds(30)), true));
    while (slot->stats().sessions.idle < 16) std::this_thread::yield();
    router.add(*slot, 16, 16);
    take(engine->generate({.label = "bench",
                           .algorithm = Algorithm::kEcdsaP256Sha256,
                           .bits = 0,
                           .placement = {},
                           .software_key = false,
                           .options = {}}));
  }

  TokenFolder tokens{1, HSMUX_TEST_SIMHSM};
  Config config = take(parse_config(tokens.toml(), "bench.toml", tokens.folder()));
  std::unique_ptr<Engine> engine;
  Router router;
  std::unique_ptr<Slot> slot;
};

Bench& bench() {
  static auto* const made = new Bench;
  return *made;
}

void acquire_and_release(benchmark::State& state) {
  Slot& slot = *bench().slot;
  for (auto _ : state) {
    std::optional<Lease> lease = slot.try_acquire();
    if (lease) slot.finish(std::move(*lease), kFine);
  }
}
BENCHMARK(acquire_and_release)->Threads(1)->Threads(2)->UseRealTime();

void route_and_finish(benchmark::State& state) {
  Router& router = bench().router;
  const Deadline deadline = Deadline::after(std::chrono::hours(1));
  for (auto _ : state) {
    Result<RoutedLease> lease = router.lease({.eligible = 1, .deadline = deadline, .work = 0});
    if (lease) router.finish(std::move(*lease), kFine, true);
  }
}
BENCHMARK(route_and_finish)->Threads(1)->Threads(2)->UseRealTime();

void find_a_known_key(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(bench().engine->exists("bench"));
}
BENCHMARK(find_a_known_key)->UseRealTime();

void sign(benchmark::State& state) {
  const std::array<std::uint8_t, 32> digest{};
  std::array<std::uint8_t, 128> out{};
  const SignRequest request{
      .key = "bench", .algorithm = Algorithm::kEcdsaP256Sha256, .message = digest, .prehashed = true, .options = {}};
  for (auto _ : state) {
    if (!bench().engine->sign(request, out)) state.SkipWithError("failed");
  }
}
BENCHMARK(sign)->Threads(1)->Threads(2)->UseRealTime();

// What metrics add to a signature: an attempt and a request are counted.
metrics::Collector& collector() {
  static metrics::Collector made([] {
    std::vector<metrics::OperationKind> kinds;
    for (const AlgorithmSpec& spec : spec_table()) {
      kinds.push_back({.operation = spec.signs ? "sign" : "decrypt", .algorithm = std::string(spec.name)});
    }
    return kinds;
  }());
  return made;
}

void count_a_signature(benchmark::State& state) {
  const Event attempt{.kind = EventKind::kOperation,
                      .slot = "hsm-a",
                      .algorithm = "ecdsa-p256-sha256",
                      .duration = std::chrono::microseconds(50),
                      .operation = "sign",
                      .waited = std::chrono::nanoseconds(200)};
  Event request = attempt;
  request.kind = EventKind::kRequest;
  for (auto _ : state) {
    collector().record(attempt);
    collector().record(request);
  }
}
BENCHMARK(count_a_signature)->Threads(1)->Threads(2)->UseRealTime();

// sign() again, of an engine whose events are counted: with the clock readings that they need.
void sign_and_count(benchmark::State& state) {
  static const std::unique_ptr<Engine> engine =
      take(Engine::open(bench().config, {.events = [](const Event& event) { collector().record(event); }, .log = {}}));
  const std::array<std::uint8_t, 32> digest{};
  std::array<std::uint8_t, 128> out{};
  const SignRequest request{
      .key = "bench", .algorithm = Algorithm::kEcdsaP256Sha256, .message = digest, .prehashed = true, .options = {}};
  for (auto _ : state) {
    if (!engine->sign(request, out)) state.SkipWithError("failed");
  }
}
BENCHMARK(sign_and_count)->Threads(1)->Threads(2)->UseRealTime();

// The same two calls by the module alone.
void sign_by_the_module_alone(benchmark::State& state) {
  const auto module = take(Module::load({.name = bench().config.modules.front().name,
                                         .path = bench().config.modules.front().path,
                                         .environment = bench().config.modules.front().environment,
                                         .init_args = {},
                                         .init_timeout = std::chrono::seconds(30),
                                         .set_environment = false}));
  Session session =
      take(Session::open(module, bench().slot->token().slot_id, std::make_shared<const std::string>("hsm-a"), true));
  const Bytes id = from_hex(take(bench().engine->find_key("bench")).id).value_or(Bytes{});
  const auto keys = take(session.find(key_template_by_id(ObjectClass::kPrivateKey, id)));
  const std::array<std::uint8_t, 32> digest{};
  std::array<std::uint8_t, 128> out{};
  for (auto _ : state) {
    if (!session.sign({.type = CKM_ECDSA}, keys.front(), digest, out)) state.SkipWithError("failed");
  }
}
BENCHMARK(sign_by_the_module_alone)->UseRealTime();

// From submit() to the start of the completion, one at a time: two threads are woken for each.
void submit_and_wait(benchmark::State& state) {
  const std::array<std::uint8_t, 32> digest{};
  const SignRequest request{
      .key = "bench", .algorithm = Algorithm::kEcdsaP256Sha256, .message = digest, .prehashed = true, .options = {}};
  std::atomic<int> done{0};
  for (auto _ : state) {
    const auto job = bench().engine->submit(request, [&](const Result<Bytes>&) {
      done = 1;
      done.notify_one();
    });
    if (!job) state.SkipWithError("refused");
    done.wait(0);
    done = 0;
  }
}
BENCHMARK(submit_and_wait)->UseRealTime();

// Each submitted by the completion of the one before.
struct Chain {
  std::atomic<std::int64_t> left{0};
  std::atomic<int> ended{0};

  void next() {
    static const std::array<std::uint8_t, 32> digest{};
    const SignRequest request{
        .key = "bench", .algorithm = Algorithm::kEcdsaP256Sha256, .message = digest, .prehashed = true, .options = {}};
    const auto job = bench().engine->submit(request, [this](const Result<Bytes>&) {
      if (--left > 0) return next();
      ended = 1;
      ended.notify_one();
    });
    if (!job) std::abort();
  }
};
void run_chain(std::int64_t length) {
  Chain chain;
  chain.left = length;
  chain.next();
  chain.ended.wait(0);
}
void submit_from_the_completion(benchmark::State& state) {
  while (state.KeepRunningBatch(10'000)) run_chain(10'000);
}
BENCHMARK(submit_from_the_completion)->UseRealTime();

double resident_kib() {
  std::ifstream statm("/proc/self/statm");
  double size = 0, resident = 0;
  statm >> size >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1024;
}

// What the process has grown by, after a warm-up of a hundredth.
void memory_of_ten_million_signatures(benchmark::State& state) {
  const std::array<std::uint8_t, 32> digest{};
  std::array<std::uint8_t, 128> out{};
  const SignRequest request{
      .key = "bench", .algorithm = Algorithm::kEcdsaP256Sha256, .message = digest, .prehashed = true, .options = {}};
  for (int i = 0; i < 100'000; ++i) (void)bench().engine->sign(request, out);
  const double before = resident_kib();
  for (auto _ : state) {
    if (!bench().engine->sign(request, out)) state.SkipWithError("failed");
  }
  state.counters["grown_KiB"] = resident_kib() - before;
}
BENCHMARK(memory_of_ten_million_signatures)->Iterations(10'000'000)->UseRealTime();

void memory_of_ten_million_submitted(benchmark::State& state) {
  run_chain(100'000);
  const double before = resident_kib();
  while (state.KeepRunningBatch(1'000'000)) run_chain(1'000'000);
  state.counters["grown_KiB"] = resident_kib() - before;
}
BENCHMARK(memory_of_ten_million_submitted)->Iterations(10'000'000)->UseRealTime();

} // namespace
} // namespace hsmux

int main(int argc, char** argv) {
  setenv("HSMUX_SIM_CONFIG", HSMUX_BENCH_SIM_CONFIG, 0);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
