// hsmux-simhsm-capacity: does the simulator have the capacity and the queue that its settings say? Raw loops of
// C_SignInit and C_Sign, one thread a session, against engines ÷ time and against first in, first out. A measurement,
// not a test: it needs an idle machine.
#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>
#include <thread>
#include <vector>

#include "slots/pkcs11.h"

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::duration;

struct Shape {
  std::size_t slots, engines;
  double service_ms;
  std::size_t callers_per_slot;

  [[nodiscard]] double per_second() const { return static_cast<double>(slots * engines) / service_ms * 1000; }
  // Of a call that waits for all those before it, first in, first out.
  [[nodiscard]] double latency_ms() const {
    return std::max(1., static_cast<double>(callers_per_slot) / static_cast<double>(engines)) * service_ms;
  }
};

constexpr std::array kShapes{
    Shape{1, 8, 1, 16}, Shape{2, 8, 1, 16}, Shape{3, 8, 1, 16}, Shape{4, 8, 1, 16},
    Shape{8, 8, 4, 16}, Shape{1, 8, 1, 64}, Shape{1, 1, 1, 4},
};

struct Measured {
  double per_second = 0, p50_ms = 0, p99_ms = 0, cpu_us = 0;
};

void check(CK_RV rv, const char* call) {
  if (rv == CKR_OK) return;
  fmt::print(stderr, "hsmux-simhsm-capacity: {} answered {:#x}\n", call, rv);
  std::exit(1);
}

// A folder of 0700 that goes with the object.
class Folder {
public:
  Folder() {
    std::string path = std::filesystem::temp_directory_path() / "hsmux-simhsm-XXXXXX";
    if (mkdtemp(path.data()) == nullptr) check(CKR_GENERAL_ERROR, "mkdtemp");
    path_ = path;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

private:
  std::string path_;
};

// The module, loaded from a copy of its own, so that each shape has other settings.
class Module {
public:
  Module(const std::string& library, const std::string& folder, const Shape& shape, std::size_t number) {
    const std::string config = fmt::format("{}/{}.toml", folder, number),
                      copy = fmt::format("{}/{}.so", folder, number);
    std::ofstream out(config);
    out << "mode = 'own'\nanswers = 'canned'\nspare_slot = false\n";
    for (std::size_t i = 0; i < shape.slots; ++i) out << fmt::format("[[token]]\nlabel = 'sim-{}'\n", i);
    out << fmt::format("[[hsm]]\nengines = {}\n[[time]]\nfunction = 'C_Sign'\nus = {}\n", shape.engines,
                       shape.service_ms * 1000);
    out.close();
    setenv("HSMUX_SIM_CONFIG", config.c_str(), 1);
    std::filesystem::copy_file(library, copy);
    void* loaded = dlopen(copy.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (loaded == nullptr) {
      fmt::print(stderr, "hsmux-simhsm-capacity: {}\n", dlerror());
      std::exit(1);
    }
    check(reinterpret_cast<CK_C_GetFunctionList>(dlsym(loaded, "C_GetFunctionList"))(&list_), "C_GetFunctionList");
    check(list_->C_Initialize(nullptr), "C_Initialize");
  }
  const CK_FUNCTION_LIST* operator->() const { return list_; }

private:
  CK_FUNCTION_LIST* list_ = nullptr;
};

CK_SESSION_HANDLE open(const Module& module, CK_SLOT_ID slot) {
  CK_SESSION_HANDLE session = 0;
  check(module->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr, nullptr, &session), "C_OpenSession");
  return session;
}

// A logged-in slot's private key; the session that made it stays open.
CK_OBJECT_HANDLE make_key(const Module& module, CK_SLOT_ID slot) {
  const CK_SESSION_HANDLE session = open(module, slot);
  std::array<CK_BYTE, 4> pin{'1', '2', '3', '4'};
  check(module->C_Login(session, CKU_USER, pin.data(), pin.size()), "C_Login");
  std::array<CK_BYTE, 10> p256{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
  CK_BBOOL yes = CK_TRUE;
  CK_ATTRIBUTE curve{CKA_EC_PARAMS, p256.data(), p256.size()}, sign{CKA_SIGN, &yes, sizeof yes};
  CK_MECHANISM mechanism{CKM_EC_KEY_PAIR_GEN, nullptr, 0};
  CK_OBJECT_HANDLE public_key = 0, private_key = 0;
  check(module->C_GenerateKeyPair(session, &mechanism, &curve, 1, &sign, 1, &public_key, &private_key),
        "C_GenerateKeyPair");
  return private_key;
}

double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

Measured measure(const Module& module, const Shape& shape, double seconds) {
  struct Caller {
    std::vector<double> latencies_ms;
    std::jthread thread;
  };
  std::atomic<int> phase{0}; // 0 warm-up, 1 measured, 2 over
  std::vector<Caller> callers(shape.slots * shape.callers_per_slot);
  std::vector<CK_OBJECT_HANDLE> keys;
  for (std::size_t slot = 0; slot < shape.slots; ++slot) keys.push_back(make_key(module, slot));
  for (std::size_t i = 0; i < callers.size(); ++i) {
    const std::size_t slot = i % shape.slots;
    callers[i].latencies_ms.reserve(1 << 16);
    callers[i].thread = std::jthread([&, slot, session = open(module, slot), &mine = callers[i].latencies_ms] {
      std::array<CK_BYTE, 32> digest{1};
      std::array<CK_BYTE, 64> signature{};
      while (phase < 2) {
        CK_MECHANISM mechanism{CKM_ECDSA, nullptr, 0};
        CK_ULONG bytes = signature.size();
        const auto start = Clock::now();
        check(module->C_SignInit(session, &mechanism, keys[slot]), "C_SignInit");
        check(module->C_Sign(session, digest.data(), digest.size(), signature.data(), &bytes), "C_Sign");
        if (phase == 1) mine.push_back(duration<double, std::milli>(Clock::now() - start).count());
      }
    });
  }
  std::this_thread::sleep_for(duration<double>(0.3 + 3 * shape.latency_ms() / 1000));
  const double cpu_before = cpu_seconds();
  const auto start = Clock::now();
  phase = 1;
  std::this_thread::sleep_for(duration<double>(seconds));
  phase = 2;
  const double took = duration<double>(Clock::now() - start).count();
  const double cpu = cpu_seconds() - cpu_before;
  std::vector<double> all;
  for (Caller& caller : callers) {
    caller.thread.join();
    all.insert(all.end(), caller.latencies_ms.begin(), caller.latencies_ms.end());
  }
  std::ranges::sort(all);
  const auto percentile = [&](double share) {
    return all.at(static_cast<std::size_t>(share * static_cast<double>(all.size() - 1)));
  };
  const auto calls = static_cast<double>(all.size());
  return {
      .per_second = calls / took, .p50_ms = percentile(0.5), .p99_ms = percentile(0.99), .cpu_us = cpu / calls * 1e6};
}

constexpr std::string_view kUsage =
    "usage: hsmux-simhsm-capacity MODULE [--seconds S] [--json]\n"
    "  MODULE       libhsmux-simhsm.so\n"
    "  --seconds S  for each shape (default 3)\n"
    "  --json       one line of JSON instead of the table\n"
    "Example: build/release/tests/simhsm/hsmux-simhsm-capacity build/release/tests/simhsm/libhsmux-simhsm.so\n";

} // namespace

int main(int argc, char** argv) {
  std::string library;
  double seconds = 3;
  bool json = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--json") {
      json = true;
    } else if (argument == "--seconds" && i + 1 < argc) {
      seconds = std::strtod(argv[++i], nullptr);
    } else if (argument.starts_with('-') || !library.empty()) {
      fmt::print(argument == "--help" ? stdout : stderr, "{}", kUsage);
      return argument == "--help" ? 0 : 2;
    } else {
      library = argument;
    }
  }
  if (library.empty() || !(seconds > 0 && seconds < 3600)) {
    fmt::print(stderr, "{}", kUsage);
    return 2;
  }
  const Folder folder;
  nlohmann::json rows = nlohmann::json::array();
  if (!json) {
    fmt::print("{:>5} {:>7} {:>7} {:>7} {:>9} {:>9} {:>6} {:>8} {:>8} {:>8} {:>6} {:>7}\n", "slots", "engines",
               "time ms", "callers", "says /s", "does /s", "ratio", "FIFO ms", "p50 ms", "p99 ms", "ratio", "CPU us");
  }
  for (std::size_t i = 0; i < kShapes.size(); ++i) {
    const Shape& shape = kShapes.at(i);
    const Module module(library, folder.path(), shape, i);
    const Measured measured = measure(module, shape, seconds);
    const double rate = measured.per_second / shape.per_second(), tail = measured.p99_ms / shape.latency_ms();
    const std::size_t callers = shape.slots * shape.callers_per_slot;
    if (json) {
      rows.push_back({{"slots", shape.slots},
                      {"engines", shape.engines},
                      {"service_ms", shape.service_ms},
                      {"callers", callers},
                      {"expected_per_second", shape.per_second()},
                      {"per_second", measured.per_second},
                      {"ratio", rate},
                      {"fifo_ms", shape.latency_ms()},
                      {"p50_ms", measured.p50_ms},
                      {"p99_ms", measured.p99_ms},
                      {"p99_ratio", tail},
                      {"cpu_us", measured.cpu_us}});
    } else {
      fmt::print("{:>5} {:>7} {:>7} {:>7} {:>9.0f} {:>9.0f} {:>6.3f} {:>8.2f} {:>8.2f} {:>8.2f} {:>6.3f} {:>7.1f}\n",
                 shape.slots, shape.engines, shape.service_ms, callers, shape.per_second(), measured.per_second, rate,
                 shape.latency_ms(), measured.p50_ms, measured.p99_ms, tail, measured.cpu_us);
      std::fflush(stdout);
    }
  }
  if (json) fmt::print("{}\n", rows.dump());
  return 0;
}
