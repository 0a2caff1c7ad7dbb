// The admin socket: who may use it, and that nobody can hold it up.
#include "engine/admin.h"

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace hsmux {
namespace {

namespace fs = std::filesystem;

class Client {
public:
  explicit Client(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(static_cast<char*>(address.sun_path), sizeof address.sun_path - 1);
    connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  ~Client() { close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  [[nodiscard]] bool connected() const { return connected_; }
  void say(const std::string& text) const { (void)!send(fd_, text.data(), text.size(), MSG_NOSIGNAL); }
  // Until a line's end, or the other side's.
  [[nodiscard]] std::string hear() const {
    std::string line;
    for (char c = 0; recv(fd_, &c, 1, 0) == 1 && c != '\n';) line += c;
    return line;
  }

private:
  int fd_;
  bool connected_ = false;
};

class AdminDoor : public testing::Test {
protected:
  AdminDoor() {
    std::string name = (fs::temp_directory_path() / "hsmux-admin-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~AdminDoor() override { fs::remove_all(folder_); }
  [[nodiscard]] std::string path() const { return folder_ + "/admin.sock"; }
  [[nodiscard]] Result<std::unique_ptr<AdminSocket>> open() const {
    return AdminSocket::open(path(), [](std::string_view line) { return "you said " + std::string(line); });
  }
  std::string folder_;
};

TEST_F(AdminDoor, EachLineIsAnsweredByALine) {
  const auto door = open();
  ASSERT_TRUE(door.has_value()) << door.error().text();
  const Client client(path());
  client.say("one\ntwo\nth");
  EXPECT_EQ(client.hear(), "you said one");
  EXPECT_EQ(client.hear(), "you said two");
  client.say("ree\n");
  EXPECT_EQ(client.hear(), "you said three");
}

TEST_F(AdminDoor, TheSocketIsForItsUserAloneAndGoesWithItsOwner) {
  {
    const auto door = open();
    ASSERT_TRUE(door.has_value());
    struct stat status{};
    ASSERT_EQ(stat(path().c_str(), &status), 0);
    EXPECT_TRUE(S_ISSOCK(status.st_mode));
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
  }
  EXPECT_FALSE(fs::exists(path()));
}

TEST_F(AdminDoor, AProcessOfAnotherUserIsNotAnswered) {
  if (geteuid() != 0) GTEST_SKIP() << "needs another user to try";
  const auto door = open();
  ASSERT_TRUE(door.has_value());
  fs::permissions(folder_, fs::perms::all);
  fs::permissions(path(), fs::perms::all); // so that only the check of the peer stands between
  const pid_t child = fork();
  if (child == 0) {
    if (setuid(65534) != 0) _exit(2);
    const Client client(path());
    client.say("hello\n");
    _exit(client.connected() && client.hear().empty() ? 42 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST_F(AdminDoor, ASecondOneIsRefusedWhileTheFirstIsThere) {
  const auto first = open();
  ASSERT_TRUE(first.has_value());
  const auto second = open();
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().kind, ErrorKind::kConflict);
  EXPECT_TRUE(Client(path()).connected()); // the first one's is still there
}

TEST_F(AdminDoor, WhatADeadProcessLeftIsReplaced) {
  const pid_t child = fork();
  if (child == 0) {
    const auto door = open();
    _exit(door ? 0 : 1); // without its destructor
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), 0);
  ASSERT_TRUE(fs::exists(path()));
  EXPECT_TRUE(open().has_value());
}

TEST_F(AdminDoor, WhatIsNoSocketIsLeftAlone) {
  std::ofstream(path()) << "precious";
  EXPECT_FALSE(open().has_value());
  EXPECT_EQ(fs::file_size(path()), 8U);
}

TEST_F(AdminDoor, ALineThatNeverEndsIsCutOffAndOthersAreServed) {
  const auto door = open();
  ASSERT_TRUE(door.has_value());
  const Client babbler(path());
  babbler.say(std::string(3 * AdminSocket::kLineBytesMax, 'x'));
  EXPECT_EQ(babbler.hear(), "");
  const Client client(path());
  client.say("one\n");
  EXPECT_EQ(client.hear(), "you said one");
}

TEST_F(AdminDoor, ItEndsAtOnceThoughAClientIsSilent) {
  auto door = open();
  ASSERT_TRUE(door.has_value());
  const Client silent(path());
  door->reset();
  EXPECT_EQ(silent.hear(), "");
}

} // namespace
} // namespace hsmux
