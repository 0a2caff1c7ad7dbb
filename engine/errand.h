// A submitted request that is carried out as its blocking form on a thread of its own for that time: key management,
// and what the host does.
#pragma once

#include <functional>

#include "engine/engine_core.h"
#include "engine/workers.h"

namespace hsmux {

template <class T> class Errand final : public Task, public Cancellable {
public:
  using Work = std::move_only_function<Result<T>()>;

  // `undo`: called with a result for which nobody waits any more; may be empty.
  Errand(Engine::Core& core, Deadline deadline, Work work, Completion<T> done,
         std::move_only_function<void(const Result<T>&)> undo = {})
      : core_(core), deadline_(deadline), work_(std::move(work)), done_(std::move(done)), undo_(std::move(undo)) {
    expires = deadline.at();
  }

  void start() { core_.workers.run(shared_from_this(), Workers::Lane::kErrands); }

  bool cancel() override {
    if (core_.forked()) return false;
    if (!core_.workers.withdraw(shared_from_this(), Workers::Lane::kErrands)) return false;
    end(make_error(ErrorKind::kCancelled, "the request was cancelled before it started"));
    return true;
  }

  void run() override {
    const std::shared_ptr<Task> self = shared_from_this();
    // It ends by its own deadline, with a better error than ours; when it is much later, it hangs.
    Workers::Watched watched(core_.workers, *this, deadline_.later_by(kGrace));
    Result<T> result = work_();
    work_ = nullptr;
    if (watched.end()) return complete(std::move(result));
    if (undo_) undo_(result);
  }

  void expire() override {
    end(core_.closed() ? make_error(ErrorKind::kClosed, "the engine was closed while the request waited")
                       : make_error(ErrorKind::kTimeout, "the deadline passed while the request waited for a thread",
                                    Retry::kLater));
  }

  std::optional<TimePoint> late(TimePoint, bool closing) override {
    closing_ = closing;
    return std::nullopt;
  }

  void go_on() override {
    constexpr std::string_view kStuck = "the module has not returned from the request";
    end(closing_ ? make_error(ErrorKind::kClosed, "the engine was closed, and " + std::string(kStuck))
                 : make_error(ErrorKind::kTimeout, std::string(kStuck), Retry::kLater));
  }

private:
  static constexpr Duration kGrace = std::chrono::milliseconds(50);

  void complete(Result<T> result) {
    std::exchange(done_, nullptr)(std::move(result));
    core_.job_ended();
  }
  void end(Error error) {
    core_.workers.run(std::make_shared<Ending>([self = shared_from_this(), this, error = std::move(error)]() mutable {
                        complete(fail(std::move(error)));
                      }),
                      Workers::Lane::kEndings);
  }

  Engine::Core& core_;
  const Deadline deadline_;
  Work work_;
  Completion<T> done_;
  std::move_only_function<void(const Result<T>&)> undo_;
  bool closing_ = false;
};

} // namespace hsmux
