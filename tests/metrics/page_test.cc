// What the status page makes of what it is told, looked at with a real browser.
#include <gmock/gmock.h>

#include "metrics/exporter.h"
#include "tests/metrics/browser.h"

namespace hsmux::metrics {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kHostile = "<img src=x onerror=\"document.title='owned'\">";

TEST(StatusPage, TakesWhatTokensSayForText) {
  if (!browser()) GTEST_SKIP() << kNoBrowser;
  Exporter exporter(std::vector<OperationKind>{{.operation = "sign", .algorithm = "ecdsa-p256-sha256"}});
  const auto started = exporter.start({.address = "127.0.0.1:0", .version = kHostile, .warn = {}}, [] {
    Snapshot snapshot;
    snapshot.health = "degraded";
    snapshot.reasons = {kHostile};
    snapshot.slots = {{.name = "hsm-a", .state = "ejected", .model = kHostile, .reason = kHostile}};
    return std::optional(snapshot);
  });
  ASSERT_TRUE(started) << started.error();
  exporter.record(
      {.kind = EventKind::kSlotHealth, .slot = kHostile, .call = kHostile, .detail = "ejected", .reason = kHostile});
  const std::string page = page_in_browser(exporter.port(), 2500);
  EXPECT_THAT(page, HasSubstr("<title>hsmux: degraded</title>")) << "the script ran, and that of the token did not";
  EXPECT_THAT(page, HasSubstr("<li>&lt;img src=x"));
  EXPECT_THAT(page, HasSubstr("<td class=\"bad\">ejected</td>"));
  EXPECT_THAT(page, Not(HasSubstr("<img")));
}

TEST(StatusPage, ItsPolicyLetsNoScriptInThatIsNotItsOwn) {
  if (!browser()) GTEST_SKIP() << kNoBrowser;
  // The same browser obeys: a page with a script inside, served with the same policy, does not run it.
  Server server(*parse_address("127.0.0.1:0"),
                [](std::string_view) {
                  return std::optional(Answer{.type = "text/html",
                                              .body = "<title>quiet</title><script>document.title='loud'</script>"});
                },
                {});
  ASSERT_TRUE(server.listen(Server::Failure::kTold));
  EXPECT_THAT(page_in_browser(server.port(), 1000), HasSubstr("<title>quiet</title>"));
}

} // namespace
} // namespace hsmux::metrics
