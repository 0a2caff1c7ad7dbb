#include "slots/module.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "slots/pkcs11.h"
#include "slots/session.h"
#include "tests/slots/sim_token.h"

namespace hsmux {
namespace {

using testing::HasSubstr;

// Each test loads files of its own: a process has one module per file.
class Modules : public testing::Test {
protected:
  std::string new_copy() const { return SimControl::copy_into(tokens_.folder(), HSMUX_TEST_SIMHSM); }
  static ModuleOptions options(const std::string& path) {
    ModuleOptions result;
    result.name = "vendor";
    result.path = path;
    return result;
  }
  static Error error_of(const ModuleOptions& wanted) {
    Result<std::shared_ptr<Module>> module = Module::load(wanted);
    if (module) {
      ADD_FAILURE() << "loaded";
      return {};
    }
    return module.error();
  }
  static std::shared_ptr<Module> loaded(const ModuleOptions& wanted) {
    Result<std::shared_ptr<Module>> module = Module::load(wanted);
    if (!module) {
      ADD_FAILURE() << module.error().text();
      return nullptr;
    }
    return *module;
  }

  TokenFolder tokens_{1, HSMUX_TEST_SIMHSM};
};

TEST_F(Modules, AMissingFileIsNamed) {
  const Error error = error_of(options("/nonexistent/libvendor.so"));
  EXPECT_EQ(error.kind, ErrorKind::kModule);
  EXPECT_THAT(error.text(), HasSubstr("/nonexistent/libvendor.so"));
  EXPECT_THAT(error.text(), HasSubstr("vendor"));
  EXPECT_THAT(error.text(), HasSubstr("No such file"));
}

TEST_F(Modules, AFileThatIsNoLibraryIsNamed) {
  const std::string path = tokens_.folder() + "/module.so";
  std::ofstream(path) << "not a library\n";
  const Error error = error_of(options(path));
  EXPECT_EQ(error.kind, ErrorKind::kModule);
  EXPECT_THAT(error.text(), HasSubstr(path));
  EXPECT_THAT(error.text(), HasSubstr("not a loadable library"));
}

TEST_F(Modules, ALibraryThatIsNotPkcs11IsNamed) {
  const Error error = error_of(options("libm.so.6")); // a bare name: the loader finds it
  EXPECT_EQ(error.kind, ErrorKind::kModule);
  EXPECT_THAT(error.text(), HasSubstr("not a PKCS#11 module"));
  EXPECT_THAT(error.text(), HasSubstr("libm.so.6"));
}

TEST_F(Modules, AFolderIsNoModule) { EXPECT_EQ(error_of(options(tokens_.folder())).kind, ErrorKind::kModule); }

TEST_F(Modules, AnEmptyPathIsAnError) { EXPECT_EQ(error_of(options("")).kind, ErrorKind::kModule); }

TEST_F(Modules, ARequiredFunctionThatIsNullIsNamed) {
  const Variable null("HSMUX_SIM_NULL", "C_FindObjects");
  const Error error = error_of(options(new_copy()));
  EXPECT_EQ(error.kind, ErrorKind::kModule);
  EXPECT_THAT(error.text(), HasSubstr("C_FindObjects is missing"));
}

TEST_F(Modules, AnOptionalFunctionThatIsNullIsAnErrorOnlyOfItsUse) {
  const std::string path = new_copy();
  const Variable null("HSMUX_SIM_NULL", "C_GenerateRandom");
  const auto module = loaded(options(path));
  ASSERT_NE(module, nullptr);
  Result<Session> session =
      Session::open(module, tokens_.slot_id(0), std::make_shared<const std::string>("hsm-a"), true);
  ASSERT_TRUE(session.has_value()) << session.error().text();
  Bytes out(4);
  const Status status = session->random(out);
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().kind, ErrorKind::kUnsupported);
  EXPECT_THAT(status.error().text(), HasSubstr("C_GenerateRandom"));
  EXPECT_THAT(status.error().text(), HasSubstr("hsm-a"));
}

TEST_F(Modules, AnOperationThatIsNullIsNotBegun) {
  const std::string path = new_copy();
  const Variable null("HSMUX_SIM_NULL", "C_Sign");
  const auto module = loaded(options(path));
  ASSERT_NE(module, nullptr);
  Result<Session> session =
      Session::open(module, tokens_.slot_id(0), std::make_shared<const std::string>("hsm-a"), true);
  ASSERT_TRUE(session.has_value()) << session.error().text();
  Bytes out(64);
  const auto signature = session->sign({.type = CKM_ECDSA}, 1, Bytes(32), out);
  ASSERT_FALSE(signature.has_value());
  EXPECT_EQ(signature.error().kind, ErrorKind::kUnsupported);
  EXPECT_THAT(signature.error().text(), HasSubstr("C_Sign"));
  EXPECT_EQ(SimControl(path).count("C_SignInit"), 0U);
}

TEST_F(Modules, TheInterfaceOfVersionThreeIsUsedWhereItIs) {
  const Variable interface("HSMUX_SIM_INTERFACE", "v3");
  const auto module = loaded(options(new_copy()));
  ASSERT_NE(module, nullptr);
  EXPECT_EQ(module->functions().version.major, 3);
}

TEST_F(Modules, AnInterfaceWithoutAListFallsBackToTheFunctionList) {
  const Variable interface("HSMUX_SIM_INTERFACE", "null");
  const auto module = loaded(options(new_copy()));
  ASSERT_NE(module, nullptr);
  EXPECT_EQ(module->functions().version.major, 2);
}

TEST_F(Modules, ARefusedInterfaceFallsBackToTheFunctionList) {
  const Variable interface("HSMUX_SIM_INTERFACE", "none");
  const auto module = loaded(options(new_copy()));
  ASSERT_NE(module, nullptr);
  EXPECT_EQ(module->functions().version.major, 2);
}

TEST_F(Modules, AModuleThatSomebodyInitialisedBeforeIsAccepted) {
  const Variable init("HSMUX_SIM_INIT", "already");
  const auto module = loaded(options(new_copy()));
  ASSERT_NE(module, nullptr);
  EXPECT_FALSE(module->initialised_by_us());
  EXPECT_TRUE(module->slots_with_token().has_value());
}

TEST_F(Modules, AModuleThatCannotLockIsRefused) {
  const Variable init("HSMUX_SIM_INIT", "cant_lock");
  const Error error = error_of(options(new_copy()));
  EXPECT_EQ(error.kind, ErrorKind::kModule);
  EXPECT_EQ(error.call, Call::kInitialize);
  EXPECT_EQ(error.rv, CKR_CANT_LOCK);
  EXPECT_THAT(error.text(), HasSubstr("vendor"));
}

TEST_F(Modules, InitArgumentsReachTheModule) {
  const Variable reserved("HSMUX_SIM_RESERVED", "tokens=/var/hsm");
  ModuleOptions wanted = options(new_copy());
  EXPECT_EQ(error_of(wanted).rv, CKR_ARGUMENTS_BAD);
  wanted.init_args = "tokens=/var/hsm"; // a load that failed may be put right
  EXPECT_NE(loaded(wanted), nullptr);
}

TEST_F(Modules, AVariableThatDiffersIsNamedAndNotChanged) {
  const Variable variable("HSMUX_TEST_VARIABLE", "old");
  ModuleOptions wanted = options(new_copy());
  wanted.environment = {{"HSMUX_TEST_VARIABLE", "new"}};
  const Error error = error_of(wanted);
  EXPECT_EQ(error.kind, ErrorKind::kInvalidConfig);
  EXPECT_THAT(error.text(), HasSubstr("HSMUX_TEST_VARIABLE"));
  EXPECT_STREQ(std::getenv("HSMUX_TEST_VARIABLE"), "old");
}

TEST_F(Modules, AVariableThatIsNotSetIsNamed) {
  ModuleOptions wanted = options(new_copy());
  wanted.environment = {{"HSMUX_TEST_UNSET", "x"}};
  EXPECT_THAT(error_of(wanted).text(), HasSubstr("HSMUX_TEST_UNSET"));
}

TEST_F(Modules, AProgramOfItsOwnHasTheEnvironmentSet) {
  const Variable variable("HSMUX_TEST_VARIABLE", "old");
  ModuleOptions wanted = options(new_copy());
  wanted.environment = {{"HSMUX_TEST_VARIABLE", "new"}};
  wanted.set_environment = true;
  EXPECT_NE(loaded(wanted), nullptr);
  EXPECT_STREQ(std::getenv("HSMUX_TEST_VARIABLE"), "new");
}

TEST_F(Modules, OneFileIsOneModuleWhateverItsName) {
  const std::string path = new_copy();
  const std::string link = tokens_.folder() + "/link.so";
  std::filesystem::create_symlink(path, link);
  const auto module = loaded(options(path));
  EXPECT_EQ(module, loaded(options(path)));
  EXPECT_EQ(module, loaded(options(link)));
  EXPECT_EQ(SimControl(path).count("C_Initialize"), 1U);
}

TEST_F(Modules, TwoFilesAreTwoModules) { EXPECT_NE(loaded(options(new_copy())), loaded(options(new_copy()))); }

TEST_F(Modules, AnotherEnvironmentForALoadedModuleIsAnError) {
  ModuleOptions wanted = options(new_copy());
  EXPECT_NE(loaded(wanted), nullptr);
  wanted.environment = {{"HSMUX_TEST_VARIABLE", "x"}};
  wanted.set_environment = true;
  const Error error = error_of(wanted);
  EXPECT_EQ(error.kind, ErrorKind::kInvalidConfig);
  EXPECT_THAT(error.text(), HasSubstr("already loaded"));
}

TEST_F(Modules, OtherInitArgumentsForALoadedModuleAreAnError) {
  ModuleOptions wanted = options(new_copy());
  EXPECT_NE(loaded(wanted), nullptr);
  wanted.init_args = "other";
  EXPECT_EQ(error_of(wanted).kind, ErrorKind::kInvalidConfig);
}

TEST_F(Modules, OtherLocksForALoadedModuleAreAnError) {
  ModuleOptions wanted = options(new_copy());
  EXPECT_NE(loaded(wanted), nullptr);
  wanted.locks = Locks::kEngine;
  EXPECT_EQ(error_of(wanted).kind, ErrorKind::kInvalidConfig);
}

TEST_F(Modules, AModuleWorksWithOurLocksWhereItIsToldTo) {
  if (TokenFolder::external()) GTEST_SKIP() << "a second copy of the library is needed";
  ModuleOptions wanted = options(SimControl::copy_into(tokens_.folder(), TokenFolder::default_module()));
  wanted.locks = Locks::kEngine;
  const std::uint64_t before = engine_locks_in_use();
  const auto module = loaded(wanted);
  ASSERT_NE(module, nullptr);
  EXPECT_EQ(module->locks(), Locks::kEngine);
  EXPECT_GT(engine_locks_in_use(), before);
  EXPECT_TRUE(module->slots_with_token().has_value());
}

TEST_F(Modules, AModuleThatRefusesOurLocksGetsTheSystems) {
  const Variable init("HSMUX_SIM_INIT", "os_locks");
  ModuleOptions wanted = options(new_copy());
  wanted.locks = Locks::kEngine;
  const std::uint64_t before = engine_locks_in_use();
  const auto module = loaded(wanted);
  ASSERT_NE(module, nullptr);
  EXPECT_EQ(module->locks(), Locks::kOs);
  EXPECT_EQ(engine_locks_in_use(), before);
}

TEST(Locks, AreOursByThemselvesOnlyForModulesThatGain) {
  EXPECT_EQ(locks_of("/usr/lib/softhsm/libsofthsm2.so"), Locks::kEngine);
  EXPECT_EQ(locks_of("libsofthsm2.so"), Locks::kEngine);
  EXPECT_EQ(locks_of("/opt/vendor/libCryptoki2_64.so"), Locks::kOs);
  EXPECT_EQ(locks_of("/opt/libsofthsm2.so/other.so"), Locks::kOs);
}

TEST_F(Modules, AModuleThatHangsIsAnErrorInTimeAndWorksOnceItComesBack) {
  const std::string path = new_copy();
  const SimControl simhsm(path);
  ModuleOptions wanted = options(path);
  wanted.init_timeout = std::chrono::milliseconds(50);
  {
    const Variable init("HSMUX_SIM_INIT", "hang");
    const TimePoint start = MonotonicClock::now();
    const Error error = error_of(wanted);
    EXPECT_LT(MonotonicClock::now() - start, std::chrono::seconds(10));
    EXPECT_EQ(error.kind, ErrorKind::kModule);
    EXPECT_TRUE(error.retryable());
    EXPECT_THAT(error.text(), HasSubstr("50 ms"));
    ASSERT_TRUE(simhsm.wait_hung(1));
  }
  simhsm.release();
  wanted.init_timeout = std::chrono::seconds(30);
  EXPECT_NE(loaded(wanted), nullptr);
  EXPECT_EQ(simhsm.count("C_Initialize"), 1U);
}

TEST_F(Modules, WhatTheModuleSaysOfItselfIsReadOnce) {
  const auto module = loaded(options(new_copy()));
  ASSERT_NE(module, nullptr);
  EXPECT_FALSE(module->info().manufacturer.empty());
  EXPECT_NE(module->info().manufacturer.back(), ' ');
  EXPECT_GE(module->info().cryptoki_major, 2);
}

TEST_F(Modules, AListOfSlotsThatGrowsMeanwhileIsAskedForAgain) {
  const std::string path = new_copy();
  const auto module = loaded(options(path));
  ASSERT_NE(module, nullptr);
  SimControl(path).answer("C_GetSlotList", CKR_BUFFER_TOO_SMALL, 1, 1);
  const auto slots = module->slots_with_token();
  ASSERT_TRUE(slots.has_value()) << slots.error().text();
  EXPECT_THAT(*slots, testing::Contains(tokens_.slot_id(0)));
}

// What the child found, as its exit code.
int in_child(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(Modules, AForkedChildIsRefusedWithoutAnyCall) {
  const std::string path = new_copy();
  const SimControl simhsm(path);
  const auto module = loaded(options(path));
  ASSERT_NE(module, nullptr);
  Result<Session> session =
      Session::open(module, tokens_.slot_id(0), std::make_shared<const std::string>("hsm-a"), true);
  ASSERT_TRUE(session.has_value());
  EXPECT_FALSE(module->forked());
  simhsm.reset_counts();
  EXPECT_EQ(in_child([&] {
              if (!module->forked()) return 1;
              const auto state = session->state();
              if (state || state.error().kind != ErrorKind::kForked) return 2;
              const auto again = Module::load(options(path));
              if (again || again.error().kind != ErrorKind::kForked) return 3;
              return simhsm.total() == 0 ? 42 : 4;
            }),
            42);
  EXPECT_FALSE(module->forked());
  EXPECT_TRUE(session->state().has_value());
}

} // namespace
} // namespace hsmux
