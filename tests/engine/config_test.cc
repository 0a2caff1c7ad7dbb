#include "engine/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace hsmux {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// A configuration that is right, in two parts so that tests can put lines into the slot.
const std::string kModule = "[module.soft]\npath = \"libsofthsm2.so\"\n";
const std::string kSlot = "[[slot]]\nname = \"a\"\ntoken_label = \"hsm-a\"\n";

Result<Config> parse(const std::string& text) { return parse_config(text, "hsmux.toml", "/etc/hsmux"); }

// The message of the error that `text` must give.
std::string error_of(const std::string& text) {
  const auto config = parse(text);
  if (config) return "no error";
  EXPECT_EQ(config.error().kind, ErrorKind::kInvalidConfig);
  return config.error().message;
}

// The error of a right configuration with `line` in its slot: it is on line 6.
std::string slot_error(const std::string& line) { return error_of(kModule + kSlot + line + "\n"); }

Config filled() {
  Config config;
  config.modules.push_back({.name = "soft", .path = "libsofthsm2.so", .environment = {}, .init_args = ""});
  SlotConfig slot;
  slot.name = "a";
  slot.module = "soft";
  slot.selector.token_label = "hsm-a";
  config.slots.push_back(slot);
  return config;
}

std::string check_error(const Config& config) {
  const Status status = check_config(config, "setup");
  return status ? "no error" : status.error().message;
}

TEST(Config, EveryKeyIsRead) {
  const auto config = parse(R"(
algorithms = ["ecdsa-p256-sha256", "aes-256-gcm"]
[module.soft]
path = "/usr/lib/softhsm/libsofthsm2.so"
environment = { SOFTHSM2_CONF = "softhsm2.conf" }
init_args = "configdir=x"
locks = "engine"
init_timeout_ms = 600000
[[slot]]
name = "hsm-a.1"
module = "soft"
token_label = "label"
serial = "12ab"
slot_id = 0x10
pin = { file = "/run/pin", allow_group_read = true }
allow_pin_count_low = true
sessions_min = 0
sessions_max = 4096
concurrency_min = 2
concurrency_max = 3
weight = 2
session_copies = "off"
read_write = false
[deadlines]
operation_ms = 1
key_generation_ms = 3600000
[keys]
placement = "quorum"
quorum = 1
development_software_keys = true
[metrics]
address = "[::1]:0"
allow_remote = true
page = false
token_serial = true
[self_check]
verify_share = 0.25
[audit]
path = "audit.jsonl"
[admin]
socket = "/run/hsmux.sock"
)");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->self_check.verify_share, 0.25);
  EXPECT_TRUE(config->audit.path.value().ends_with("/audit.jsonl"));
  EXPECT_EQ(config->admin.socket, "/run/hsmux.sock");
  ASSERT_TRUE(config->metrics);
  EXPECT_EQ(config->metrics->address, "[::1]:0");
  EXPECT_TRUE(config->metrics->allow_remote);
  EXPECT_FALSE(config->metrics->page);
  EXPECT_TRUE(config->metrics->token_serial);
  ASSERT_EQ(config->modules.size(), 1U);
  const ModuleConfig& module = config->modules[0];
  EXPECT_EQ(module.name, "soft");
  EXPECT_EQ(module.path, "/usr/lib/softhsm/libsofthsm2.so");
  EXPECT_EQ(module.environment.at("SOFTHSM2_CONF"), "softhsm2.conf");
  EXPECT_EQ(module.init_args, "configdir=x");
  EXPECT_EQ(module.locks, Locks::kEngine);
  EXPECT_EQ(module.init_timeout.count(), 600'000);
  ASSERT_EQ(config->slots.size(), 1U);
  const SlotConfig& slot = config->slots[0];
  EXPECT_EQ(slot.name, "hsm-a.1");
  EXPECT_EQ(slot.selector.token_label, "label");
  EXPECT_EQ(slot.selector.serial, "12ab");
  EXPECT_EQ(slot.selector.slot_id, 16U);
  EXPECT_EQ(std::get<PinFromFile>(slot.pin.value()).path, "/run/pin");
  EXPECT_TRUE(std::get<PinFromFile>(slot.pin.value()).allow_group_read);
  EXPECT_TRUE(slot.allow_pin_count_low);
  EXPECT_EQ(slot.sessions_min, 0U);
  EXPECT_EQ(slot.sessions_max, 4096U);
  EXPECT_EQ(slot.concurrency_min, 2U);
  EXPECT_EQ(slot.concurrency_max, 3U);
  EXPECT_EQ(slot.weight, 2.0);
  EXPECT_EQ(slot.session_copies, SessionCopies::kOff);
  EXPECT_FALSE(slot.read_write);
  EXPECT_EQ(config->deadlines.operation.count(), 1);
  EXPECT_EQ(config->deadlines.key_generation.count(), 3'600'000);
  EXPECT_EQ(config->keys.placement.kind, Placement::kQuorum);
  EXPECT_EQ(config->keys.placement.quorum, 1U);
  EXPECT_TRUE(config->keys.development_software_keys);
  EXPECT_THAT(config->algorithms, ElementsAre("ecdsa-p256-sha256", "aes-256-gcm"));
}

TEST(Config, MetricsListenOnThisMachineUnlessMoreIsAllowed) {
  const auto config = parse(kModule + kSlot + "[metrics]\n");
  ASSERT_TRUE(config && config->metrics);
  EXPECT_EQ(config->metrics->address, "127.0.0.1:9467");
  EXPECT_FALSE(config->metrics->allow_remote);
  EXPECT_TRUE(config->metrics->page);
  EXPECT_FALSE(parse(kModule + kSlot)->metrics) << "nobody asked for them";
  const auto metrics_error = [](const std::string& lines) { return error_of(kModule + kSlot + "[metrics]\n" + lines); };
  EXPECT_EQ(metrics_error("address = \"0.0.0.0:9467\""),
            "hsmux.toml:7: metrics.address: 0.0.0.0:9467 can be reached from other machines: a loopback address, or "
            "allow_remote = true");
  EXPECT_EQ(metrics_error("address = \"0.0.0.0:9467\"\nallow_remote = true"), "no error");
  EXPECT_EQ(metrics_error("address = \"localhost:9467\""),
            "hsmux.toml:7: metrics.address: 'localhost:9467' is not allowed: IP:PORT, such as 127.0.0.1:9467 or "
            "[::1]:9467");
  EXPECT_THAT(metrics_error("port = 1"), HasSubstr("allowed here: address, allow_remote, page, token_serial"));
}

TEST(Config, TheSmallestFileHasTheDocumentedDefaults) {
  const auto config = parse(kModule + kSlot);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->slots[0].module, "soft");
  EXPECT_FALSE(config->slots[0].pin);
  EXPECT_EQ(config->slots[0].sessions_min, 1U);
  EXPECT_EQ(config->slots[0].sessions_max, 16U);
  EXPECT_EQ(config->slots[0].weight, 1.0);
  EXPECT_TRUE(config->slots[0].read_write);
  EXPECT_EQ(config->deadlines.operation.count(), 10'000);
  EXPECT_EQ(config->deadlines.key_generation.count(), 120'000);
  EXPECT_EQ(config->keys.placement.kind, Placement::kAll);
  EXPECT_FALSE(config->keys.development_software_keys);
  EXPECT_TRUE(config->algorithms.empty());
}

TEST(Config, AValueOutOfRangeNamesFileLineKeyAndWhatIsAllowed) {
  EXPECT_EQ(slot_error("sessions_max = 0"), "hsmux.toml:6: slot.sessions_max: 0 is not allowed: 1 to 4096");
}

TEST(Config, ValuesJustOutsideTheirRangeAreRefused) {
  EXPECT_THAT(slot_error("sessions_max = 4097"), HasSubstr("4097 is not allowed: 1 to 4096"));
  EXPECT_THAT(slot_error("sessions_min = -1"), HasSubstr("-1 is not allowed: 0 to 4096"));
  EXPECT_THAT(slot_error("sessions_min = 17"), HasSubstr("17 is not allowed: 0 to sessions_max, which is 16"));
  EXPECT_THAT(slot_error("slot_id = -1"), HasSubstr("slot.slot_id: -1 is not allowed: 0 to"));
  EXPECT_THAT(slot_error("pin = { fd = -1 }"), HasSubstr("slot.pin.fd: -1 is not allowed: 0 to 65535"));
  EXPECT_THAT(slot_error("[deadlines]\noperation_ms = 3600001"), HasSubstr("1 to 3600000"));
  EXPECT_THAT(slot_error("[deadlines]\nkey_generation_ms = 0"), HasSubstr("1 to 3600000"));
  EXPECT_THAT(slot_error("[submit]\nin_flight_max = 0"), HasSubstr("1 to 1000000"));
  EXPECT_THAT(slot_error("[submit]\nattempt_limit_ms = 0"), HasSubstr("1 to 3600000"));
  EXPECT_THAT(error_of(kModule + "locks = 'none'\n" + kSlot),
              HasSubstr(R"(locks: 'none' is not allowed: one of "auto", "os", "engine")"));
  EXPECT_THAT(error_of(kModule + "locks = 7\n" + kSlot), HasSubstr("locks: an integer is not allowed: one of"));
  EXPECT_THAT(error_of(kModule + "init_timeout_ms = 600001\n" + kSlot), HasSubstr("1 to 600000"));
}

TEST(Config, ValuesBeyondThirtyTwoBitsAreNotWrapped) {
  EXPECT_THAT(slot_error("sessions_max = 4294967304"), HasSubstr("4294967304 is not allowed: 1 to 4096"));
  EXPECT_THAT(slot_error("pin = { fd = 4294967299 }"), HasSubstr("4294967299 is not allowed: 0 to 65535"));
}

TEST(Config, AWeightMustBeANumberAboveZero) {
  EXPECT_THAT(slot_error("concurrency_max = 0"), HasSubstr("concurrency_max: 0 is not allowed: 1 to 4096"));
  EXPECT_THAT(slot_error("concurrency_min = 17"),
              HasSubstr("concurrency_min: 17 is not allowed: 1 to sessions_max, which is 16"));
  EXPECT_THAT(slot_error("concurrency_min = 3\nconcurrency_max = 2"),
              HasSubstr("concurrency_min: 3 is not allowed: 1 to concurrency_max, which is 2"));
  for (const std::string weight : {"0", "-1.5", "nan", "inf", "1000.1"}) {
    EXPECT_THAT(slot_error("weight = " + weight), HasSubstr("is not allowed: above 0, at most 1000")) << weight;
  }
}

TEST(Config, AWrongTypeNamesTheTypeThatIsDue) {
  EXPECT_EQ(slot_error("sessions_max = \"8\""),
            "hsmux.toml:6: slot.sessions_max: a string is not allowed: an integer, 1 to 4096");
  EXPECT_THAT(slot_error("serial = 1234"), HasSubstr("slot.serial: an integer is not allowed: a string"));
  EXPECT_THAT(slot_error("read_write = 1"), HasSubstr("an integer is not allowed: true or false"));
  EXPECT_THAT(slot_error("weight = 1979-05-27"), HasSubstr("a date or time is not allowed: a number"));
  EXPECT_THAT(error_of("algorithms = \"all\"\n" + kModule + kSlot), HasSubstr("an array of strings"));
  EXPECT_THAT(error_of("algorithms = [1]\n" + kModule + kSlot), HasSubstr("an integer is not allowed: a string"));
  EXPECT_THAT(error_of(kModule + "environment = [\"A=b\"]\n" + kSlot), HasSubstr("a table of strings"));
}

TEST(Config, AnUnknownKeyListsTheKeysOfItsTable) {
  EXPECT_EQ(
      slot_error("sesions_max = 8"),
      "hsmux.toml:6: slot.sesions_max: unknown key: allowed here: name, module, token_label, serial, slot_id, uri, "
      "pin, login_at_token, allow_pin_count_low, sessions_min, sessions_max, concurrency_min, concurrency_max, weight, "
      "session_copies, "
      "read_write");
  EXPECT_THAT(slot_error("[deadline]\n"), HasSubstr("allowed here: module, slot, deadlines, submit, keys, "));
  EXPECT_THAT(error_of(kModule + "timeout = 1\n" + kSlot),
              StartsWith("hsmux.toml:3: module.soft.timeout: unknown key"));
}

TEST(Config, ControlCharactersOfAKeyDoNotReachTheError) {
  EXPECT_THAT(slot_error("\"a\\nb\\u001b\" = 1"), AllOf(HasSubstr("slot.a?b?: unknown key"), Not(HasSubstr("\n"))));
}

TEST(Config, AnEmptyFileSaysWhatToGive) {
  for (const std::string text : {"", "\n", "# nothing\n"}) {
    EXPECT_EQ(error_of(text), "hsmux.toml: it says nothing: give at least one [module.NAME] and one [[slot]]");
  }
}

TEST(Config, AFileWithoutModuleOrSlotSaysSo) {
  EXPECT_THAT(error_of(kSlot), StartsWith("hsmux.toml: module: missing"));
  EXPECT_THAT(error_of(kModule), StartsWith("hsmux.toml: slot: missing"));
  EXPECT_THAT(error_of("[module.soft]\n" + kSlot), StartsWith("hsmux.toml:1: module.soft.path: missing"));
  EXPECT_THAT(error_of(kModule + "[[slot]]\ntoken_label = \"x\"\n"), StartsWith("hsmux.toml:3: slot.name: missing"));
}

TEST(Config, ASingleTableInsteadOfAListIsExplained) {
  EXPECT_THAT(error_of(kModule + "[slot]\nname = \"a\"\n"), HasSubstr("write [[slot]] for each"));
  EXPECT_THAT(error_of("[module]\npath = \"x\"\n" + kSlot), HasSubstr("write [module.NAME] for each"));
}

TEST(Config, TooManyModulesOrSlotsAreRefused) {
  std::string modules, slots;
  for (int i = 0; i < 17; ++i) modules += "[module.m" + std::to_string(i) + "]\npath = \"x.so\"\n";
  EXPECT_THAT(error_of(modules + kSlot), HasSubstr("module: 17 are not allowed: at most 16"));
  for (int i = 0; i < 65; ++i) slots += "[[slot]]\nname = \"s\"\nslot_id = 1\n";
  EXPECT_THAT(error_of(kModule + slots), HasSubstr("slot: 65 are not allowed: at most 64"));
}

TEST(Config, NamesAreBoundedInLengthAndCharacters) {
  for (const std::string name : {"", "a b", "a/b", "\u00e4", "a:b", "123456789012345678901234567890123"}) {
    EXPECT_THAT(error_of(kModule + "[[slot]]\nname = \"" + name + "\"\nslot_id = 1\n"), HasSubstr("slot.name")) << name;
    EXPECT_THAT(error_of("[module.\"" + name + "\"]\npath = \"x\"\n" + kSlot), HasSubstr("this name is not allowed"))
        << name;
  }
  EXPECT_TRUE(parse(kModule + "[[slot]]\nname = \"A_.-9\"\nslot_id = 1\n"));
}

TEST(Config, SlotNamesAreUnique) {
  EXPECT_EQ(error_of(kModule + kSlot + "[[slot]]\nname = \"a\"\ntoken_label = \"other\"\n"),
            "hsmux.toml:7: slot.name: 'a' is there twice: every slot has its own name");
}

TEST(Config, TwoSlotsThatSelectAlikeAreRefused) {
  EXPECT_EQ(error_of(kModule + kSlot + "[[slot]]\nname = \"b\"\ntoken_label = \"hsm-a\"\n"),
            "hsmux.toml:6: slot: it means the same token as slot 'a': one slot per token");
}

TEST(Config, EqualLabelsInDifferentModulesAreDifferentTokens) {
  EXPECT_TRUE(parse(kModule + "[module.other]\npath = \"other.so\"\n" +
                    "[[slot]]\nname = \"a\"\nmodule = \"soft\"\ntoken_label = \"x\"\n" +
                    "[[slot]]\nname = \"b\"\nmodule = \"other\"\ntoken_label = \"x\"\n"));
}

TEST(Config, TheModuleOfASlotMustExist) {
  EXPECT_EQ(slot_error("module = \"sofd\""), "hsmux.toml:6: slot.module: there is no [module.sofd]: one of soft");
}

TEST(Config, WithSeveralModulesEachSlotNamesItsOwn) {
  EXPECT_THAT(error_of(kModule + "[module.other]\npath = \"x\"\n" + kSlot),
              StartsWith("hsmux.toml:5: slot.module: missing: one of other, soft"));
}

TEST(Config, ASlotWithoutASelectorIsRefused) {
  EXPECT_EQ(error_of(kModule + "[[slot]]\nname = \"a\"\n"),
            "hsmux.toml:3: slot: give at least one of token_label, serial, slot_id, or uri");
}

TEST(Config, AUriStandsAlone) {
  EXPECT_TRUE(parse(kModule + "[[slot]]\nname = \"a\"\nuri = \"pkcs11:token=x\"\n"));
  EXPECT_THAT(slot_error("uri = \"pkcs11:token=x\""),
              StartsWith("hsmux.toml:6: slot.uri: uri is not allowed together with token_label, serial or slot_id"));
}

TEST(Config, AWrongUriIsRefusedWithItsLine) {
  EXPECT_THAT(error_of(kModule + "[[slot]]\nname = \"a\"\nuri = \"pkcs11:token=x;object=k\"\n"),
              StartsWith("hsmux.toml:5: slot.uri: the URI of a slot: it may only name a token"));
}

TEST(Config, APinInAUriIsRefusedAndNotShown) {
  EXPECT_THAT(error_of(kModule + "[[slot]]\nname = \"a\"\nuri = \"pkcs11:token=x?pin-value=73501\"\n"),
              AllOf(HasSubstr("pin-value in a URI is refused"), Not(HasSubstr("73501"))));
}

TEST(Config, EachPinSourceIsRead) {
  const auto pin = [](const std::string& table) {
    return parse(kModule + kSlot + "pin = " + table + "\n").value().slots[0].pin.value();
  };
  EXPECT_EQ(std::get<PinFromEnvironment>(pin("{ env = \"HSM_PIN\" }")).variable, "HSM_PIN");
  EXPECT_EQ(std::get<PinFromDescriptor>(pin("{ fd = 3 }")).fd, 3);
  EXPECT_EQ(std::get<PinFromPrompt>(pin("{ prompt = true }")).text, "PIN of slot a");
  EXPECT_FALSE(std::get<PinFromFile>(pin("{ file = \"/x\" }")).allow_group_read);
}

TEST(Config, APinInClearIsRefusedAndNotShown) {
  for (const std::string line :
       {"pin = \"73501\"", "pin = 73501", "pin = { value = \"73501\" }", "pin = [\"73501\"]", "pin.value = 73501"}) {
    EXPECT_THAT(slot_error(line), AllOf(StartsWith("hsmux.toml:6: slot.pin: a PIN in clear is refused"),
                                        HasSubstr("{ env = \"VARIABLE\" }"), Not(HasSubstr("73501"))))
        << "variant of the key pin";
  }
}

TEST(Config, AnUnknownKeyOfThePinTableIsNotShown) {
  EXPECT_THAT(slot_error("pin = { 73501 = true }"),
              AllOf(HasSubstr("allowed here: env, file, fd, prompt, allow_group_read"), Not(HasSubstr("73501"))));
}

TEST(Config, BrokenTomlNamesTheLineAndDoesNotQuoteIt) {
  for (const std::string line :
       {"pin = 73501735017350173501", "pin = \"73501", "pin = 73501x", "pin = '73501' '73501'", "pin = 0073501",
        "pin = { env = 73501 73501 }", "pin = tru73501", "pin = \"\\q73501\"", "pin = 73501-73501", "73501"}) {
    EXPECT_THAT(slot_error(line),
                AllOf(StartsWith("hsmux.toml:"), HasSubstr("this is not TOML"), Not(HasSubstr("735"))))
        << "variant of a broken line";
  }
  EXPECT_THAT(slot_error("pin = 73501x"), StartsWith("hsmux.toml:6: "));
}

TEST(Config, ExactlyOnePinSourceIsGiven) {
  for (const std::string table :
       {"{ }", "{ env = \"A\", file = \"b\" }", "{ fd = 3, prompt = true }", "{ allow_group_read = true }"}) {
    EXPECT_THAT(slot_error("pin = " + table), HasSubstr("exactly one of env, file, fd and prompt")) << table;
  }
}

TEST(Config, PinSettingsThatMeanNothingAreRefused) {
  EXPECT_THAT(slot_error("pin = { prompt = false }"), HasSubstr("prompt: false is not allowed"));
  EXPECT_THAT(slot_error("pin = { env = \"A\", allow_group_read = true }"),
              HasSubstr("only allowed together with file"));
  EXPECT_THAT(slot_error("pin = { env = \"1A\" }"), HasSubstr("slot.pin.env: this is not a variable's name"));
  EXPECT_THAT(slot_error("pin = { file = \"\" }"), HasSubstr("slot.pin.file: an empty string is not allowed"));
}

TEST(Config, TwoSlotsDoNotShareADescriptor) {
  EXPECT_THAT(error_of(kModule + kSlot + "pin = { fd = 3 }\n[[slot]]\nname = \"b\"\nslot_id = 2\npin = { fd = 3 }\n"),
              StartsWith("hsmux.toml:10: slot.pin.fd: descriptor 3 is slot 'a''s"));
}

TEST(Config, PathsAreRelativeToTheFilesFolder) {
  const auto config = parse("[module.soft]\npath = \"lib/x.so\"\nenvironment = { CONF = \"y.conf\" }\n" + kSlot +
                            "pin = { file = \"pin\" }\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->modules[0].path, "/etc/hsmux/lib/x.so");
  EXPECT_EQ(config->modules[0].environment.at("CONF"), "y.conf");
  EXPECT_EQ(std::get<PinFromFile>(config->slots[0].pin.value()).path, "/etc/hsmux/pin");
}

TEST(Config, ABareLibraryNameIsLeftToTheLoader) {
  EXPECT_EQ(parse(kModule + kSlot).value().modules[0].path, "libsofthsm2.so");
}

TEST(Config, VariablesThatSteerTheLoaderAreRefusedWithAReason) {
  for (const std::string variable : {"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "PATH"}) {
    EXPECT_THAT(
        error_of(kModule + "environment = { " + variable + " = \"x\" }\n" + kSlot),
        AllOf(StartsWith("hsmux.toml:3: module.soft.environment." + variable), HasSubstr("not allowed here: ")));
  }
  EXPECT_TRUE(parse(kModule + "environment = { PATHS = \"x\", LDAP = \"y\" }\n" + kSlot));
}

TEST(Config, AVariableMustHaveAName) {
  for (const std::string variable : {"\"\"", "1A", "A-B", "\"A=B\"", "\"A B\""}) {
    EXPECT_THAT(error_of(kModule + "environment = { " + variable + " = \"x\" }\n" + kSlot),
                StartsWith("hsmux.toml:3: module.soft.environment."))
        << variable;
  }
}

TEST(Config, NulBytesInStringsAreRefused) {
  EXPECT_EQ(slot_error("serial = \"a\\u0000b\""), "hsmux.toml:6: slot.serial: a NUL byte is not allowed");
  EXPECT_THAT(error_of("[module.soft]\npath = \"a\\u0000b\"\n" + kSlot), HasSubstr("module.soft.path: a NUL byte"));
  EXPECT_THAT(error_of(kModule + "environment = { A = \"\\u0000\" }\n" + kSlot),
              HasSubstr("environment.A: a NUL byte"));
  EXPECT_THAT(slot_error("pin = { file = \"a\\u0000\" }"), HasSubstr("slot.pin.file: a NUL byte"));
}

TEST(Config, ABareNulByteIsRefused) { EXPECT_THAT(error_of(kModule + std::string(1, '\0')), HasSubstr("not TOML")); }

TEST(Config, LongStringsAreRefused) {
  EXPECT_THAT(slot_error("serial = \"" + std::string(4097, 'x') + "\""), HasSubstr("more than 4096 bytes"));
}

TEST(Config, TextThatIsNotUtf8IsRefused) { EXPECT_THAT(slot_error("serial = \"\xff\xfe\""), HasSubstr("not TOML")); }

TEST(Config, DeeplyDottedKeysAreRefusedBeforeTheyAreParsed) {
  std::string dotted = "a";
  for (int i = 0; i < 100'000; ++i) dotted += ".a";
  EXPECT_THAT(slot_error(dotted + " = 1"), StartsWith("hsmux.toml:6: more than 32 dots in one line"));
}

TEST(Config, TheDeepestTextThatIsParsedEndsInAnError) {
  std::string dotted = "a";
  for (int i = 0; i < 30; ++i) dotted += ".a";
  std::string text = dotted + " = ";
  for (int i = 0; i < 200; ++i) text += "[\n{" + dotted + " = ";
  EXPECT_THAT(error_of(text), HasSubstr("not TOML"));
}

TEST(Config, DotsInACommentAreNotCounted) { EXPECT_TRUE(parse("# " + std::string(80, '.') + "\n" + kModule + kSlot)); }

TEST(Config, PlacementMayNameSlots) {
  const auto config = parse(kModule + kSlot + "[keys]\nplacement = [\"a\"]\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->keys.placement.kind, Placement::kSlots);
  EXPECT_THAT(config->keys.placement.slots, ElementsAre("a"));
}

TEST(Config, PlacementOnUnknownRepeatedOrNoSlotsIsRefused) {
  EXPECT_EQ(slot_error("[keys]\nplacement = [\n\"a\",\n\"z\"]"),
            "hsmux.toml:9: keys.placement: there is no slot 'z': one of a");
  EXPECT_THAT(slot_error("[keys]\nplacement = [\"a\", \"a\"]"), HasSubstr("slot 'a' is there twice"));
  EXPECT_THAT(slot_error("[keys]\nplacement = []"), HasSubstr("keys.placement: an empty array is not allowed"));
  EXPECT_THAT(slot_error("[keys]\nplacement = \"some\""), HasSubstr("'some' is not allowed: \"all\", \"quorum\" or"));
  EXPECT_THAT(slot_error("[keys]\nplacement = 2"), HasSubstr("an integer is not allowed: \"all\", \"quorum\" or"));
}

TEST(Config, QuorumGoesWithPlacementQuorumAlways) {
  EXPECT_THAT(slot_error("[keys]\nplacement = \"quorum\""),
              StartsWith("hsmux.toml:6: keys.quorum: missing: placement = \"quorum\" needs it: 1 to 1"));
  EXPECT_EQ(slot_error("[keys]\nquorum = 1"), "hsmux.toml:7: keys.quorum: only allowed with placement = \"quorum\"");
}

TEST(Config, AQuorumOfMoreThanAllSlotsIsRefused) {
  EXPECT_EQ(slot_error("[keys]\nplacement = \"quorum\"\nquorum = 2"),
            "hsmux.toml:8: keys.quorum: 2 is not allowed: 1 to 1, the number of slots");
}

TEST(Config, AlgorithmsAreNamedOnceAndNotEmpty) {
  EXPECT_THAT(error_of("algorithms = [\"x\",\n\"x\"]\n" + kModule + kSlot),
              StartsWith("hsmux.toml:2: algorithms: 'x' is there twice"));
  EXPECT_EQ(error_of("algorithms = [\"x\",\n\"\"]\n" + kModule + kSlot),
            "hsmux.toml:2: algorithms: an empty string is not allowed");
}

TEST(Config, AFilledInConfigurationIsCheckedByTheSameRules) {
  EXPECT_EQ(check_error(filled()), "no error");
  Config config = filled();
  config.slots[0].sessions_max = 0;
  EXPECT_EQ(check_error(config), "setup: slot[1].sessions_max: 0 is not allowed: 1 to 4096");
}

TEST(Config, AFilledInConfigurationMustNameItsModule) {
  Config config = filled();
  config.slots[0].module.clear();
  EXPECT_EQ(check_error(config), "setup: slot[1].module: missing: one of soft");
}

TEST(Config, AFilledInModuleNameIsUnique) {
  Config config = filled();
  config.modules.push_back(config.modules[0]);
  EXPECT_EQ(check_error(config), "setup: module.soft: a module of this name is there twice");
}

TEST(Config, AFilledInPinValueMustExist) {
  Config config = filled();
  config.slots[0].pin = PinFromValue{};
  EXPECT_THAT(check_error(config), HasSubstr("slot[1].pin: a value without a PIN"));
}

TEST(Config, SharesAndSocketPathsHaveBounds) {
  Config config = filled();
  config.self_check.verify_share = 1.5;
  EXPECT_THAT(check_error(config), HasSubstr("self_check.verify_share: 1.5 is not allowed: 0 to 1"));
  config.self_check.verify_share = 1;
  config.admin.socket = "/" + std::string(100, 's');
  EXPECT_THAT(check_error(config), HasSubstr("admin.socket: the path has 101 bytes: at most 100"));
  config.admin.socket = "";
  EXPECT_THAT(check_error(config), HasSubstr("admin.socket"));
}

TEST(Config, TheExamplesOfTheDocumentationAreAccepted) {
  const auto source = std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
  std::ifstream file(source / "docs/configuration.md");
  std::string line, example;
  int examples = 0;
  while (std::getline(file, line) && line != "```toml") {
  }
  for (; file; std::getline(file, line)) {
    if (line == "```toml") example.clear();
    if (!line.starts_with("```")) example += line + "\n";
    if (line != "```") continue;
    const auto config = parse(example);
    EXPECT_TRUE(config) << config.error().message;
    ++examples;
  }
  EXPECT_EQ(examples, 2);
}

class ConfigFile : public ::testing::Test {
protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "hsmux-config-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& text) {
    std::ofstream(folder_ / "hsmux.toml") << text;
    return (folder_ / "hsmux.toml").string();
  }

  std::filesystem::path folder_;
};

TEST_F(ConfigFile, ItsFolderIsWhatRelativePathsStartFrom) {
  const auto config = read_config(write("[module.soft]\npath = \"./x.so\"\n" + kSlot));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->modules[0].path, folder_.string() + "/./x.so");
}

TEST_F(ConfigFile, ItsNameStandsInErrors) {
  const std::string path = write("x = 1\n");
  EXPECT_THAT(read_config(path).error().message, StartsWith(path + ":1: x: unknown key"));
}

TEST_F(ConfigFile, AMissingFileIsAnIoErrorWithTheSystemsReason) {
  const std::string path = (folder_ / "absent.toml").string();
  const auto config = read_config(path);
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().kind, ErrorKind::kIo);
  EXPECT_THAT(config.error().message, AllOf(HasSubstr(path), HasSubstr("No such file or directory")));
}

TEST_F(ConfigFile, AFileOverOneMebibyteIsRefused) {
  const auto config = read_config(write(std::string(1024 * 1024 + 1, '\n')));
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().kind, ErrorKind::kIo);
  EXPECT_THAT(config.error().message, HasSubstr("larger than 1048576 bytes"));
}

TEST_F(ConfigFile, AFileOfExactlyOneMebibyteIsRead) {
  const std::string text = kModule + kSlot;
  EXPECT_TRUE(read_config(write(text + std::string(1024 * 1024 - text.size(), '\n'))));
}

TEST_F(ConfigFile, AFolderOrAFifoIsNotAConfiguration) {
  const std::string fifo = (folder_ / "fifo").string();
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const std::string& path : {folder_.string(), fifo}) {
    const auto config = read_config(path);
    ASSERT_FALSE(config);
    EXPECT_EQ(config.error().kind, ErrorKind::kIo);
    EXPECT_THAT(config.error().message, HasSubstr("not a regular file"));
  }
}

} // namespace
} // namespace hsmux
