#include "slots/pin.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/crypto.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <concepts>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace hsmux {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::string_view kSecret = "73501";

template <class Type>
concept Printable = requires(std::ostream& out, const Type& value) { out << value; };

// Compared here, so that a failing test prints no PIN.
bool holds(const Result<Pin>& pin, std::string_view expected) {
  return pin && std::string_view(pin->view().data(), pin->view().size()) == expected;
}

// The message of a PIN that is refused, which must be about credentials and must not hold the PIN.
std::string refused(const Result<Pin>& pin) {
  if (pin) return "not refused";
  EXPECT_EQ(pin.error().kind, ErrorKind::kCredentials);
  EXPECT_EQ(pin.error().message.find(kSecret), std::string::npos) << "the error shows the PIN";
  return pin.error().message;
}

class PinFile : public ::testing::Test {
protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "hsmux-pin-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    path_ = (folder_ / "pin").string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(std::string_view text, mode_t mode = 0600) {
    std::ofstream(path_, std::ios::trunc) << text;
    ASSERT_EQ(::chmod(path_.c_str(), mode), 0);
  }
  Result<Pin> read(bool allow_group_read = false) { return PinSource(PinFromFile{path_, allow_group_read}).read(); }

  std::filesystem::path folder_;
  std::string path_;
};

TEST(Pin, CannotBeCopiedPrintedOrCompared) {
  static_assert(!std::is_copy_constructible_v<Pin> && !std::is_copy_assignable_v<Pin>);
  static_assert(!Printable<Pin>);
  static_assert(!std::equality_comparable<Pin>);
}

TEST(Pin, LivesInTheSecureHeap) {
  const auto pin = Pin::copy_of(kSecret);
  ASSERT_TRUE(pin);
  ASSERT_EQ(CRYPTO_secure_malloc_initialized(), 1);
  EXPECT_EQ(CRYPTO_secure_allocated(pin->view().data()), 1);
}

TEST(Pin, LeavesTheSecureHeapWhenItEnds) {
  {
    const auto warm_up = Pin::copy_of(kSecret);
  }
  const std::size_t before = CRYPTO_secure_used();
  {
    const auto pin = Pin::copy_of(kSecret);
    EXPECT_GT(CRYPTO_secure_used(), before);
  }
  EXPECT_EQ(CRYPTO_secure_used(), before);
}

TEST(Pin, OneThatWasMovedFromIsEmpty) {
  Result<Pin> pin = Pin::copy_of(kSecret);
  ASSERT_TRUE(pin);
  const Result<Pin> taken = std::move(*pin);
  EXPECT_TRUE(holds(taken, kSecret));
  EXPECT_TRUE(pin->empty());        // NOLINT(bugprone-use-after-move)
  EXPECT_TRUE(pin->view().empty()); // NOLINT(bugprone-use-after-move)
}

TEST(Pin, ACopyOutlivesTheOriginal) {
  Result<Pin> copy = fail(ErrorKind::kInternal, "not yet");
  {
    const auto pin = Pin::copy_of(kSecret);
    ASSERT_TRUE(pin);
    copy = pin->copy();
  }
  EXPECT_TRUE(holds(copy, kSecret));
}

TEST(Pin, HasOneToTwoHundredFiftySixBytes) {
  EXPECT_THAT(refused(Pin::copy_of({})), HasSubstr("empty"));
  EXPECT_TRUE(Pin::copy_of(std::string(256, 'x')));
  EXPECT_THAT(refused(Pin::copy_of(std::string(257, 'x'))), HasSubstr("at most 256 bytes"));
}

TEST(Pin, AnExhaustedSecureHeapIsAnErrorAndNotACrash) {
  std::vector<Pin> pins;
  Result<Pin> pin = Pin::copy_of(std::string(256, 'x'));
  while (pin && pins.size() < 2000) {
    pins.push_back(std::move(*pin));
    pin = Pin::copy_of(std::string(256, 'x'));
  }
  ASSERT_FALSE(pin);
  EXPECT_EQ(pin.error().kind, ErrorKind::kInternal);
}

// Run in processes of their own, which they end.
void use_a_pin_without_locked_memory() {
  const rlimit none{0, 0};
  const bool limited = ::setrlimit(RLIMIT_MEMLOCK, &none) == 0;
  std::_Exit(limited && holds(Pin::copy_of(kSecret), kSecret) ? 0 : 1);
}

void prompt_without_a_terminal() {
  ::setsid(); // a session of its own has no terminal
  const auto pin = PinSource(PinFromPrompt{"PIN"}).read();
  const bool right = !pin && pin.error().kind == ErrorKind::kCredentials &&
                     pin.error().message.find("there is no terminal") != std::string::npos;
  std::_Exit(right ? 0 : 1);
}

TEST(PinDeathTest, WorksWhereMemoryMustNotBeLocked) {
  GTEST_FLAG_SET(death_test_style, "threadsafe"); // a fresh process: this one's heap is locked already
  EXPECT_EXIT(use_a_pin_without_locked_memory(), ::testing::ExitedWithCode(0), "");
}

TEST(PinDeathTest, APromptWithoutATerminalIsRefused) {
  EXPECT_EXIT(prompt_without_a_terminal(), ::testing::ExitedWithCode(0), "");
}

TEST_F(PinFile, OneTrailingLineBreakIsStripped) {
  for (const std::string_view ending : {"", "\n", "\r\n"}) {
    write(std::string(kSecret) + std::string(ending));
    EXPECT_TRUE(holds(read(), kSecret));
  }
}

TEST_F(PinFile, BlanksBelongToThePin) {
  write(" a b \n");
  EXPECT_TRUE(holds(read(), " a b "));
}

TEST_F(PinFile, AChangedPinIsSeenAtTheNextRead) {
  PinSource source(PinFromFile{path_, false});
  write("first");
  EXPECT_TRUE(holds(source.read(), "first"));
  write("second");
  EXPECT_TRUE(holds(source.read(), "second"));
}

TEST_F(PinFile, SeveralLinesOrNulBytesAreRefusedSinceTheyWouldCostATry) {
  for (const std::string& text : {std::string("73501\n\n"), std::string("73501\nx\n"), std::string("\n73501"),
                                  std::string("73501\r"), std::string("73501\0", 6)}) {
    write(text);
    EXPECT_THAT(refused(read()), HasSubstr("several lines or a NUL byte"));
  }
}

TEST_F(PinFile, AnEmptyFileIsRefused) {
  for (const std::string_view text : {"", "\n", "\r\n"}) {
    write(text);
    EXPECT_THAT(refused(read()), AllOf(HasSubstr(path_), HasSubstr("empty")));
  }
}

TEST_F(PinFile, ThePinMayHave256BytesAndALineBreak) {
  const std::string longest(256, 'x');
  write(longest + "\r\n");
  EXPECT_TRUE(holds(read(), longest));
  write(longest + "y\n");
  EXPECT_THAT(refused(read()), HasSubstr("too long"));
}

TEST_F(PinFile, AHugeFileIsRefusedWithoutItsLength) {
  write(std::string(100'000, 'x'));
  EXPECT_THAT(refused(read()), AllOf(HasSubstr("too long"), Not(HasSubstr("100000")), Not(HasSubstr("259"))));
}

TEST_F(PinFile, AMissingFileIsAboutCredentials) {
  EXPECT_THAT(refused(read()), AllOf(HasSubstr("file " + path_), HasSubstr("No such file or directory")));
}

TEST_F(PinFile, OwnerOnlyModesAreAccepted) {
  for (const mode_t mode : {0600U, 0400U, 0700U}) {
    write(kSecret, mode);
    EXPECT_TRUE(holds(read(), kSecret)) << std::oct << mode;
  }
}

TEST_F(PinFile, OneThatIsOpenToOthersIsRefusedWithTheCommandThatHelps) {
  for (const mode_t mode : {0604U, 0602U, 0601U, 0644U, 0666U}) {
    write(kSecret, mode);
    EXPECT_THAT(refused(read()), AllOf(HasSubstr("open to other users"), HasSubstr("chmod 600 " + path_)))
        << std::oct << mode;
  }
}

TEST_F(PinFile, OneThatItsGroupCanWriteIsRefusedEvenWhereTheGroupMayRead) {
  for (const bool allow_group_read : {false, true}) {
    write(kSecret, 0620);
    EXPECT_THAT(refused(read(allow_group_read)), HasSubstr("its group can write it"));
  }
}

TEST_F(PinFile, GroupReadNeedsTheSetting) {
  write(kSecret, 0640);
  EXPECT_THAT(refused(read(false)), AllOf(HasSubstr("its group can read it"), HasSubstr("allow_group_read")));
  EXPECT_TRUE(holds(read(true), kSecret));
}

TEST_F(PinFile, TheSettingForTheGroupDoesNotOpenTheFileToOthers) {
  write(kSecret, 0644);
  EXPECT_THAT(refused(read(true)), AllOf(HasSubstr("open to other users"), HasSubstr("chmod 640 ")));
}

TEST_F(PinFile, AnotherUsersFileIsRefused) {
  constexpr uid_t kNobody = 65534;
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  write(kSecret);
  ASSERT_EQ(::chown(path_.c_str(), kNobody, kNobody), 0);
  EXPECT_THAT(refused(read()), AllOf(HasSubstr("belongs to another user"), HasSubstr("chown 0 " + path_)));
}

TEST_F(PinFile, ASymbolicLinkIsJudgedByItsTarget) {
  write(kSecret, 0600);
  const std::string link = (folder_ / "link").string();
  ASSERT_EQ(::symlink(path_.c_str(), link.c_str()), 0);
  PinSource source(PinFromFile{link, false});
  EXPECT_TRUE(holds(source.read(), kSecret));
  ASSERT_EQ(::chmod(path_.c_str(), 0644), 0);
  EXPECT_THAT(refused(source.read()), HasSubstr("open to other users"));
}

TEST_F(PinFile, FoldersDevicesAndFifosAreRefusedAtOnce) {
  const std::string fifo = (folder_ / "fifo").string();
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const std::string& path : {folder_.string(), std::string("/dev/null"), fifo}) {
    EXPECT_THAT(refused(PinSource(PinFromFile{path, false}).read()), HasSubstr("not a regular file")) << path;
  }
}

class PinEnvironment : public ::testing::Test {
protected:
  void TearDown() override { ::unsetenv(kVariable); }

  static constexpr const char* kVariable = "HSMUX_PIN_TEST";
  PinSource source_{PinFromEnvironment{kVariable}};
};

TEST_F(PinEnvironment, IsReadAgainEachTime) {
  ::setenv(kVariable, "first", 1);
  EXPECT_TRUE(holds(source_.read(), "first"));
  ::setenv(kVariable, "second\n", 1);
  EXPECT_TRUE(holds(source_.read(), "second"));
}

TEST_F(PinEnvironment, AMissingVariableIsNamed) {
  EXPECT_THAT(refused(source_.read()), HasSubstr("environment variable HSMUX_PIN_TEST: it is not set"));
}

TEST_F(PinEnvironment, AnEmptyOrOverlongVariableIsRefused) {
  ::setenv(kVariable, "", 1);
  EXPECT_THAT(refused(source_.read()), HasSubstr("empty"));
  ::setenv(kVariable, std::string(300, 'x').c_str(), 1);
  EXPECT_THAT(refused(source_.read()), HasSubstr("too long"));
}

class PinDescriptor : public ::testing::Test {
protected:
  void SetUp() override { ASSERT_EQ(::pipe2(ends_.data(), O_CLOEXEC), 0); }
  void TearDown() override {
    ::close(ends_[0]);
    close_writer();
  }
  void write(std::string_view text) { ASSERT_EQ(::write(ends_[1], text.data(), text.size()), std::ssize(text)); }
  void close_writer() {
    if (ends_[1] >= 0) ::close(ends_[1]);
    ends_[1] = -1;
  }

  std::array<int, 2> ends_{-1, -1};
};

TEST_F(PinDescriptor, IsReadOnceAndKept) {
  PinSource source(PinFromDescriptor{ends_[0]});
  write("73501\n");
  EXPECT_TRUE(holds(source.read(), kSecret));
  write("other\n");
  EXPECT_TRUE(holds(source.read(), kSecret));
}

TEST_F(PinDescriptor, EndsAtTheFirstLineBreakAndLeavesTheRest) {
  write("73501\r\nrest");
  EXPECT_TRUE(holds(PinSource(PinFromDescriptor{ends_[0]}).read(), kSecret));
  std::array<char, 8> rest{};
  ASSERT_EQ(::read(ends_[0], rest.data(), rest.size()), 4);
  EXPECT_EQ(std::string_view(rest.data(), 4), "rest");
}

TEST_F(PinDescriptor, EndsWithThePipe) {
  write(kSecret);
  close_writer();
  EXPECT_TRUE(holds(PinSource(PinFromDescriptor{ends_[0]}).read(), kSecret));
}

TEST_F(PinDescriptor, AnUnendingLineIsCutOffAndRefused) {
  write(std::string(1000, 'x'));
  EXPECT_THAT(refused(PinSource(PinFromDescriptor{ends_[0]}).read()), HasSubstr("too long"));
}

TEST_F(PinDescriptor, AClosedOneIsNamed) {
  close_writer();
  EXPECT_THAT(refused(PinSource(PinFromDescriptor{ends_[0]}).read()), HasSubstr("descriptor"));
  EXPECT_THAT(refused(PinSource(PinFromDescriptor{9999}).read()),
              AllOf(HasSubstr("descriptor 9999"), HasSubstr("Bad file descriptor")));
}

TEST_F(PinDescriptor, ConcurrentReadersAllGetThePin) {
  PinSource source(PinFromDescriptor{ends_[0]});
  write("73501\n");
  std::atomic<int> right = 0;
  {
    std::vector<std::jthread> readers;
    for (int i = 0; i < 8; ++i) readers.emplace_back([&] { right += holds(source.read(), kSecret) ? 1 : 0; });
  }
  EXPECT_EQ(right, 8);
}

TEST(PinValue, IsGivenOutAsCopies) {
  auto pin = Pin::copy_of(kSecret);
  ASSERT_TRUE(pin);
  PinSource source(PinFromValue{std::make_shared<const Pin>(std::move(*pin))});
  EXPECT_TRUE(holds(source.read(), kSecret));
  EXPECT_TRUE(holds(source.read(), kSecret));
}

TEST(PinValue, WithoutAPinIsRefused) {
  EXPECT_THAT(refused(PinSource(PinFromValue{}).read()), HasSubstr("empty"));
  EXPECT_THAT(refused(PinSource(PinFromValue{std::make_shared<const Pin>()}).read()), HasSubstr("empty"));
}

TEST(PinSource, DescribesWhereThePinComesFrom) {
  EXPECT_EQ(PinSource(PinFromFile{"/etc/hsmux/pin", false}).describe(), "file /etc/hsmux/pin");
  EXPECT_EQ(PinSource(PinFromEnvironment{"HSM_PIN"}).describe(), "environment variable HSM_PIN");
  EXPECT_EQ(PinSource(PinFromDescriptor{3}).describe(), "descriptor 3");
  EXPECT_EQ(PinSource(PinFromPrompt{"x"}).describe(), "prompt");
  EXPECT_EQ(PinSource(PinFromValue{}).describe(), "value");
}

} // namespace
} // namespace hsmux
