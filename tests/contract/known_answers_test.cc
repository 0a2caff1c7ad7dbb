// Published vectors (tests/vectors) through the engine, with their keys imported into a token.
#include "mechanisms/parameters.h"
#include "mechanisms/software_key.h"
#include "tests/contract/contract.h"
#include "tests/vectors/vectors.h"

namespace hsmux {
namespace {

class KnownAnswers : public OneSlot {
protected:
  // Opens an engine for one algorithm, by the recipe that `hidden` (a CKM_) leaves, or skips the test.
  void open_for(Algorithm algorithm, std::optional<unsigned long> hidden = std::nullopt) {
    if (hidden) sim_->hide_mechanism(*hidden);
    algorithm_ = algorithm;
    open("algorithms = ['" + std::string(spec_of(algorithm).name) + "']");
    if (engine_ && recipe(0, algorithm).empty()) GTEST_SKIP() << recipe_reason(0, algorithm);
  }
  // The vector's key, imported unless it was the one before.
  std::string key_of(const Vector& vector) {
    if (vector.text("key") == imported_) return name_;
    const auto key = software_key_from_pkcs8(vector.bytes("key"));
    if (!key) {
      ADD_FAILURE() << vector.comment << ": " << why(key);
      return "";
    }
    const Bytes id = random_data(16);
    import_key(0, spec_of(algorithm_), *key, id, "known");
    imported_ = vector.text("key");
    return name_ = "id:" + to_hex(id);
  }
  Result<Bytes> sign(const Vector& vector) {
    return engine().sign({.key = key_of(vector),
                          .algorithm = algorithm_,
                          .message = vector.bytes("message"),
                          .prehashed = false,
                          .options = {}});
  }
  bool verifies(const Vector& vector, const Bytes& signature) {
    return engine()
        .verify({.key = key_of(vector),
                 .algorithm = algorithm_,
                 .message = vector.bytes("message"),
                 .prehashed = false,
                 .signature = signature,
                 .options = {}})
        .has_value();
  }
  // Deterministic signatures; the number of them.
  int signatures_are_those_of(const char* file) {
    int count = 0;
    for (const Vector& vector : read_vectors(file)) {
      if (vector.text("key").empty()) continue;
      const auto signature = sign(vector);
      EXPECT_TRUE(signature.has_value()) << vector.comment << ": " << why(signature);
      EXPECT_EQ(signature.value_or(Bytes{}), vector.bytes("signature")) << vector.comment;
      EXPECT_TRUE(verifies(vector, vector.bytes("signature"))) << vector.comment;
      ++count;
    }
    return count;
  }
  int decryptions_are_those_of(const char* file) {
    int count = 0;
    for (const Vector& vector : read_vectors(file)) {
      const auto opened = decrypt(key_of(vector), algorithm_, vector.bytes("ciphertext"));
      if (vector.valid()) {
        EXPECT_TRUE(opened.has_value()) << vector.comment << ": " << why(opened);
        EXPECT_EQ(opened.value_or(Bytes{}), vector.bytes("plaintext")) << vector.comment;
      } else {
        EXPECT_EQ(error_of(opened).text(), decrypt_failed().text()) << vector.comment;
      }
      ++count;
    }
    return count;
  }

  Algorithm algorithm_{};

private:
  std::string imported_, name_;
};

TEST_F(KnownAnswers, EcdsaKeysHaveTheirPublicHalvesAndSignatures) {
  for (const Vector& vector : read_vectors("ecdsa-keys.txt")) {
    open_for(vector.text("curve") == "p256" ? Algorithm::kEcdsaP256Sha256 : Algorithm::kEcdsaP384Sha384);
    const auto spki = engine().public_key(key_of(vector));
    ASSERT_TRUE(spki.has_value()) << why(spki);
    EXPECT_EQ(*spki, vector.bytes("public"));
    EXPECT_TRUE(verifies(vector, vector.bytes("signature"))) << vector.comment;
    const auto signature = sign(vector);
    ASSERT_TRUE(signature.has_value()) << why(signature);
    EXPECT_NE(*signature, vector.bytes("signature")) << "r is random";
    EXPECT_TRUE(verifies(vector, *signature)) << vector.comment;
  }
}

TEST_F(KnownAnswers, Ed25519SignaturesAreThoseOfRfc8032) {
  open_for(Algorithm::kEd25519);
  EXPECT_EQ(signatures_are_those_of("ed25519.txt"), 3);
}

TEST_F(KnownAnswers, Pkcs1SignaturesAreTheSameForEverySizeOfKey) {
  open_for(Algorithm::kRsaPkcs1Sha256);
  EXPECT_EQ(recipe(0, algorithm_), "host-digest+CKM_RSA_PKCS");
  EXPECT_EQ(signatures_are_those_of("rsa-pkcs1.txt"), 8);
}

TEST_F(KnownAnswers, Pkcs1SignaturesOfTokensThatHashAreTheSame) {
  open_for(Algorithm::kRsaPkcs1Sha256, CKM_RSA_PKCS);
  if (IsSkipped()) return;
  EXPECT_EQ(recipe(0, algorithm_), "CKM_SHA256_RSA_PKCS");
  EXPECT_EQ(signatures_are_those_of("rsa-pkcs1.txt"), 8);
}

// Their salts are random: the vectors' keys make signatures that the check with known signatures (unit tests) accepts.
TEST_F(KnownAnswers, PssSignaturesOfEverySizeOfKeyAndEitherRecipeAreValid) {
  for (const std::optional<unsigned long> hidden : {std::optional<unsigned long>(), {CKM_RSA_PKCS_PSS}}) {
    open_for(Algorithm::kRsaPssSha256, hidden);
    if (IsSkipped()) return;
    for (const Vector& vector : read_vectors("rsa-pkcs1.txt")) {
      if (vector.text("key").empty()) continue;
      const auto signature = sign(vector);
      ASSERT_TRUE(signature.has_value()) << vector.comment << ": " << why(signature);
      EXPECT_EQ(8 * signature->size(), std::stoul(vector.text("bits")));
      EXPECT_TRUE(verifies(vector, *signature)) << vector.comment;
      EXPECT_FALSE(verifies(vector, vector.bytes("signature"))) << "that is one of PKCS #1 v1.5";
    }
  }
}

TEST_F(KnownAnswers, OaepOpensWhatIsValidAndNothingElse) {
  open_for(Algorithm::kRsaOaepSha256);
  EXPECT_GT(decryptions_are_those_of("rsa-oaep.txt"), 25);
}

TEST_F(KnownAnswers, OaepOnTheHostOpensWhatIsValidAndNothingElse) {
  open_for(Algorithm::kRsaOaepSha256, CKM_RSA_PKCS_OAEP);
  EXPECT_EQ(recipe(0, algorithm_), "CKM_RSA_X_509+host-OAEP");
  EXPECT_GT(decryptions_are_those_of("rsa-oaep.txt"), 25);
}

TEST_F(KnownAnswers, EciesOpensWhatBouncyCastleSealed) {
  open_for(Algorithm::kEciesP256);
  EXPECT_EQ(decryptions_are_those_of("ecies.txt"), 8);
}

// The engine's envelope has an AAD of its own: the same calls, below it.
TEST_F(KnownAnswers, GcmGivesTheCiphertextsAndTagsOfTheVectors) {
  open();
  Session own = session(0);
  for (const Vector& vector : read_vectors("aes-gcm.txt")) {
    // SoftHSM 2.6.1 touches an AAD of no bytes, which hsmux never gives.
    if (vector.text("aad").empty()) continue;
    const bool small = vector.text("bits") == "128";
    AesParts parts{SecureBytes(small ? 16 : 32)};
    std::ranges::copy(vector.bytes("key"), parts.value.span().begin());
    const AlgorithmSpec& spec = spec_of(small ? Algorithm::kAes128Gcm : Algorithm::kAes256Gcm);
    const auto made = import_into_token(
        own, {.spec = &spec, .bits = 0, .id = Bytes{1}, .label = "known", .token_object = false}, std::move(parts));
    ASSERT_TRUE(made.has_value()) << why(made);
    const Bytes iv = vector.bytes("iv"), aad = vector.bytes("aad"), plaintext = vector.bytes("plaintext");
    const Bytes sealed = *from_hex(vector.text("ciphertext") + vector.text("tag"));
    const GcmMechanism gcm(standard_quirks(), iv, aad);
    Bytes out(sealed.size() + 16);
    const auto opened = own.decrypt(gcm.mechanism, made->handle, sealed, out);
    EXPECT_EQ(opened.has_value(), vector.valid()) << vector.comment;
    if (vector.valid()) {
      EXPECT_EQ(Bytes(out.begin(), out.begin() + static_cast<long>(opened.value_or(0))), plaintext) << vector.comment;
      const auto written = own.encrypt(gcm.mechanism, made->handle, plaintext, out);
      ASSERT_TRUE(written.has_value()) << vector.comment << ": " << why(written);
      EXPECT_EQ(Bytes(out.begin(), out.begin() + static_cast<long>(*written)), sealed) << vector.comment;
    }
    EXPECT_TRUE(own.destroy(made->handle).has_value());
  }
}

} // namespace
} // namespace hsmux
