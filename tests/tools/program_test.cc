// What the hsmux program does, over tokens of its own making; others (openssl, pkcs11-tool) read its results.
#include <gmock/gmock.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/tools/tokens.h"

namespace hsmux {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::Not;
using testing::StartsWith;

TEST_F(Tokens, AreReadyAtOnceWithTheConfigurationThatWasMade) {
  const Ended ended = run({"slots", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const json slots = json::parse(ended.out).at("slots");
  ASSERT_EQ(slots.size(), 2);
  for (const json& slot : slots) {
    EXPECT_EQ(slot.at("state"), "ready");
    EXPECT_EQ(slot.at("algorithms").size(), 10);
    for (const json& row : slot.at("algorithms")) EXPECT_TRUE(row.at("recipe").is_string()) << row;
  }
}

TEST_F(Tokens, KeepPinsAndKeysToTheirOwner) {
  EXPECT_EQ(mode_of(folder.file("tokens")), 0700);
  EXPECT_EQ(mode_of(folder.file("tokens/tokens")), 0700);
  EXPECT_EQ(mode_of(folder.file("tokens/pins")), 0700);
  EXPECT_EQ(mode_of(folder.file("tokens/pins/hsmux-0.pin")), 0600);
  EXPECT_EQ(mode_of(folder.file("tokens/pins/hsmux-1.so-pin")), 0600);
}

TEST_F(Tokens, HavePinsOfTheirOwn) {
  EXPECT_GE(pin(0).size(), 16);
  EXPECT_NE(pin(0), pin(1));
  EXPECT_NE(pin(0), read_file(folder.file("tokens/pins/hsmux-0.so-pin")));
}

TEST_F(Tokens, MakeSignaturesThatOpensslVerifies) {
  generate("orders", kSign);
  const std::string message = folder.write("message", "one hundred shares");
  const std::string signature = folder.file("signature"), pem = folder.file("orders.pem");
  Ended ended = run({"sign", "--key", "orders", "--algorithm", kSign, "--in", message, "--out", signature});
  ASSERT_EQ(ended.code, 0) << ended.err;
  ended = run({"keys", "public-key", "orders", "--out", pem});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const Ended verified =
      hsmux::run(folder, {"openssl", "dgst", "-sha256", "-verify", pem, "-signature", signature, message});
  EXPECT_EQ(verified.code, 0) << verified.out << verified.err;
}

TEST_F(Tokens, SignADigestLikeItsMessage) {
  generate("orders", kSign);
  const std::string message = folder.write("message", "one hundred shares");
  const std::string digest = folder.file("digest");
  ASSERT_EQ(hsmux::run(folder, {"openssl", "dgst", "-sha256", "-binary", "-out", digest, message}).code, 0);
  const Ended made = run({"sign", "--key", "orders", "--algorithm", kSign, "--digest", "--in", digest});
  ASSERT_EQ(made.code, 0) << made.err;
  const std::string signature = folder.write("signature", made.out);
  const Ended ended =
      run({"verify", "--key", "orders", "--algorithm", kSign, "--in", message, "--signature", signature});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.out, "valid\n");
}

TEST_F(Tokens, HoldTheSameKey) {
  generate("orders", kSign);
  const std::string signature = folder.file("signature");
  Surroundings message;
  message.input = "one hundred shares";
  Ended ended =
      run({"sign", "--slot", "hsmux-0", "--key", "orders", "--algorithm", kSign, "--out", signature}, message);
  ASSERT_EQ(ended.code, 0) << ended.err;
  ended =
      run({"verify", "--slot", "hsmux-1", "--key", "orders", "--algorithm", kSign, "--signature", signature}, message);
  EXPECT_EQ(ended.code, 0) << ended.err;
}

TEST_F(Tokens, SayInvalidOfAnothersSignature) {
  generate("orders", kSign);
  Surroundings message;
  message.input = "one hundred shares";
  const std::string signature = folder.file("signature");
  ASSERT_EQ(run({"sign", "--key", "orders", "--algorithm", kSign, "--out", signature}, message).code, 0);
  message.input = "two hundred shares";
  const std::vector<std::string> verify{"verify", "--key", "orders", "--algorithm", kSign, "--signature", signature};
  Ended ended = run(verify, message);
  EXPECT_EQ(ended.code, 1);
  EXPECT_EQ(ended.out, "invalid\n");
  std::vector<std::string> as_json = verify;
  as_json.emplace_back("--json");
  ended = run(as_json, message);
  EXPECT_EQ(ended.code, 1);
  EXPECT_EQ(json::parse(ended.out).at("valid"), false);
}

TEST_F(Tokens, DecryptWhatOpensslEncrypted) {
  generate("mail", kOaep);
  const std::string plaintext = folder.write("plaintext", "meet at noon");
  const std::string pem = folder.file("mail.pem"), ciphertext = folder.file("ciphertext");
  ASSERT_EQ(run({"keys", "public-key", "mail", "--out", pem}).code, 0);
  const Ended encrypted = hsmux::run(folder, {"openssl", "pkeyutl", "-encrypt", "-pubin", "-inkey", pem, "-pkeyopt",
                                              "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt",
                                              "rsa_mgf1_md:sha256", "-in", plaintext, "-out", ciphertext});
  ASSERT_EQ(encrypted.code, 0) << encrypted.err;
  const std::string out = folder.file("decrypted");
  const Ended ended = run({"decrypt", "--key", "mail", "--algorithm", kOaep, "--in", ciphertext, "--out", out});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(read_file(out), "meet at noon");
  EXPECT_EQ(mode_of(out), 0600);
}

TEST_F(Tokens, EncryptAndDecryptFromStandardInputToStandardOutput) {
  generate("vault", kGcm);
  Surroundings plaintext;
  plaintext.input = std::string("both\0halves", 11);
  const Ended encrypted =
      run({"encrypt", "--key", "vault", "--algorithm", kGcm, "--aad-hex", "0a0b", "--in", "-"}, plaintext);
  ASSERT_EQ(encrypted.code, 0) << encrypted.err;
  EXPECT_THAT(encrypted.out, Not(HasSubstr("halves")));
  Surroundings ciphertext;
  ciphertext.input = encrypted.out;
  const std::string aad = folder.write("aad", "\x0a\x0b");
  const Ended ended = run({"decrypt", "--key", "vault", "--algorithm", kGcm, "--aad", aad}, ciphertext);
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.out, plaintext.input);
}

TEST_F(Tokens, RefuseTamperedTextAndWrongAadAlike) {
  generate("vault", kGcm);
  Surroundings text;
  text.input = "both halves";
  const Ended encrypted = run({"encrypt", "--key", "vault", "--algorithm", kGcm, "--aad-hex", "0a0b"}, text);
  ASSERT_EQ(encrypted.code, 0) << encrypted.err;
  text.input = encrypted.out;
  const Ended wrong_aad = run({"decrypt", "--key", "vault", "--algorithm", kGcm, "--aad-hex", "0a0c"}, text);
  text.input.back() = static_cast<char>(text.input.back() ^ 1);
  const Ended tampered = run({"decrypt", "--key", "vault", "--algorithm", kGcm, "--aad-hex", "0a0b"}, text);
  EXPECT_EQ(wrong_aad.code, 8);
  EXPECT_EQ(tampered.code, 8);
  EXPECT_EQ(tampered.err, wrong_aad.err);
  EXPECT_EQ(tampered.out, "");
}

TEST_F(Tokens, HoldKeysThatOpenscSeesAndUsesWithSignaturesThatOpensslVerifies) {
  generate("orders", kSign);
  const std::string message = folder.write("message", "one hundred shares");
  const std::string digest = folder.file("digest"), pem = folder.file("orders.pem");
  ASSERT_EQ(run({"keys", "public-key", "orders", "--out", pem}).code, 0);
  const auto openssl_verifies = [&](const std::string& signature) {
    return hsmux::run(folder, {"openssl", "dgst", "-sha256", "-verify", pem, "-signature", signature, message}).code;
  };
  const std::string ours = folder.file("ours");
  ASSERT_EQ(run({"sign", "--key", "orders", "--algorithm", kSign, "--in", message, "--out", ours}).code, 0);
  EXPECT_EQ(openssl_verifies(ours), 0);

  Surroundings around;
  around.environment = {{"SOFTHSM2_CONF", folder.file("tokens/softhsm2.conf")}, {"TOKEN_PIN", pin(1)}};
  const std::string module = json::parse(run({"slots", "--json"}).out).at("slots").at(0).at("module").at("path");
  const auto pkcs11_tool = [&](const std::vector<std::string>& arguments) {
    std::vector<std::string> argv{"pkcs11-tool", "--module", module,  "--token-label",
                                  "hsmux-1",     "--login",  "--pin", "env:TOKEN_PIN"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return hsmux::run(folder, argv, around);
  };
  const Ended listed = pkcs11_tool({"--list-objects"});
  EXPECT_EQ(listed.code, 0) << listed.err;
  EXPECT_THAT(listed.out, HasSubstr("Private Key Object; EC"));
  EXPECT_THAT(listed.out, HasSubstr("Public Key Object; EC"));
  EXPECT_THAT(listed.out, HasSubstr("orders"));

  const std::string theirs = folder.file("theirs");
  ASSERT_EQ(hsmux::run(folder, {"openssl", "dgst", "-sha256", "-binary", "-out", digest, message}).code, 0);
  const Ended made = pkcs11_tool({"--sign", "--mechanism", "ECDSA", "--label", "orders", "--signature-format",
                                  "openssl", "--input-file", digest, "--output-file", theirs});
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(openssl_verifies(theirs), 0);
  EXPECT_EQ(run({"verify", "--key", "orders", "--algorithm", kSign, "--in", message, "--signature", theirs}).code, 0);
}

TEST_F(Tokens, TellOfTheirKeys) {
  generate("orders", kSign);
  generate("vault", kGcm);
  const json keys = json::parse(run({"keys", "list", "--json"}).out).at("keys");
  ASSERT_EQ(keys.size(), 2);
  EXPECT_EQ(keys[0].at("label"), "orders");
  EXPECT_EQ(keys[1].at("kind"), "aes"); // SoftHSM forgets the length of keys that were unwrapped
  const Ended shown = run({"keys", "show", "id:" + keys[0].at("id").get<std::string>(), "--json"});
  EXPECT_EQ(json::parse(shown.out), keys[0]);
  EXPECT_THAT(json::parse(shown.out).at("slots"), IsSupersetOf({"hsmux-0", "hsmux-1"}));
}

TEST_F(Tokens, SayThatAKeyWasMadeInSoftware) {
  const Ended made = run({"keys", "generate", "orders", "--algorithm", kSign, "--slots", "all", "--software-key"});
  EXPECT_THAT(made.err, HasSubstr("made in software and imported into 2 slots: for development only"));
  EXPECT_THAT(made.out, StartsWith("id:"));
}

TEST_F(Tokens, MakeAKeyInOneSlotWithoutSoftware) {
  const Ended made = run({"keys", "generate", "orders", "--algorithm", kSign, "--slots", "hsmux-1", "--json"});
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(made.err, "");
  EXPECT_EQ(json::parse(made.out).at("software_key"), false);
  EXPECT_EQ(json::parse(made.out).at("slots"), json::array({"hsmux-1"}));
}

TEST_F(Tokens, TakeAQuorumInTwoWords) {
  const Ended made = run({"keys", "generate", "--algorithm", kSign, "--slots", "quorum", "1", "orders", "--json"});
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(json::parse(made.out).at("slots").size(), 1);
}

TEST_F(Tokens, MakeNoSecondKeyOfOneName) {
  generate("orders", kSign);
  std::vector<std::string> again{"keys", "generate", "orders", "--algorithm", kSign, "--slots", "all"};
  const Ended refused = run(again);
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("--allow-duplicate"));
  again.emplace_back("--allow-duplicate");
  EXPECT_EQ(run(again).code, 0);
  EXPECT_EQ(run({"keys", "show", "orders"}).code, 4); // ambiguous now
}

TEST_F(Tokens, LoseAKeyOnlyWhenToldYes) {
  generate("orders", kSign);
  EXPECT_EQ(run({"keys", "delete", "orders"}).code, 2); // nobody to ask
  EXPECT_EQ(run({"keys", "exists", "orders"}).code, 0);
  EXPECT_EQ(run({"keys", "delete", "orders", "--yes"}).code, 0);
  EXPECT_EQ(run({"keys", "exists", "orders"}).code, 1);
}

TEST_F(Tokens, GiveRandomBytes) {
  const Ended hex = run({"random", "--bytes", "20", "--hex"});
  EXPECT_EQ(hex.out.size(), 41);
  EXPECT_NE(hex.out, run({"random", "--bytes", "20", "--hex"}).out);
  EXPECT_EQ(run({"random", "--bytes", "5000"}).out.size(), 5000);
}

TEST_F(Tokens, AreFoundByTheEnvironmentVariable) {
  Surroundings around;
  around.environment["HSMUX_CONFIG"] = config();
  EXPECT_EQ(hsmux::run(folder, {HSMUX_PROGRAM, "keys", "list"}, around).code, 0);
}

TEST_F(Tokens, AreUsedWithGlobalOptionsAfterTheSubcommand) {
  const Ended ended = hsmux::run(folder, {HSMUX_PROGRAM, "keys", "list", "--config", config(), "--json"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(json::parse(ended.out).at("keys").size(), 0);
}

TEST(InitSofthsm, LeavesAFolderAloneThatIsNotEmpty) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.file("mine"));
  folder.write("mine/letter", "dear");
  const Ended ended = run(folder, {HSMUX_PROGRAM, "init-softhsm", folder.file("mine")});
  EXPECT_EQ(ended.code, 2);
  EXPECT_EQ(read_file(folder.file("mine/letter")), "dear");
  EXPECT_FALSE(exists(folder.file("mine/hsmux.toml")));
}

TEST(InitSofthsm, RemovesWhatItMadeWhenItFails) {
  const TemporaryFolder folder;
  const std::string module = folder.write("module.so", "not a library");
  const Ended ended = run(folder, {HSMUX_PROGRAM, "init-softhsm", folder.file("new"), "--module", module});
  EXPECT_EQ(ended.code, 6);
  EXPECT_FALSE(exists(folder.file("new")));
}

TEST(InitSofthsm, MakesATemporaryFolderAndPrintsIt) {
  const TemporaryFolder folder;
  Surroundings around;
  around.environment["XDG_RUNTIME_DIR"] = folder.path();
  const Ended ended = run(folder, {HSMUX_PROGRAM, "init-softhsm", "--temporary", "--slots", "1"}, around);
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.out, StartsWith(folder.path() + "/hsmux-"));
  const std::string config = ended.out.substr(0, ended.out.size() - 1) + "/hsmux.toml";
  EXPECT_EQ(run(folder, {HSMUX_PROGRAM, "--config", config, "keys", "list"}).code, 0);
}

TEST(InitSofthsm, WorksInAFolderWhoseNameNeedsQuoting) {
  const TemporaryFolder folder;
  const std::string name = folder.file("two \"words\" \\ more");
  ASSERT_EQ(run(folder, {HSMUX_PROGRAM, "init-softhsm", name, "--slots", "1"}).code, 0);
  EXPECT_EQ(run(folder, {HSMUX_PROGRAM, "--config", name + "/hsmux.toml", "keys", "list"}).code, 0);
}

} // namespace
} // namespace hsmux
