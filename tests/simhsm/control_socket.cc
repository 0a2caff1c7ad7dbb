#include "tests/simhsm/control_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "tests/simhsm/simulator.h"

namespace hsmux::sim {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kRequestBytesMax = 1 << 20;
constexpr int kClientSilenceMs = 10'000;
constexpr int kClientsMax = 16;
constexpr std::uint64_t kTimeUsMax = 3'600'000'000; // an hour

// One per library. Never destroyed: end_control() comes after the destructors of static objects.
struct Listener {
  std::string path;
  pid_t owner = 0;
};
Listener& listener() {
  static auto* const only = new Listener;
  return *only;
}

Json good() { return {{"ok", true}}; }
Json bad(std::string error) { return {{"ok", false}, {"error", std::move(error)}}; }

// "slot": a label, an id, or nothing for every slot. None when it names no slot.
std::optional<std::vector<SimSlot*>> slots_of(const Json& request) {
  std::vector<SimSlot*> chosen;
  const Json slot = request.value("slot", Json());
  for (SimSlot* each : Simulator::get().slots()) {
    const bool by_id = slot.is_number_unsigned() && slot.get<CK_SLOT_ID>() == each->id;
    const bool by_label = slot.is_string() && slot.get<std::string>() == each->label_now();
    if (slot.is_null() || by_id || by_label) chosen.push_back(each);
  }
  if (chosen.empty() && !slot.is_null()) return std::nullopt;
  return chosen;
}

std::string all_slots() {
  std::string all;
  for (SimSlot* each : Simulator::get().slots()) {
    all += (all.empty() ? "" : ", ") + std::to_string(each->id) + " '" + each->label_now() + "'";
  }
  return all;
}

Json play_on_slots(const Json& request) {
  Fault fault;
  const std::optional<Action> action = action_named(request.value("action", ""));
  if (!action || !is_for_slot(*action)) {
    return bad("\"action\" must be remove-token, insert-token, lose-sessions, logout or pin-state");
  }
  fault.action = *action;
  const Json time = request.value("time_us", Json(0U));
  if (!time.is_number_unsigned() || time.get<std::uint64_t>() > kTimeUsMax) {
    return bad("\"time_us\" must be a whole number of microseconds, an hour at most");
  }
  fault.time = std::chrono::microseconds(time.get<std::uint64_t>());
  if (fault.action == Action::kPinState) {
    const std::optional<PinState> pin = pin_state_named(request.value("pin", ""));
    if (!pin) {
      return bad("\"pin\" must be true, count-low, final-try, locked, expired, not-initialised or to-be-changed");
    }
    fault.pin = *pin;
  }
  const auto slots = slots_of(request);
  if (!slots) return bad("no slot has this label or id; there are: " + all_slots());
  if (request.contains("slot_id")) {
    const Json& id = request.at("slot_id");
    if (fault.action != Action::kInsertToken || slots->size() != 1 || !id.is_number_unsigned() ||
        !Simulator::get().may_have_id(*slots->front(), id.get<CK_SLOT_ID>())) {
      return bad("\"slot_id\" is for insert-token, for one slot, and an id that no other slot has");
    }
    fault.slot_id = id.get<CK_SLOT_ID>();
  }
  for (SimSlot* slot : *slots) Simulator::get().play_now(fault, *slot);
  Json answer = good();
  answer["slots"] = slots->size();
  return answer;
}

Json carry_out(const Json& request) {
  Simulator& simulator = Simulator::get();
  const std::string command = request.value("command", "");
  if (command == "status") {
    simulator.play_due();
    Json answer = good();
    answer["status"] = Json::parse(simulator.statistics());
    return answer;
  }
  if (command == "apply") {
    if (const auto applied = simulator.apply(request.value("settings", "")); !applied) return bad(applied.error());
    return good();
  }
  if (command == "play") return play_on_slots(request);
  if (command == "clear-faults") {
    simulator.change_script([](Script& script) { script.clear(); });
    return good();
  }
  if (command == "release") return simulator.release(), good();
  if (command == "reset-counts") return simulator.reset_counts(), good();
  if (command == "reset") return simulator.reset(), good();
  return bad("unknown command; there are: status, apply, play, clear-faults, release, reset-counts, reset");
}

bool wait_for(int fd, short events) {
  pollfd waiting{.fd = fd, .events = events, .revents = 0};
  return poll(&waiting, 1, kClientSilenceMs) == 1;
}

bool send_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      text.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno != EAGAIN || !wait_for(fd, POLLOUT)) {
      return false;
    }
  }
  return true;
}

bool same_user(int client) {
  ucred peer{};
  socklen_t bytes = sizeof peer;
  return getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 && peer.uid == geteuid();
}

// Until the client goes, is silent for too long, or asks too much.
void serve_client(int client) {
  std::string pending;
  std::array<char, 16'384> chunk{};
  while (wait_for(client, POLLIN)) {
    const ssize_t got = recv(client, chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (got <= 0 || pending.size() + static_cast<std::size_t>(got) > kRequestBytesMax) return;
    pending.append(chunk.data(), static_cast<std::size_t>(got));
    for (std::size_t end = pending.find('\n'); end != std::string::npos; end = pending.find('\n')) {
      const std::string answer = answer_control(pending.substr(0, end)) + "\n";
      pending.erase(0, end + 1);
      if (!send_all(client, answer)) return;
    }
  }
}

// A slow client does not keep the others waiting.
[[noreturn]] void serve(int socket) {
  static std::atomic<int> clients{0};
  while (true) {
    const int client = accept4(socket, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) {
      poll(nullptr, 0, 100); // out of file descriptors, perhaps
    } else if (!same_user(client) || clients >= kClientsMax) {
      close(client);
    } else {
      ++clients;
      std::thread([client] {
        serve_client(client);
        close(client);
        --clients;
      }).detach();
    }
  }
}

// True when somebody listens at the address already.
bool answered(const sockaddr_un& address) {
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool is = connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  close(probe);
  return is;
}

// -1, with errno set, where that is not possible.
int listen_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  path.copy(static_cast<char*>(address.sun_path), path.size());
  if (answered(address)) {
    errno = EADDRINUSE;
    return -1;
  }
  // Left behind by a process that was killed. Only a socket is removed, never a file.
  struct stat status{};
  if (lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) unlink(path.c_str());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  // Nobody can connect before listen(): the mode is right by then.
  if (fd >= 0 && bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      chmod(path.c_str(), S_IRUSR | S_IWUSR) == 0 && listen(fd, 64) == 0) {
    return fd;
  }
  const int error = errno;
  if (fd >= 0) close(fd);
  errno = error;
  return -1;
}

} // namespace

std::string answer_control(const std::string& request) {
  const auto text = [](const Json& answer) { return answer.dump(-1, ' ', false, Json::error_handler_t::replace); };
  try {
    const Json parsed = Json::parse(request);
    if (!parsed.is_object()) return text(bad("a JSON object is wanted"));
    return text(carry_out(parsed));
  } catch (const Json::exception& error) {
    return text(bad(std::string("not understood: ") + error.what()));
  }
}

void serve_control(const std::string& path) {
  const int fd = listen_at(path);
  if (fd < 0) {
    std::fprintf(stderr, "hsmux-simhsm: no control socket at %s: %s\n", path.c_str(), std::strerror(errno));
    return;
  }
  listener() = {path, getpid()};
  // The program's signals are not for this thread.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  std::thread([fd] { serve(fd); }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void end_control() {
  if (!listener().path.empty() && listener().owner == getpid()) unlink(listener().path.c_str());
}

} // namespace hsmux::sim
