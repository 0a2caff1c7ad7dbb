#include "tools/bench_loop.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <numeric>
#include <optional>
#include <random>
#include <thread>

#include "mechanisms/ecies.h"
#include "mechanisms/key_name.h"
#include "mechanisms/raw_operation.h"
#include "tools/latencies.h"

namespace hsmux {
namespace {

using std::chrono::nanoseconds;

constexpr std::size_t kPlainBytes = 1024; // of AES-GCM
constexpr std::size_t kSmallBytes = 32;   // a digest, and what RSA decrypts
constexpr std::size_t kLatenciesPerCaller = 100'000;

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double microseconds(nanoseconds time) { return static_cast<double>(time.count()) / 1000; }

} // namespace

struct BenchLoop::Caller {
  Bytes in, out;
  // Raw.
  std::optional<Session> session;
  ObjectHandle key = 0;
  const RecipeSpec* recipe = nullptr;
  const Quirks* quirks = nullptr;
};

struct BenchLoop::Measured {
  Latencies latencies{kLatenciesPerCaller}, own{kLatenciesPerCaller};
  double sum_us = 0;
  std::uint64_t operations = 0, errors = 0;
  std::string first_error;

  void add(const Error* error, nanoseconds latency) {
    if (error != nullptr) {
      if (errors++ == 0) first_error = error->text();
      return;
    }
    ++operations;
    latencies.add(latency);
    sum_us += microseconds(latency);
  }
};

// One request after the other, each submitted by the completion of the one before.
struct BenchLoop::Chain {
  const Caller* caller = nullptr;
  Measured* measured = nullptr;
  const std::atomic<bool>* stop = nullptr;
  std::atomic<std::size_t>* running = nullptr;
  TimePoint start{};
};

BenchLoop::~BenchLoop() = default;

Result<std::unique_ptr<BenchLoop>> BenchLoop::prepare(const BenchWork& work) {
  std::unique_ptr<BenchLoop> loop(new BenchLoop);
  loop->work_ = work;
  loop->spec_ = find_spec(work.algorithm);
  if (loop->spec_ == nullptr)
    return fail(ErrorKind::kInvalidArgument, fmt::format("no algorithm '{}'", work.algorithm));
  HSMUX_TRY(loop->config_, read_config(work.config_path));
  Config& config = loop->config_;
  if (!work.slot.empty()) {
    std::erase_if(config.slots, [&](const SlotConfig& slot) { return slot.name != work.slot; });
  }
  if (work.slots != 0 && work.slots < config.slots.size()) config.slots.resize(work.slots);
  for (SlotConfig& slot : config.slots) {
    if (work.sessions != 0) slot.sessions_min = slot.sessions_max = work.sessions;
    if (!work.copies.empty()) {
      slot.session_copies = work.copies == "off" ? SessionCopies::kOff : SessionCopies::kOn;
    }
  }
  for (ModuleConfig& module : config.modules) {
    if (!work.locks.empty()) module.locks = work.locks == "os" ? Locks::kOs : Locks::kEngine;
  }
  config.algorithms = {work.algorithm};
  HSMUX_TRY(loop->engine_, Engine::open(config, {.events = {},
                                                 .log = {},
                                                 .set_module_environment = true,
                                                 .slots_at_start_min = 0,
                                                 .connect_timeout = std::chrono::seconds(30)}));
  HSMUX_CHECK(loop->prepare_key());
  HSMUX_CHECK(loop->prepare_callers());
  return loop;
}

Status BenchLoop::prepare_key() {
  HSMUX_TRY(const bool there, engine_->exists(work_.key));
  if (there) return {};
  if (!work_.make_key) {
    return fail(ErrorKind::kKeyNotFound,
                fmt::format("no slot holds a key named '{0}'; make one: hsmux keys generate {0} --algorithm {1}",
                            work_.key, work_.algorithm));
  }
  HSMUX_CHECK(engine_->generate({.label = work_.key,
                                 .algorithm = spec_->algorithm,
                                 .bits = 0,
                                 .placement = PlacementConfig{.kind = Placement::kAll, .quorum = 0, .slots = {}},
                                 .software_key = config_.slots.size() > 1,
                                 .options = {}}));
  return {};
}

Status BenchLoop::prepare_callers() {
  for (std::uint32_t i = 0; i < work_.callers; ++i) {
    auto caller = std::make_unique<Caller>();
    caller->in.assign(spec_->encrypts && !spec_->signs && key_family(spec_->key) == KeyFamily::kAes ? kPlainBytes
                                                                                                    : kSmallBytes,
                      static_cast<std::uint8_t>(i));
    if (encrypts_on_host(*spec_)) {
      const Bytes plain(kSmallBytes, 7);
      HSMUX_TRY(caller->in,
                engine_->encrypt(
                    {.key = work_.key, .algorithm = spec_->algorithm, .plaintext = plain, .aad = {}, .options = {}}));
    }
    caller->out.resize(8192);
    if (work_.raw) HSMUX_CHECK(prepare_raw(*caller, i));
    if (work_.raw && spec_->agrees) { // the module gets the point only
      HSMUX_TRY(const EciesView ecies, parse_ecies(caller->in));
      caller->in = Bytes(ecies.point.begin(), ecies.point.end());
    }
    HSMUX_CHECK(once(*caller));
    callers_.push_back(std::move(caller));
  }
  return {};
}

Status BenchLoop::prepare_raw(Caller& caller, std::size_t number) {
  const std::size_t slot = number % config_.slots.size();
  const SlotConfig& configured = config_.slots[slot];
  const auto module = std::ranges::find(config_.modules, configured.module, &ModuleConfig::name);
  HSMUX_TRY(const std::shared_ptr<Module> loaded, load_module(*module, false));
  const SlotReport report = engine_->slots().at(slot);
  const auto chosen = std::ranges::find(report.algorithms, spec_->name, &AlgorithmOnSlot::algorithm);
  const auto recipe = chosen == report.algorithms.end()
                          ? spec_->recipes.end()
                          : std::ranges::find(spec_->recipes, chosen->recipe, &RecipeSpec::name);
  if (recipe == spec_->recipes.end()) {
    return fail(ErrorKind::kUnsupported, fmt::format("slot {} does not carry out {}", configured.name, spec_->name));
  }
  caller.recipe = &*recipe;
  caller.quirks = &quirks_of(report.token, report.module_path);
  HSMUX_TRY(Session session,
            Session::open(loaded, report.token.slot_id, std::make_shared<const std::string>(configured.name), true));
  HSMUX_TRY(const KeyInfo key, engine_->find_key(work_.key));
  const ObjectClass object_class =
      key_family(spec_->key) == KeyFamily::kAes ? ObjectClass::kSecretKey : ObjectClass::kPrivateKey;
  HSMUX_TRY(const auto found, session.find(key_template_by_id(object_class, from_hex(key.id).value_or(Bytes{}))));
  if (found.size() != 1) return fail(ErrorKind::kKeyNotFound, "the key is not in slot " + configured.name);
  caller.session.emplace(std::move(session));
  caller.key = found.front();
  return {};
}

Result<std::size_t> BenchLoop::once(Caller& caller) { return work_.raw ? by_module(caller) : by_engine(caller); }

Result<std::size_t> BenchLoop::by_engine(Caller& caller) {
  if (spec_->signs) {
    return engine_->sign({.key = work_.key,
                          .algorithm = spec_->algorithm,
                          .message = caller.in,
                          .prehashed = spec_->hash.has_value(),
                          .options = {}},
                         caller.out);
  }
  if (encrypts_on_host(*spec_)) {
    return engine_->decrypt({.key = work_.key,
                             .algorithm = spec_->algorithm,
                             .ciphertext = caller.in,
                             .aad = {},
                             .bound_to = std::nullopt,
                             .options = {}},
                            caller.out);
  }
  return engine_->encrypt(
      {.key = work_.key, .algorithm = spec_->algorithm, .plaintext = caller.in, .aad = {}, .options = {}}, caller.out);
}

Result<std::size_t> BenchLoop::by_module(Caller& caller) {
  return run_raw(*spec_, *caller.recipe, *caller.quirks, *caller.session, caller.key, caller.in, caller.out);
}

void BenchLoop::work(Caller& caller, const std::atomic<bool>& stop, Measured& measured) {
  TimePoint start = MonotonicClock::now();
  while (!stop.load(std::memory_order_relaxed)) {
    const Result<std::size_t> done = once(caller);
    const TimePoint end = MonotonicClock::now();
    measured.add(done ? nullptr : &done.error(), end - start);
    start = end;
  }
}

void BenchLoop::run_calls(std::chrono::milliseconds time, std::vector<Measured>& measured) {
  std::atomic<bool> stop{false};
  const TimePoint start = MonotonicClock::now();
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < callers_.size(); ++i) {
    threads.emplace_back([&, i] { work(*callers_[i], stop, measured[i]); });
  }
  std::this_thread::sleep_until(start + time);
  stop = true;
}

Result<Job> BenchLoop::submit(const Caller& caller, Completion<Bytes> done) {
  if (spec_->signs) {
    return engine_->submit(SignRequest{.key = work_.key,
                                       .algorithm = spec_->algorithm,
                                       .message = caller.in,
                                       .prehashed = spec_->hash.has_value(),
                                       .options = {}},
                           std::move(done));
  }
  if (key_family(spec_->key) == KeyFamily::kRsa) {
    return engine_->submit(DecryptRequest{.key = work_.key,
                                          .algorithm = spec_->algorithm,
                                          .ciphertext = caller.in,
                                          .aad = {},
                                          .bound_to = std::nullopt,
                                          .options = {}},
                           std::move(done));
  }
  return engine_->submit(
      EncryptRequest{.key = work_.key, .algorithm = spec_->algorithm, .plaintext = caller.in, .aad = {}, .options = {}},
      std::move(done));
}

void BenchLoop::go_on(Chain& chain) {
  chain.start = MonotonicClock::now();
  const Result<Job> job = submit(*chain.caller, [this, &chain](const Result<Bytes>& result) {
    chain.measured->add(result ? nullptr : &result.error(), MonotonicClock::now() - chain.start);
    if (!chain.stop->load(std::memory_order_relaxed)) return go_on(chain);
    if (chain.running->fetch_sub(1) == 1) chain.running->notify_all();
  });
  if (job) return;
  chain.measured->add(&job.error(), {});
  if (chain.running->fetch_sub(1) == 1) chain.running->notify_all();
}

void BenchLoop::run_submit(std::chrono::milliseconds time, std::vector<Measured>& measured) {
  std::atomic<bool> stop{false};
  std::atomic<std::size_t> running{callers_.size()};
  const TimePoint start = MonotonicClock::now();
  std::vector<Chain> chains(callers_.size());
  for (std::size_t i = 0; i < callers_.size(); ++i) {
    chains[i] = {.caller = callers_[i].get(), .measured = &measured[i], .stop = &stop, .running = &running};
    go_on(chains[i]);
  }
  std::this_thread::sleep_until(start + time);
  stop = true;
  for (std::size_t left = running; left != 0; left = running) running.wait(left);
}

// After the beginning.
std::vector<Duration> BenchLoop::arrivals(std::chrono::milliseconds time) const {
  std::mt19937_64 random{20'261'124};
  std::exponential_distribution<double> gap(work_.rate);
  std::vector<Duration> result;
  double at = gap(random);
  for (; at < std::chrono::duration<double>(time).count(); at += gap(random)) {
    result.push_back(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(at)));
  }
  return result;
}

void BenchLoop::run_poisson_calls(std::chrono::milliseconds time, std::vector<Measured>& measured) {
  const std::vector<Duration> all = arrivals(time);
  std::atomic<std::size_t> next{0};
  const TimePoint start = MonotonicClock::now();
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < callers_.size(); ++i) {
    threads.emplace_back([&, i] {
      prctl(PR_SET_TIMERSLACK, 1UL);
      for (std::size_t mine = next++; mine < all.size(); mine = next++) {
        const TimePoint intended = start + all[mine];
        std::this_thread::sleep_until(intended);
        const TimePoint called = MonotonicClock::now();
        const Result<std::size_t> done = once(*callers_[i]);
        const TimePoint now = MonotonicClock::now();
        measured[i].add(done ? nullptr : &done.error(), now - intended);
        measured[i].own.add(now - called);
      }
    });
  }
}

void BenchLoop::run_poisson_submit(std::chrono::milliseconds time, std::vector<Measured>& measured) {
  prctl(PR_SET_TIMERSLACK, 1UL);
  std::mutex mutex; // guards measured[0]
  std::atomic<std::size_t> running{1};
  const TimePoint start = MonotonicClock::now();
  for (const Duration at : arrivals(time)) {
    const TimePoint intended = start + at;
    std::this_thread::sleep_until(intended);
    ++running;
    const TimePoint submitted = MonotonicClock::now();
    const auto ended = [&, intended, submitted](const Result<Bytes>& result) {
      const TimePoint now = MonotonicClock::now();
      {
        const std::lock_guard lock(mutex);
        measured[0].add(result ? nullptr : &result.error(), now - intended);
        measured[0].own.add(now - submitted);
      }
      if (running.fetch_sub(1) == 1) running.notify_all();
    };
    if (const Result<Job> job = submit(*callers_.front(), ended); !job) ended(fail(job.error()));
  }
  --running;
  for (std::size_t left = running; left != 0; left = running) running.wait(left);
}

BenchRun BenchLoop::run(std::chrono::milliseconds time) {
  std::vector<Measured> measured(callers_.size());
  const double cpu_before = cpu_seconds();
  const TimePoint start = MonotonicClock::now();
  switch (work_.mode) {
  case BenchMode::kCalls: run_calls(time, measured); break;
  case BenchMode::kSubmit: run_submit(time, measured); break;
  case BenchMode::kPoissonCalls: run_poisson_calls(time, measured); break;
  case BenchMode::kPoissonSubmit: run_poisson_submit(time, measured); break;
  }
  BenchRun run{.seconds = std::chrono::duration<double>(MonotonicClock::now() - start).count(),
               .cpu_seconds = cpu_seconds() - cpu_before,
               .first_error = {}};
  std::vector<nanoseconds> latencies, own;
  double sum_us = 0;
  for (const Measured& each : measured) {
    run.operations += each.operations;
    run.errors += each.errors;
    sum_us += each.sum_us;
    if (run.first_error.empty()) run.first_error = each.first_error;
    latencies.insert(latencies.end(), each.latencies.kept().begin(), each.latencies.kept().end());
    own.insert(own.end(), each.own.kept().begin(), each.own.kept().end());
  }
  run.own_p50_us = microseconds(percentile(own, 0.5));
  run.mean_us = run.operations == 0 ? 0 : sum_us / static_cast<double>(run.operations);
  run.p50_us = microseconds(percentile(latencies, 0.5));
  run.p99_us = microseconds(percentile(latencies, 0.99));
  run.p999_us = microseconds(percentile(latencies, 0.999));
  return run;
}

} // namespace hsmux
