// One token behind the simulator, for the tests of what the simulator does to its callers. One thread.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "tests/simhsm/control.h"
#include "tests/simhsm/raw_token.h"
#include "tests/token_folder.h"

namespace hsmux::sim {

class SimFaults : public testing::Test {
protected:
  SimFaults() { sim_.reset(); }
  ~SimFaults() override { sim_.reset(); }

  CK_RV state(CK_SESSION_HANDLE session, CK_STATE* state = nullptr) const {
    CK_SESSION_INFO info{};
    const CK_RV rv = functions_.C_GetSessionInfo(session, &info);
    if (state != nullptr) *state = info.state;
    return rv;
  }
  CK_RV random_byte(CK_SESSION_HANDLE session) const {
    CK_BYTE byte = 0;
    return functions_.C_GenerateRandom(session, &byte, 1);
  }
  CK_RV open(CK_SESSION_HANDLE* session) const {
    return functions_.C_OpenSession(slot_, CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr, nullptr, session);
  }
  CK_RV log_in(CK_SESSION_HANDLE session, std::string pin) const {
    return functions_.C_Login(session, CKU_USER, reinterpret_cast<CK_BYTE*>(pin.data()), pin.size());
  }
  CK_TOKEN_INFO token_info() const {
    CK_TOKEN_INFO info{};
    EXPECT_EQ(functions_.C_GetTokenInfo(slot_, &info), CKR_OK);
    return info;
  }
  CK_ULONG slots_with_token() const {
    CK_ULONG count = 0;
    EXPECT_EQ(functions_.C_GetSlotList(CK_TRUE, nullptr, &count), CKR_OK);
    return count;
  }
  // SoftHSM gives its slots other ids when it is initialised anew.
  void find_slot_again() {
    std::array<CK_SLOT_ID, 256> ids{};
    CK_ULONG count = ids.size();
    EXPECT_EQ(functions_.C_GetSlotList(CK_TRUE, nullptr, &count), CKR_OK);
    EXPECT_EQ(functions_.C_GetSlotList(CK_TRUE, ids.data(), &count), CKR_OK);
    for (const CK_SLOT_ID id : std::span(ids).first(count)) {
      CK_TOKEN_INFO info{};
      if (functions_.C_GetTokenInfo(id, &info) != CKR_OK) continue;
      const std::string_view label(reinterpret_cast<const char*>(info.label), sizeof info.label);
      if (label.starts_with(tokens_.label(0) + " ")) slot_ = id;
    }
  }
  void fault(const std::string& rows) const { sim_.apply("[[fault]]\n" + rows); }

  TokenFolder tokens_{1, HSMUX_TEST_SIMHSM};
  SimControl sim_{HSMUX_TEST_SIMHSM};
  const CK_FUNCTION_LIST& functions_ = functions_of(HSMUX_TEST_SIMHSM);
  CK_SLOT_ID slot_ = tokens_.slot_id(0);
};

} // namespace hsmux::sim
