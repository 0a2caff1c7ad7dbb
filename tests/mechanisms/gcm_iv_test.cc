#include "mechanisms/gcm_iv.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

namespace hsmux {
namespace {

TEST(GcmIvs, AreNeverTheSameTwice) {
  std::set<IvBytes> seen;
  for (int i = 0; i < 10'000; ++i) {
    const Result<IvBytes> iv = fresh_gcm_iv();
    ASSERT_TRUE(iv.has_value());
    EXPECT_TRUE(seen.insert(*iv).second);
  }
}

TEST(GcmIvs, OfAForkedChildAreNotItsParents) {
  ASSERT_TRUE(fresh_gcm_iv().has_value()); // the supply is there, and copied by fork()
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  const pid_t child = fork();
  if (child == 0) {
    const Result<IvBytes> iv = fresh_gcm_iv();
    const bool told = iv && write(ends[1], iv->data(), iv->size()) == static_cast<ssize_t>(iv->size());
    _exit(told ? 0 : 1);
  }
  IvBytes of_child{};
  EXPECT_EQ(read(ends[0], of_child.data(), of_child.size()), static_cast<ssize_t>(of_child.size()));
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_NE(fresh_gcm_iv().value(), of_child);
  close(ends[0]);
  close(ends[1]);
}

} // namespace
} // namespace hsmux
