#include "tools/capacity/raw.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "mechanisms/ecies.h"
#include "mechanisms/key_name.h"
#include "mechanisms/raw_operation.h"
#include "tools/program.h"

namespace hsmux::capacity {
namespace {

struct RawItem {
  const AlgorithmSpec* spec = nullptr;
  const RecipeSpec* recipe = nullptr;
  ObjectHandle key = 0;
  Bytes in;
};

// What the mechanism takes: a digest or DigestInfo in place of the message, the point of an ECIES ciphertext.
Result<Bytes> raw_input(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Bytes& input) {
  switch (recipe.id) {
  case RecipeId::kPkcs1HostDigest: {
    HSMUX_TRY(const auto info, sha256_digest_info(Bytes(32, 1)));
    return Bytes(info.begin(), info.end());
  }
  case RecipeId::kEcdsaHostDigest:
  case RecipeId::kPssHostDigest: return Bytes(spec.hash == Hash::kSha384 ? 48 : 32, 1);
  case RecipeId::kEciesHost: {
    HSMUX_TRY(const EciesView ecies, parse_ecies(input));
    return Bytes(ecies.point.begin(), ecies.point.end());
  }
  default: return input;
  }
}

Template template_of(const AlgorithmSpec& spec, const KeyInfo& key) {
  const ObjectClass object_class =
      key_family(spec.key) == KeyFamily::kAes ? ObjectClass::kSecretKey : ObjectClass::kPrivateKey;
  return key_template_by_id(object_class, from_hex(key.id).value_or(Bytes{}));
}

} // namespace

struct RawSlot::Caller {
  Session session;
  std::vector<RawItem> items;
  const Quirks* quirks = nullptr;
  MixPicker picker;
  Bytes out = Bytes(1 << 16);
  RawResult result = {};

  Result<std::size_t> once() {
    const RawItem& item = items[picker.next()];
    return run_raw(*item.spec, *item.recipe, *quirks, session, item.key, item.in, out);
  }
};

RawSlot::~RawSlot() = default;
std::uint32_t RawSlot::threads() const { return static_cast<std::uint32_t>(callers_.size()); }

Result<std::unique_ptr<RawSlot>> RawSlot::open(Engine& engine, const Config& config, std::size_t slot,
                                               const Workload& workload, std::uint32_t threads,
                                               std::uint32_t opens_per_second) {
  std::unique_ptr<RawSlot> raw(new RawSlot);
  raw->workload_ = &workload;
  const SlotConfig& configured = config.slots.at(slot);
  const auto module = std::ranges::find(config.modules, configured.module, &ModuleConfig::name);
  HSMUX_TRY(const std::shared_ptr<Module> loaded, load_module(*module, true));
  const std::vector<SlotReport> reports = engine.slots();
  const auto report = std::ranges::find(reports, configured.name, &SlotReport::name);
  if (report == reports.end()) return fail(ErrorKind::kUnavailable, "slot " + configured.name + " is not open");
  const auto name = std::make_shared<const std::string>(configured.name);
  std::vector<RawItem> items;
  for (std::uint32_t number = 0; number < threads; ++number) {
    if (Program::interrupted()) return fail(ErrorKind::kClosed, "interrupted");
    if (number > 0) std::this_thread::sleep_for(std::chrono::microseconds(1'000'000 / std::max(opens_per_second, 1U)));
    const TimePoint before = MonotonicClock::now();
    Result<Session> session = Session::open(loaded, report->token.slot_id, name, configured.read_write);
    if (!session && !raw->callers_.empty()) break; // the token has no more of them
    if (!session) return fail(std::move(session).error());
    raw->opened_.record((MonotonicClock::now() - before).count());
    for (std::size_t i = 0; number == 0 && i < workload.mix().entries.size(); ++i) {
      const AlgorithmSpec& spec = spec_of(workload.mix().entries[i].algorithm);
      const auto chosen = std::ranges::find(report->algorithms, spec.name, &AlgorithmOnSlot::algorithm);
      const auto recipe = chosen == report->algorithms.end()
                              ? spec.recipes.end()
                              : std::ranges::find(spec.recipes, chosen->recipe, &RecipeSpec::name);
      if (recipe == spec.recipes.end()) {
        return fail(ErrorKind::kUnsupported, fmt::format("slot {} does not carry out {}", configured.name, spec.name));
      }
      HSMUX_TRY(const KeyInfo key, engine.find_key(workload.key_of(i)));
      const Template wanted = template_of(spec, key);
      HSMUX_TRY(const auto found, session->find(wanted));
      if (found.size() != 1) return fail(ErrorKind::kKeyNotFound, "the key is not in slot " + configured.name);
      HSMUX_TRY(Bytes in, raw_input(spec, *recipe, workload.input_of(i)));
      items.push_back({.spec = &spec, .recipe = &*recipe, .key = found.front(), .in = std::move(in)});
      if (i == 0) raw->wanted_ = template_of(spec, key);
    }
    raw->callers_.push_back(std::make_unique<Caller>(Caller{.session = std::move(*session),
                                                            .items = items,
                                                            .quirks = &quirks_of(report->token, report->module_path),
                                                            .picker = MixPicker(workload.mix(), number + 1)}));
  }
  HSMUX_CHECK(raw->callers_.front()->once());
  return raw;
}

RawResult RawSlot::run(std::uint32_t threads, std::chrono::milliseconds warm_up, std::chrono::milliseconds time) {
  std::atomic<int> phase{0}; // 0 warm-up, 1 measured, 2 over
  const std::size_t count = std::min<std::size_t>(threads, callers_.size());
  {
    std::vector<std::jthread> running;
    for (std::size_t i = 0; i < count; ++i) {
      Caller& caller = *callers_[i];
      caller.result = {};
      running.emplace_back([&caller, &phase] {
        TimePoint start = MonotonicClock::now();
        while (phase.load(std::memory_order_relaxed) < 2) {
          const Result<std::size_t> done = caller.once();
          const TimePoint end = MonotonicClock::now();
          if (phase.load(std::memory_order_relaxed) == 1) {
            ++(done ? caller.result.operations : caller.result.errors);
            if (done) caller.result.latency.record((end - start).count());
            if (!done && caller.result.first_error.empty()) caller.result.first_error = done.error().text();
          }
          start = end;
        }
      });
    }
    const auto wait = [](std::chrono::milliseconds how_long) {
      const TimePoint end = MonotonicClock::now() + how_long;
      while (MonotonicClock::now() < end && !Program::interrupted()) {
        std::this_thread::sleep_until(std::min(end, MonotonicClock::now() + std::chrono::milliseconds(50)));
      }
    };
    wait(warm_up);
    phase = 1;
    const TimePoint start = MonotonicClock::now();
    wait(time);
    phase = 2;
    callers_.front()->result.seconds = std::chrono::duration<double>(MonotonicClock::now() - start).count();
  }
  RawResult all{.seconds = callers_.front()->result.seconds, .first_error = {}, .latency = {}};
  for (std::size_t i = 0; i < count; ++i) {
    const RawResult& one = callers_[i]->result;
    all.operations += one.operations;
    all.errors += one.errors;
    all.latency.add(one.latency);
    if (all.first_error.empty()) all.first_error = one.first_error;
  }
  return all;
}

Result<Histogram> RawSlot::round_trips(std::size_t count) {
  Histogram histogram;
  for (std::size_t i = 0; i < count && !Program::interrupted(); ++i) {
    const TimePoint start = MonotonicClock::now();
    HSMUX_CHECK(callers_.front()->session.state());
    histogram.record((MonotonicClock::now() - start).count());
  }
  return histogram;
}

Result<Histogram> RawSlot::finds(std::size_t count) {
  Histogram histogram;
  for (std::size_t i = 0; i < count && !Program::interrupted(); ++i) {
    const TimePoint start = MonotonicClock::now();
    HSMUX_CHECK(callers_.front()->session.find(wanted_));
    histogram.record((MonotonicClock::now() - start).count());
  }
  return histogram;
}

} // namespace hsmux::capacity
