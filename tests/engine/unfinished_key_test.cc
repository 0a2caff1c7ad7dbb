#include "mechanisms/unfinished_key.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "engine/process_identity.h"
#include "slots/key_handles.h"

namespace hsmux {
namespace {

UnfinishedMark a_mark() {
  return {.owner = {.host = 0x0102030405060708, .process = 4711, .started = 99},
          .expires = std::chrono::sys_seconds(std::chrono::seconds(1'800'000'000)),
          .id = {1, 2, 3}};
}

TEST(UnfinishedKey, AMarkIsReadAsItWasWritten) {
  const UnfinishedMark mark = a_mark();
  const Bytes id = unfinished_id(mark);
  EXPECT_TRUE(is_unfinished_id(id));
  const auto read = parse_unfinished_id(id);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->owner, mark.owner);
  EXPECT_EQ(read->expires, mark.expires);
  EXPECT_EQ(read->id, mark.id);
}

TEST(UnfinishedKey, WhatIsShorterLongerOrOfAnotherVersionIsNoMark) {
  const Bytes whole = unfinished_id(a_mark());
  for (std::size_t size = 0; size + a_mark().id.size() <= whole.size(); ++size) {
    EXPECT_FALSE(parse_unfinished_id(ByteView(whole).first(size))) << size;
  }
  Bytes other = whole;
  other[16] = 2; // the version
  EXPECT_FALSE(parse_unfinished_id(other));
  UnfinishedMark wide = a_mark();
  wide.id.resize(kKeyIdBytesMax + 1);
  EXPECT_FALSE(parse_unfinished_id(unfinished_id(wide)));
}

TEST(UnfinishedKey, IsLeftAloneWhileItsOwnerMayBeAtWork) {
  using Owner = LeftoverFacts::Owner;
  for (const Owner owner : {Owner::kAlive, Owner::kUnknown}) {
    EXPECT_EQ(judge_leftover({.owner = owner, .whole = true, .finished_elsewhere = true, .all_slots_asked = true}),
              Leftover::kLeave);
  }
}

TEST(UnfinishedKey, OfADeadOrExpiredOwnerIsFinishedWhereTheKeyExistsAndElseRemoved) {
  using Owner = LeftoverFacts::Owner;
  LeftoverFacts facts{.owner = Owner::kDead, .expired = false, .whole = true, .finished_elsewhere = true};
  EXPECT_EQ(judge_leftover(facts), Leftover::kFinish);
  facts.whole = false;
  EXPECT_EQ(judge_leftover(facts), Leftover::kRemove) << "a private half without its public one";
  facts = {.owner = Owner::kUnknown, .expired = true, .whole = true, .all_slots_asked = true};
  EXPECT_EQ(judge_leftover(facts), Leftover::kRemove);
  facts.all_slots_asked = false;
  EXPECT_EQ(judge_leftover(facts), Leftover::kLeave) << "the key may exist in a slot that is down";
}

TEST(ProcessIdentity, TellsThisProcessFromOneThatIsGone) {
  const ProcessIdentity mine = this_process();
  EXPECT_EQ(owner_state(mine), LeftoverFacts::Owner::kAlive);
  ProcessIdentity other = mine;
  ++other.started; // the same number, given out again
  EXPECT_EQ(owner_state(other), LeftoverFacts::Owner::kDead);
  other = mine;
  ++other.host;
  EXPECT_EQ(owner_state(other), LeftoverFacts::Owner::kUnknown);
  EXPECT_EQ(owner_state({}), LeftoverFacts::Owner::kUnknown);
}

} // namespace
} // namespace hsmux
