// The threads that carry submitted work out, and the watch over them. A worker goes where a lease went: it runs what
// was handed the session that it has just given back, so that under load nobody has to be woken. Threads are started
// when they are wanted and end when they were idle for a while; one that the module does not let go is left behind, and
// another one takes its place. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "engine/parker.h"
#include "slots/deadline.h"

namespace hsmux {

// Something that a worker does. Shared: it lives as long as a thread may touch it.
class Task : public std::enable_shared_from_this<Task> {
public:
  virtual ~Task() = default;
  virtual void run() = 0;

  // What follows is called on the watch and must not block.
  // Instead of run(), when `expires` passed while it waited for a thread, or the engine closed.
  virtual void expire() {}
  TimePoint expires = TimePoint::max();
  // `now` is past the limit of a watched call, whose thread waits in Workers::Watched::end() should it return just now.
  // The next limit, or nullopt: the thread is given up, what it does from now on concerns nobody, and go_on() is called
  // next, with no lock held. `closing`: the time of close() is over; nullopt is the only answer.
  virtual std::optional<TimePoint> late(TimePoint now, bool closing);
  virtual void go_on() {}

  Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

private:
  friend class Workers;
  std::shared_ptr<Task> next_; // in a lane's queue
};

// A completion as a task.
class Ending final : public Task {
public:
  explicit Ending(std::move_only_function<void()> what) : what_(std::move(what)) {}
  void run() override { std::exchange(what_, nullptr)(); }

private:
  std::move_only_function<void()> what_;
};

class Workers {
public:
  enum class Lane : std::uint8_t {
    kLeases,  // tasks that hold a lease: as many threads as sessions
    kErrands, // blocking requests: few
    kEndings, // completions that nobody else can run
  };
  static constexpr std::size_t kLanes = 3;
  // Threads given up for which others are started, per lane.
  static constexpr std::int32_t kStuckMax = 256;
  static constexpr Duration kIdleMax = std::chrono::seconds(10);
  // A task that waits so long for the thread that was to run it next gets another one: a completion takes long there.
  static constexpr Duration kPatience = std::chrono::milliseconds(5);

  // `threads_max`: by lane. `expire`: called on the watch now and then; when to call it again.
  Workers(std::array<std::uint32_t, kLanes> threads_max, std::function<TimePoint(TimePoint)> expire);
  ~Workers(); // after stop()

  // Runs it soon, on another thread or after what this one is doing.
  void run(std::shared_ptr<Task> task, Lane lane);
  // True: it waited for a thread, and will not run.
  bool withdraw(const std::shared_ptr<Task>& task, Lane lane);
  // Something is to be looked at by then.
  void watch(TimePoint at);

  // While one exists, tasks that this thread hands out are only collected: they go to their threads together.
  class Batch {
  public:
    explicit Batch(Workers& workers);
    ~Batch();
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

  private:
    friend class Workers;
    Workers& workers_;
    std::vector<std::shared_ptr<Task>> leases_;
    Batch* before_;
  };

  // Around a call that may last for ever, on a worker's thread. end() is false when the thread was given up meanwhile.
  class Watched {
  public:
    Watched(Workers& workers, Task& what, TimePoint limit);
    bool end();
    Watched(const Watched&) = delete;
    Watched& operator=(const Watched&) = delete;
  };

  // Expires what waits for a thread.
  void expire_waiting(Lane lane);
  // Everything that waits for a thread runs first. False when threads did not end by then: they are left behind, with
  // this object.
  bool stop(Deadline deadline);
  // Gives up every thread that is in a watched call, or enters one from now on.
  void give_up();

  struct Stats {
    std::uint32_t threads = 0, idle = 0, stuck = 0;
    std::size_t waiting = 0; // for a thread
  };
  [[nodiscard]] Stats stats() const;

private:
  struct Worker;
  struct Threads {            // of one lane
    mutable std::mutex mutex; // guards what follows
    std::condition_variable thread_ended;
    std::uint32_t threads_max = 0;
    std::list<std::shared_ptr<Worker>> workers; // running; stuck ones too
    std::vector<Worker*> idle;                  // the one that became so last is at the end
    std::vector<std::thread> ended;             // to be joined
    std::shared_ptr<Task> first;                // waits for a thread, as the rest of the list
    Task* last = nullptr;
    std::size_t waiting = 0;
    std::int32_t stuck = 0;
    TimePoint first_expires = TimePoint::max(); // may be too early
  };

  void work(Worker& self);
  std::shared_ptr<Task> next_task(Worker& self);
  void hand_out(std::span<std::shared_ptr<Task>> tasks, Lane lane);
  void start_thread(Threads& lane, Lane number);
  static bool may_start(const Threads& lane);
  TimePoint expire_until(Threads& lane, TimePoint now);
  static std::shared_ptr<Task> pop(Threads& lane);
  void watch_loop();
  TimePoint look(TimePoint now);
  TimePoint look_at_worker(Threads& lane, Worker& worker, TimePoint now, bool closing);

  static thread_local Worker* this_worker_;
  static thread_local Batch* this_batch_;

  std::array<Threads, kLanes> lanes_;
  const std::function<TimePoint(TimePoint)> expire_;
  std::atomic<bool> stopping_{false}, giving_up_{false};

  std::mutex watch_mutex_; // guards the start of watcher_
  std::thread watcher_;
  std::atomic<bool> watching_{false}, watch_ended_{false};
  std::atomic<Duration::rep> look_at_{0}; // when the watch looks next; since the clock's epoch
  Parker watch_parker_;
};

} // namespace hsmux
