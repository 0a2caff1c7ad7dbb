#include "engine/workers.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace hsmux {

struct Workers::Worker {
  Worker(const Workers& owner_, Lane lane_) : owner(owner_), lane(lane_) {}

  const Workers& owner; // a process may have several engines
  const Lane lane;
  Parker parker;
  std::thread thread;
  // After its watched call a worker takes on what comes up next, instead of waking somebody for it.
  bool takes_on = false; // this thread's only

  std::atomic<Duration::rep> look_at{TimePoint::max().time_since_epoch().count()}; // when the watch has work with it
  std::mutex mutex;                                                                // guards what follows
  std::shared_ptr<Task> next;                                                      // to run after the present one
  TimePoint next_since{};
  Task* watched = nullptr;
  TimePoint limit = TimePoint::max();
  bool given_up = false;

  void set_look_at(TimePoint at) { look_at.store(at.time_since_epoch().count()); }
};

std::optional<TimePoint> Task::late(TimePoint, bool closing) {
  return closing ? std::nullopt : std::optional(TimePoint::max());
}

thread_local Workers::Worker* Workers::this_worker_ = nullptr;
thread_local Workers::Batch* Workers::this_batch_ = nullptr;

Workers::Workers(std::array<std::uint32_t, kLanes> threads_max, std::function<TimePoint(TimePoint)> expire)
    : expire_(std::move(expire)) {
  for (std::size_t i = 0; i < kLanes; ++i) lanes_.at(i).threads_max = std::max(threads_max.at(i), 1U);
}

Workers::~Workers() = default;

// --- handing out ---

Workers::Batch::Batch(Workers& workers) : workers_(workers), before_(std::exchange(this_batch_, this)) {}

Workers::Batch::~Batch() {
  this_batch_ = before_;
  if (!leases_.empty()) workers_.hand_out(leases_, Lane::kLeases);
}

void Workers::run(std::shared_ptr<Task> task, Lane lane) {
  if (lane == Lane::kLeases) {
    if (this_batch_ != nullptr && &this_batch_->workers_ == this)
      return this_batch_->leases_.push_back(std::move(task));
    Worker* self = this_worker_;
    if (self != nullptr && &self->owner == this && self->lane == lane && self->takes_on) {
      const TimePoint now = MonotonicClock::now();
      std::unique_lock lock(self->mutex);
      if (self->next == nullptr && !self->given_up) {
        self->next = std::move(task);
        self->next_since = now;
        self->set_look_at(now + kPatience);
        lock.unlock();
        return watch(now + kPatience);
      }
    }
  }
  hand_out({&task, 1}, lane);
}

void Workers::hand_out(std::span<std::shared_ptr<Task>> tasks, Lane number) {
  Threads& lane = lanes_.at(static_cast<std::size_t>(number));
  std::vector<const Parker::Word*> to_wake;
  TimePoint expires = TimePoint::max();
  {
    const std::lock_guard lock(lane.mutex);
    for (std::shared_ptr<Task>& task : tasks) {
      if (!lane.idle.empty()) {
        Worker& worker = *lane.idle.back();
        lane.idle.pop_back();
        {
          const std::lock_guard worker_lock(worker.mutex);
          worker.next = std::move(task);
        }
        to_wake.push_back(worker.parker.set());
        continue;
      }
      expires = std::min(expires, task->expires);
      Task* last = task.get();
      (lane.first == nullptr ? lane.first : lane.last->next_) = std::move(task);
      lane.last = last;
      ++lane.waiting;
      if (may_start(lane)) start_thread(lane, number);
    }
    lane.first_expires = std::min(lane.first_expires, expires);
  }
  for (const Parker::Word* word : to_wake) Parker::wake(word);
  watch(expires);
}

// With the lane's mutex held, as the next two.
bool Workers::may_start(const Threads& lane) {
  const auto stuck = static_cast<std::size_t>(std::clamp(lane.stuck, 0, kStuckMax));
  return lane.workers.size() < lane.threads_max + stuck;
}

// Where the system has no thread left, those that there are do the work.
void Workers::start_thread(Threads& lane, Lane number) {
  for (std::thread& thread : std::exchange(lane.ended, {})) thread.join(); // which has nothing left to do
  const auto worker = std::make_shared<Worker>(*this, number);
  try {
    worker->thread = std::thread([this, worker] { work(*worker); });
  } catch (const std::system_error&) {
    return;
  }
  lane.workers.push_back(worker);
}

std::shared_ptr<Task> Workers::pop(Threads& lane) {
  std::shared_ptr<Task> task = std::move(lane.first);
  if (task == nullptr) return nullptr;
  lane.first = std::move(task->next_);
  if (lane.first == nullptr) lane.last = nullptr;
  --lane.waiting;
  return task;
}

bool Workers::withdraw(const std::shared_ptr<Task>& task, Lane number) {
  Threads& lane = lanes_.at(static_cast<std::size_t>(number));
  const std::lock_guard lock(lane.mutex);
  Task* before = nullptr;
  for (Task* each = lane.first.get(); each != nullptr; before = each, each = each->next_.get()) {
    if (each != task.get()) continue;
    std::shared_ptr<Task> rest = std::move(each->next_);
    (before == nullptr ? lane.first : before->next_) = std::move(rest);
    if (lane.last == each) lane.last = before;
    --lane.waiting;
    return true;
  }
  return false;
}

// --- a worker ---

std::shared_ptr<Task> Workers::next_task(Worker& self) {
  Threads& lane = lanes_.at(static_cast<std::size_t>(self.lane));
  while (true) {
    {
      const std::lock_guard lock(self.mutex);
      if (self.given_up) return nullptr; // another one has its place
      if (self.next != nullptr) return std::move(self.next);
    }
    {
      const std::lock_guard lock(lane.mutex);
      if (std::shared_ptr<Task> task = pop(lane)) return task;
      if (stopping_) return nullptr;
      lane.idle.push_back(&self);
    }
    const bool woken = self.parker.wait_until(MonotonicClock::now() + kIdleMax);
    {
      const std::lock_guard lock(self.mutex);
      if (self.next != nullptr) return std::move(self.next);
    }
    const std::lock_guard lock(lane.mutex);
    if (std::erase(lane.idle, &self) != 0 && !woken) return nullptr; // else somebody has just given it a task
  }
}

void Workers::work(Worker& self) {
  this_worker_ = &self;
  while (const std::shared_ptr<Task> task = next_task(self)) {
    task->run();
    self.takes_on = false;
  }
  this_worker_ = nullptr;
  Threads& lane = lanes_.at(static_cast<std::size_t>(self.lane));
  const std::lock_guard lock(lane.mutex);
  if (self.given_up) --lane.stuck; // it came back after all
  lane.ended.push_back(std::move(self.thread));
  std::erase_if(lane.workers, [&](const auto& each) { return each.get() == &self; });
  lane.thread_ended.notify_all();
}

Workers::Watched::Watched(Workers& workers, Task& what, TimePoint limit) {
  Worker& self = *this_worker_;
  {
    const std::lock_guard lock(self.mutex);
    if (workers.giving_up_) limit = TimePoint{}; // give_up() sets that before it looks at us
    self.watched = &what;
    self.limit = limit;
    self.set_look_at(limit);
  }
  workers.watch(limit);
}

bool Workers::Watched::end() {
  Worker& self = *this_worker_;
  const std::lock_guard lock(self.mutex);
  self.watched = nullptr;
  self.set_look_at(TimePoint::max());
  self.takes_on = !self.given_up;
  return !self.given_up;
}

// --- the watch ---

// Sequentially consistent on both sides: who wants a look writes it down and then reads look_at_; the watch writes
// look_at_ and then reads what was written down.
void Workers::watch(TimePoint at) {
  if (!watching_.load(std::memory_order_acquire)) [[unlikely]] {
    const std::lock_guard lock(watch_mutex_);
    if (!watching_) {
      try {
        watcher_ = std::thread([this] { watch_loop(); });
      } catch (const std::system_error&) {
        return; // no thread left in the system: whoever wants a look next tries again
      }
      watching_.store(true, std::memory_order_release);
    }
  }
  if (at.time_since_epoch().count() < look_at_.load()) Parker::wake(watch_parker_.set());
}

void Workers::watch_loop() {
  while (!watch_ended_) {
    look_at_ = TimePoint::max().time_since_epoch().count(); // whoever wants a look from here on wakes us
    const TimePoint next = look(MonotonicClock::now());
    look_at_ = next.time_since_epoch().count();
    watch_parker_.wait_until(next);
  }
}

TimePoint Workers::look(TimePoint now) {
  TimePoint next = expire_(now);
  for (Threads& lane : lanes_) {
    next = std::min(next, expire_until(lane, now));
    std::vector<std::shared_ptr<Worker>> due;
    {
      const std::lock_guard lock(lane.mutex);
      for (const std::shared_ptr<Worker>& worker : lane.workers) {
        const TimePoint at{Duration(worker->look_at.load())};
        if (at <= now) {
          due.push_back(worker);
        } else {
          next = std::min(next, at);
        }
      }
    }
    for (const std::shared_ptr<Worker>& worker : due)
      next = std::min(next, look_at_worker(lane, *worker, now, giving_up_));
  }
  return next;
}

void Workers::expire_waiting(Lane lane) { expire_until(lanes_.at(static_cast<std::size_t>(lane)), TimePoint::max()); }

TimePoint Workers::expire_until(Threads& lane, TimePoint now) {
  std::vector<std::shared_ptr<Task>> expired;
  TimePoint next = TimePoint::max();
  {
    const std::lock_guard lock(lane.mutex);
    if (now < lane.first_expires) return lane.first_expires;
    std::shared_ptr<Task>* link = &lane.first;
    lane.last = nullptr;
    while (*link != nullptr) {
      Task& task = **link;
      if (task.expires <= now) {
        std::shared_ptr<Task> rest = std::move(task.next_);
        expired.push_back(std::exchange(*link, std::move(rest)));
        --lane.waiting;
        continue;
      }
      next = std::min(next, task.expires);
      lane.last = &task;
      link = &task.next_;
    }
    lane.first_expires = next;
  }
  for (const std::shared_ptr<Task>& task : expired) task->expire();
  return next;
}

TimePoint Workers::look_at_worker(Threads& lane, Worker& worker, TimePoint now, bool closing) {
  std::shared_ptr<Task> to_move, given_up;
  TimePoint next = TimePoint::max();
  {
    const std::lock_guard lock(worker.mutex);
    if (worker.next != nullptr) {
      next = worker.next_since + kPatience;
      if (next <= now) {
        to_move = std::move(worker.next);
        next = TimePoint::max();
      }
    } else if (worker.watched != nullptr && (closing || worker.limit <= now)) {
      if (const std::optional<TimePoint> limit = worker.watched->late(now, closing)) {
        worker.limit = next = *limit;
      } else {
        given_up = worker.watched->shared_from_this();
        worker.watched = nullptr;
        worker.given_up = true;
      }
    } else if (worker.watched != nullptr) {
      next = worker.limit;
    }
    worker.set_look_at(next);
  }
  if (to_move != nullptr) hand_out({&to_move, 1}, worker.lane);
  if (given_up == nullptr) return next;
  {
    const std::lock_guard lock(lane.mutex);
    ++lane.stuck;
    if (lane.first != nullptr && may_start(lane)) start_thread(lane, worker.lane);
  }
  given_up->go_on();
  return next;
}

// --- the end ---

void Workers::give_up() {
  giving_up_ = true;
  const TimePoint now = MonotonicClock::now();
  for (Threads& lane : lanes_) {
    std::vector<std::shared_ptr<Worker>> all;
    {
      const std::lock_guard lock(lane.mutex);
      all.assign(lane.workers.begin(), lane.workers.end());
    }
    for (const std::shared_ptr<Worker>& worker : all) look_at_worker(lane, *worker, now, true);
  }
}

bool Workers::stop(Deadline deadline) {
  stopping_ = true;
  bool clean = true;
  for (Threads& lane : lanes_) {
    std::unique_lock lock(lane.mutex);
    for (Worker* worker : std::exchange(lane.idle, {})) Parker::wake(worker->parker.set());
    if (!lane.thread_ended.wait_until(lock, deadline.at(), [&] { return lane.workers.empty(); })) clean = false;
    std::vector<std::thread> ended = std::exchange(lane.ended, {});
    lock.unlock();
    for (std::thread& thread : ended) thread.join();
  }
  const std::lock_guard lock(watch_mutex_);
  if (clean && watcher_.joinable()) {
    watch_ended_ = true;
    Parker::wake(watch_parker_.set());
    watcher_.join();
  }
  return clean;
}

Workers::Stats Workers::stats() const {
  Stats stats;
  for (const Threads& lane : lanes_) {
    const std::lock_guard lock(lane.mutex);
    stats.threads += static_cast<std::uint32_t>(lane.workers.size());
    stats.idle += static_cast<std::uint32_t>(lane.idle.size());
    stats.stuck += static_cast<std::uint32_t>(std::max(lane.stuck, 0));
    stats.waiting += lane.waiting;
  }
  return stats;
}

} // namespace hsmux
