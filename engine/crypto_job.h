// One submitted signature, decryption or encryption: waits in the router without a thread, runs on a worker once it has
// a session, goes on elsewhere when the module does not return in time, and ends exactly once. At every moment one
// place has it: the router's queue, a lane of the workers, the worker that runs it, or the watch.
#pragma once

#include <functional>
#include <string>

#include "engine/engine_core.h"
#include "engine/request_runner.h"
#include "engine/workers.h"

namespace hsmux {

inline Bytes copy_of(ByteView bytes) { return {bytes.begin(), bytes.end()}; }

// The request, with copies of all that the caller lent.
struct CryptoOrder {
  Operation operation{};
  Algorithm algorithm{};
  std::string key, slot;
  Bytes data, aad, bound_to;
  bool prehashed = false;
  Deadline deadline{TimePoint::max()};

  CryptoOrder(const SignRequest& request, Deadline until);
  CryptoOrder(const DecryptRequest& request, Deadline until);
  CryptoOrder(const EncryptRequest& request, Deadline until);
};

class CryptoJob final : public Task, public Cancellable, private Router::AsyncWaiter {
public:
  CryptoJob(Engine::Core& core, CryptoOrder order, Completion<Bytes> done);
  ~CryptoJob() override;

  // Checks what can be checked without waiting. After an error the job never was.
  Status prepare();
  // Begins, for submit(): the completion never runs inside. After an error it never runs at all.
  Status start();
  // Ends it by its completion, where start() failed and its submitter was not told.
  void refuse(Error error) { end(fail(std::move(error))); }
  // Tells the listener how it ended, where no completion does.
  void tell(const Error* error) const;
  bool cancel() override;

  void run() override;
  void expire() override;
  std::optional<TimePoint> late(TimePoint now, bool closing) override;
  void go_on() override;

private:
  enum class Verdict : std::uint8_t { kElsewhere, kTimedOut, kClosed };

  void served() override;
  void look_for_key();
  Status use_key(std::shared_ptr<const Key> key);
  void attempt();
  // Asks for a session; an error ends the job.
  std::optional<Error> proceed();
  void complete(Result<Bytes> result); // on a thread that may run the caller's code
  void end(Result<Bytes> result);      // on any other one

  Engine::Core& core_;
  CryptoOrder order_;
  Completion<Bytes> done_;
  Work work_;
  RequestRunner::Progress progress_{};
  std::shared_ptr<Task> waiting_; // this, while it is in the router's queue

  const TimePoint asked_at_ = MonotonicClock::now();
  // Of the attempt that runs.
  RoutedLease* lease_ = nullptr;
  TimePoint began_{};
  Duration limit_{};
  // Of all of them, for whoever asks in the completion.
  std::optional<std::size_t> slot_;
  Duration waited_{};
  // Of the one that was given up.
  Verdict verdict_{};
  std::optional<std::size_t> left_slot_;
  bool left_counts_ = false; // against that slot
};

} // namespace hsmux
