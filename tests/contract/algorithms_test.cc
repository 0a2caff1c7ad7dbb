// Every row of the spec table does what it says, with keys made in the token and with the same key in two slots.
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "mechanisms/openssl_handles.h"
#include "mechanisms/spki.h"
#include "tests/contract/contract.h"

namespace hsmux {
namespace {

using testing::HasSubstr;

bool openssl_verifies(const AlgorithmSpec& spec, const Bytes& spki, const Bytes& message, const Bytes& signature) {
  const unsigned char* at = spki.data();
  const openssl::Key key(d2i_PUBKEY(nullptr, &at, static_cast<long>(spki.size())));
  const openssl::DigestContext context(EVP_MD_CTX_new());
  const EVP_MD* hash = !spec.hash ? nullptr : *spec.hash == Hash::kSha384 ? EVP_sha384() : EVP_sha256();
  const bool pss = spec.algorithm == Algorithm::kRsaPssSha256;
  EVP_PKEY_CTX* parameters = nullptr; // the context's own
  const bool valid =
      EVP_DigestVerifyInit(context.get(), &parameters, hash, nullptr, key.get()) == 1 &&
      (!pss || (EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1 &&
                EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) == 1)) &&
      EVP_DigestVerify(context.get(), signature.data(), signature.size(), message.data(), message.size()) == 1;
  ERR_clear_error();
  return valid;
}

class EveryAlgorithm : public Contract, public testing::WithParamInterface<std::size_t> {
protected:
  [[nodiscard]] static const AlgorithmSpec& spec() { return spec_table()[GetParam()]; }
  void open_for_this() { open("algorithms = ['" + std::string(spec().name) + "']"); }

  Result<Bytes> sign_by(Algorithm algorithm, KeyName key, const Bytes& message) {
    return engine().sign({.key = key, .algorithm = algorithm, .message = message, .prehashed = false, .options = {}});
  }
  Result<Bytes> sign_in(std::string_view slot, KeyName key, const Bytes& message, bool prehashed = false) {
    return engine().sign({.key = key,
                          .algorithm = spec().algorithm,
                          .message = message,
                          .prehashed = prehashed,
                          .options = {.deadline = {}, .slot = slot}});
  }
  Status verify(KeyName key, const Bytes& message, const Bytes& signature) {
    return engine().verify({.key = key,
                            .algorithm = spec().algorithm,
                            .message = message,
                            .prehashed = false,
                            .signature = signature,
                            .options = {}});
  }
};

class EverySigner : public EveryAlgorithm {};
class EveryHasher : public EveryAlgorithm {};
class EveryCipher : public EveryAlgorithm {};

TEST_P(EveryAlgorithm, KeysMadeInATokenAreWhatTheyWereAskedFor) {
  open_for_this();
  const std::string id = "id:" + make_key_in(1, spec().algorithm, "made here");
  const auto info = engine().find_key(id);
  ASSERT_TRUE(info.has_value()) << why(info);
  EXPECT_EQ(info->kind, key_kind_name(spec().key));
  EXPECT_EQ(info->bits, spec().key_bits_default);
  EXPECT_EQ(info->slots, std::vector<std::string>{"slot-1"});
  EXPECT_EQ(engine().public_key(id).has_value(), key_family(spec().key) != KeyFamily::kAes);
}

TEST_P(EverySigner, SignaturesOfEverySlotAreValid) {
  open_for_this();
  make_key(spec().algorithm, "orders");
  const auto spki = engine().public_key("orders");
  ASSERT_TRUE(spki.has_value()) << why(spki);
  for (const std::string_view slot : {"slot-0", "slot-1"}) {
    for (const std::size_t size : {0, 1, 34, 5000}) {
      const Bytes message = random_data(size);
      const auto signature = sign_in(slot, "orders", message);
      ASSERT_TRUE(signature.has_value()) << why(signature);
      EXPECT_LE(signature->size(), Engine::output_bytes_max(spec().algorithm, Operation::kSign, size));
      EXPECT_TRUE(openssl_verifies(spec(), *spki, message, *signature)) << size;
      EXPECT_TRUE(verify("orders", message, *signature).has_value());
      Bytes other = message;
      other.push_back(0);
      EXPECT_EQ(error_of(verify("orders", other, *signature)).kind, ErrorKind::kSignatureInvalid);
    }
  }
}

TEST_P(EverySigner, ManySignaturesAreWellFormed) {
  // Leading zeros and high bits of r and s come up by chance: about one in 128 each.
  open_for_this();
  make_key(spec().algorithm, "orders");
  const auto spki = engine().public_key("orders");
  ASSERT_TRUE(spki.has_value()) << why(spki);
  for (int i = 0; i < 300; ++i) {
    const Bytes message = random_data(16);
    const auto signature = sign_in("slot-0", "orders", message);
    ASSERT_TRUE(signature.has_value()) << why(signature);
    ASSERT_TRUE(openssl_verifies(spec(), *spki, message, *signature)) << to_hex(message) << " " << to_hex(*signature);
  }
}

TEST_P(EverySigner, ADigestIsSignedLikeItsMessageOrRefused) {
  open_for_this();
  make_key(spec().algorithm, "orders");
  const Bytes message = random_data(100);
  Bytes hashed(spec().hash ? hash_bytes(*spec().hash) : 32);
  if (spec().hash) {
    ASSERT_TRUE(digest(*spec().hash, message, hashed).has_value());
  }
  const auto signature = sign_in("slot-0", "orders", hashed, true);
  if (spec().hash) {
    ASSERT_TRUE(signature.has_value()) << why(signature);
    EXPECT_TRUE(verify("orders", message, *signature).has_value());
    hashed.pop_back();
    EXPECT_EQ(error_of(sign_in("slot-0", "orders", hashed, true)).kind, ErrorKind::kInvalidArgument);
  } else {
    EXPECT_EQ(error_of(signature).kind, ErrorKind::kInvalidArgument);
    EXPECT_THAT(error_of(signature).text(), HasSubstr("give the message instead of its digest"));
  }
}

TEST_P(EveryHasher, TheHashedRecipeMakesTheSameKindOfSignature) {
  const RecipeSpec& hashed = spec().recipes[1];
  if (!offered(hashed.mechanism)) GTEST_SKIP() << "the token has no " << hashed.name;
  sim_->hide_mechanism(spec().recipes[0].mechanism);
  open_for_this();
  EXPECT_EQ(recipe(0, spec().algorithm), hashed.name) << recipe_reason(0, spec().algorithm);
  make_key(spec().algorithm, "orders");
  const Bytes message = random_data(5000);
  const auto signature = sign_in("slot-1", "orders", message);
  ASSERT_TRUE(signature.has_value()) << why(signature);
  EXPECT_TRUE(openssl_verifies(spec(), *engine().public_key("orders"), message, *signature));
  const Bytes hash(hash_bytes(*spec().hash));
  EXPECT_EQ(error_of(sign_in("slot-1", "orders", hash, true)).kind, ErrorKind::kUnsupported);
}

TEST_P(EveryCipher, WhatOneSlotEncryptsTheOtherDecrypts) {
  open_for_this();
  make_key(spec().algorithm, "vault");
  for (const std::size_t size : {0, 1, 34, 190}) {
    const Bytes plaintext = random_data(size);
    const auto sealed = engine().encrypt({.key = "vault",
                                          .algorithm = spec().algorithm,
                                          .plaintext = plaintext,
                                          .aad = {},
                                          .options = {.deadline = {}, .slot = "slot-0"}});
    ASSERT_TRUE(sealed.has_value()) << why(sealed);
    const auto opened = engine().decrypt({.key = "vault",
                                          .algorithm = spec().algorithm,
                                          .ciphertext = *sealed,
                                          .aad = {},
                                          .bound_to = {},
                                          .options = {.deadline = {}, .slot = "slot-1"}});
    ASSERT_TRUE(opened.has_value()) << why(opened);
    EXPECT_EQ(*opened, plaintext);
  }
}

TEST_P(EveryAlgorithm, AKeyOfAnotherKindOrPurposeIsRefusedBeforeAnyCall) {
  open_for_this();
  make_key(spec().algorithm, "orders");
  ASSERT_TRUE(engine().find_key("orders").has_value()); // looks it up in the slots, and compares its replicas
  for (const AlgorithmSpec& other : spec_table()) {
    if (share_keys(other, spec())) continue;
    const Bytes data(129);
    std::vector<Error> errors;
    sim_->reset_counts();
    if (other.signs) errors.push_back(error_of(sign_by(other.algorithm, "orders", data)));
    if (other.encrypts) errors.push_back(error_of(encrypt("orders", other.algorithm, data)));
    if (other.decrypts) errors.push_back(error_of(decrypt("orders", other.algorithm, data)));
    for (const Error& error : errors) {
      EXPECT_EQ(error.kind, ErrorKind::kKeyUnusable) << other.name;
      EXPECT_THAT(error.text(),
                  HasSubstr(other.key == spec().key ? "does not permit to" : std::string(key_kind_name(spec().key))))
          << other.name;
    }
    EXPECT_EQ(sim_->count("C_SignInit") + sim_->count("C_EncryptInit") + sim_->count("C_DecryptInit") +
                  sim_->count("C_DeriveKey"),
              0U)
        << other.name;
  }
}

std::vector<std::size_t> rows(bool (*wanted)(const AlgorithmSpec& spec)) {
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < kAlgorithmCount; ++i) {
    if (wanted(spec_table()[i])) all.push_back(i);
  }
  return all;
}
std::string name_of_row(const testing::TestParamInfo<std::size_t>& test) {
  std::string name(spec_table()[test.param].name);
  std::ranges::replace(name, '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(SpecTable, EveryAlgorithm, testing::ValuesIn(rows([](const AlgorithmSpec&) { return true; })),
                         name_of_row);
INSTANTIATE_TEST_SUITE_P(SpecTable, EverySigner,
                         testing::ValuesIn(rows([](const AlgorithmSpec& spec) { return spec.signs; })), name_of_row);
INSTANTIATE_TEST_SUITE_P(SpecTable, EveryCipher,
                         testing::ValuesIn(rows([](const AlgorithmSpec& spec) { return spec.decrypts; })), name_of_row);
INSTANTIATE_TEST_SUITE_P(SpecTable, EveryHasher, testing::ValuesIn(rows([](const AlgorithmSpec& spec) {
                           return spec.signs && spec.recipes.size() > 1;
                         })),
                         name_of_row);

} // namespace
} // namespace hsmux
