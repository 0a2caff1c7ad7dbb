// What a key answered before, for an HSM that is set not to compute twice (Settings::canned). Owned by the object; any
// thread, finding takes no lock.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "slots/pkcs11.h"
#include "tests/simhsm/own/bytes.h"

namespace hsmux::sim::own {

class CannedAnswers {
public:
  // Of a one-shot operation (CKF_SIGN, CKF_ENCRYPT or CKF_DECRYPT).
  struct Question {
    CK_FLAGS operation;
    CK_MECHANISM_TYPE mechanism;
    std::size_t input_bytes;
    bool operator==(const Question&) const = default;
  };

  // nullptr: not asked before. Lives as long as this.
  [[nodiscard]] const Bytes* find(const Question& question) const {
    for (const Answer* each = first_.load(std::memory_order_acquire); each != nullptr; each = each->next) {
      if (each->question == question) return &each->bytes;
    }
    return nullptr;
  }

  void add(const Question& question, View answer) {
    const std::lock_guard lock(mutex_);
    if (answers_.size() >= kAnswersMax || find(question) != nullptr) return;
    answers_.push_back(std::make_unique<Answer>(question, copy_of(answer), first_.load(std::memory_order_relaxed)));
    first_.store(answers_.back().get(), std::memory_order_release);
  }

private:
  static constexpr std::size_t kAnswersMax = 64;
  struct Answer {
    Question question;
    Bytes bytes;
    const Answer* next;
  };

  std::atomic<const Answer*> first_{nullptr};
  std::mutex mutex_;
  std::vector<std::unique_ptr<const Answer>> answers_; // guarded by mutex_
};

} // namespace hsmux::sim::own
