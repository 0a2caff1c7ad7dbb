// A capacity run from the first connection to the document: what is measured in which order. Main thread.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tools/capacity/drill_actor.h"
#include "tools/capacity/goal.h"
#include "tools/capacity/limit.h"
#include "tools/capacity/load.h"
#include "tools/capacity/options.h"
#include "tools/capacity/pace.h"
#include "tools/capacity/progress.h"
#include "tools/capacity/raw.h"
#include "tools/capacity/result.h"
#include "tools/capacity/search.h"
#include "tools/metrics_service.h"
#include "tools/program.h"

namespace hsmux::capacity {

class Run {
public:
  Run(Program& program, Options options);
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  // Checks all that can be wrong before anything is connected. Errors: kInvalidArgument, kInvalidConfig, kConflict (a
  // file of that name exists).
  Status check();
  // Measures; what was measured so far is in document() also when this fails or is interrupted.
  Status measure();
  // Removes the keys that it made. Errors: those of the engine.
  Status clean_up();
  [[nodiscard]] const Json& document() const { return document_; }

private:
  enum class Fixed : std::uint8_t { kNo, kYes }; // the concurrency is as many as the sessions, not found by itself

  Status open(std::uint32_t sessions, Fixed fixed, const std::string& slot = {});
  void close();
  Status serve_metrics();
  void wait_for_sessions(std::uint32_t sessions);
  Status prepare();
  LoadPlan plan(const std::string& name) const;
  LoadPlan open_plan(const std::string& name, double rate) const;
  LoadPlan closed_plan(const std::string& name, std::uint32_t callers) const;
  Result<LoadResult> stage(const LoadPlan& plan, const std::function<bool()>& over = {});
  Status announce();

  void warn_of_late();

  Status measure_given();  // one rate, or so many callers
  Status measure_search(); // the capacity
  Status search_sessions(SessionsSearch& search);
  Status measure_rows(std::uint32_t threads);
  Status measure_single_slots(std::uint32_t sessions);
  Status search_rate(std::uint32_t sessions);
  Status repeat_saturated(std::uint32_t sessions);
  void conclude(const SessionsSearch& search, std::uint32_t sessions);
  [[nodiscard]] Status check_drills() const;
  Status measure_drills();
  Status measure_drill(Drill drill);
  [[nodiscard]] std::uint32_t saturating_callers(std::uint32_t sessions) const;
  [[nodiscard]] std::size_t slots_now() const;

  Program& program_;
  Options options_;
  Goal goal_;
  Config config_;
  Json document_;
  std::shared_ptr<SlotCounter> counter_;
  std::unique_ptr<LoadDisplay> display_;
  std::unique_ptr<Workload> workload_;
  Pace pace_;
  std::uint64_t stage_number_ = 0;
  struct Late {
    std::string name;
    std::int64_t p99_ns = 0;
  };
  std::vector<Late> late_; // stages in which this host was

  // One engine at a time; a Load outlives its engine.
  std::unique_ptr<Load> load_;
  std::unique_ptr<MetricsService> metrics_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<MetricsService::Serving> serving_;
  std::uint32_t sessions_ = 0; // of each slot
  std::string only_slot_;

  // Found so far.
  LimitInput limit_;
  std::pair<std::uint32_t, std::uint32_t> sessions_missing_{}; // open, of so many: where the search ran out of them
  double capacity_ = 0;
  std::vector<double> saturated_; // operations a second, of each repetition
  std::vector<double> series_;    // the same in short bins, one repetition after the other
};

} // namespace hsmux::capacity
