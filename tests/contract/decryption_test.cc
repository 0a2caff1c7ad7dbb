// Encrypting and decrypting through the engine, and what a ciphertext can and cannot do.
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "mechanisms/envelope.h"
#include "tests/contract/contract.h"

namespace hsmux {
namespace {

using testing::HasSubstr;

class Decryption : public Contract {
protected:
  // Every failure that data can cause looks the same: kind, text, no code, no slot, not retried (promise 8).
  void expect_plain_failure(const Result<Bytes>& result, const std::string& what) {
    ASSERT_FALSE(result.has_value()) << what;
    EXPECT_EQ(result.error().kind, ErrorKind::kDecryptFailed) << what << ": " << result.error().text();
    EXPECT_EQ(result.error().text(), "the ciphertext could not be decrypted with this key [decrypt-failed]") << what;
    EXPECT_EQ(result.error().rv, 0U) << what;
    EXPECT_EQ(result.error().call, Call::kNone) << what;
    EXPECT_EQ(result.error().slot, "") << what;
  }
  // The engine goes on as before, with the same sessions.
  void expect_healthy(const std::string& before, std::string_view key, Algorithm algorithm, const Bytes& ciphertext,
                      const Bytes& plaintext) {
    EXPECT_EQ(picture(), before);
    const auto opened = decrypt(key, algorithm, ciphertext);
    ASSERT_TRUE(opened.has_value()) << why(opened);
    EXPECT_EQ(*opened, plaintext);
  }
};

// --- AES-GCM ---

TEST_F(Decryption, GcmGivesBackWhatWasEncryptedOfEverySize) {
  open();
  make_key(kGcm, "box");
  for (const std::size_t size : {0, 1, 15, 16, 17, 4096, 16'368}) {
    const Bytes plaintext = random_data(size);
    const auto sealed = encrypt("box", kGcm, plaintext);
    ASSERT_TRUE(sealed.has_value()) << why(sealed);
    const auto opened = decrypt("box", kGcm, *sealed);
    ASSERT_TRUE(opened.has_value()) << why(opened);
    EXPECT_EQ(*opened, plaintext);
  }
}

TEST_F(Decryption, EitherSlotDecryptsWhatTheOtherEncrypted) {
  open();
  make_key(kGcm, "box");
  const Bytes plaintext = bytes("secret");
  const auto sealed = engine().encrypt({.key = "box",
                                        .algorithm = kGcm,
                                        .plaintext = plaintext,
                                        .aad = {},
                                        .options = {.deadline = {}, .slot = "slot-0"}});
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  const auto opened = engine().decrypt({.key = "box",
                                        .algorithm = kGcm,
                                        .ciphertext = *sealed,
                                        .aad = {},
                                        .bound_to = {},
                                        .options = {.deadline = {}, .slot = "slot-1"}});
  ASSERT_TRUE(opened.has_value()) << why(opened);
  EXPECT_EQ(*opened, plaintext);
}

TEST_F(Decryption, AnIvIsNeverUsedTwice) {
  open();
  const Bytes id = *from_hex(make_key(kGcm, "box"));
  std::set<Bytes> ivs;
  for (int i = 0; i < 200; ++i) {
    const auto sealed = encrypt("box", kGcm, bytes("same"));
    ASSERT_TRUE(sealed.has_value()) << why(sealed);
    const auto envelope = parse_envelope(*sealed);
    ASSERT_TRUE(envelope.has_value());
    EXPECT_TRUE(std::ranges::equal(envelope->key_id, id));
    ivs.emplace(envelope->iv.begin(), envelope->iv.end());
  }
  EXPECT_EQ(ivs.size(), 200U);
}

TEST_F(Decryption, TheCallersAadIsBound) {
  open();
  make_key(kGcm, "box");
  const Bytes plaintext = bytes("secret"), aad = bytes("order 7"), other = bytes("order 8");
  const auto sealed =
      engine().encrypt({.key = "box", .algorithm = kGcm, .plaintext = plaintext, .aad = aad, .options = {}});
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  const auto with = [&](const Bytes& given) {
    return engine().decrypt(
        {.key = "box", .algorithm = kGcm, .ciphertext = *sealed, .aad = given, .bound_to = {}, .options = {}});
  };
  EXPECT_EQ(with(aad).value_or(Bytes{}), plaintext);
  expect_plain_failure(with(other), "another aad");
  expect_plain_failure(with({}), "no aad");
}

TEST_F(Decryption, WarmGcmCostsOneInitAndOneCallEachWay) {
  open("", "session_copies = 'off'");
  make_key(kGcm, "box");
  Bytes sealed;
  for (int i = 0; i < 20; ++i) {
    sealed = encrypt("box", kGcm, bytes("warm up")).value_or(Bytes{});
    ASSERT_TRUE(decrypt("box", kGcm, sealed).has_value());
  }
  sim_->reset_counts();
  ASSERT_TRUE(encrypt("box", kGcm, bytes("secret")).has_value());
  EXPECT_EQ(sim_->count("C_EncryptInit"), 1U);
  EXPECT_EQ(sim_->count("C_Encrypt"), 1U);
  EXPECT_EQ(sim_->total(), 2U);
  sim_->reset_counts();
  ASSERT_TRUE(decrypt("box", kGcm, sealed).has_value());
  EXPECT_EQ(sim_->count("C_DecryptInit"), 1U);
  EXPECT_EQ(sim_->count("C_Decrypt"), 1U);
  EXPECT_EQ(sim_->total(), 2U);
}

TEST_F(Decryption, EveryTamperedByteOfAnEnvelopeFailsAlike) {
  open();
  const Bytes id = *from_hex(make_key(kGcm, "box"));
  const Bytes plaintext = bytes("attack at dawn");
  const auto sealed = encrypt("box", kGcm, plaintext);
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  const std::string before = picture();
  sim_->reset_counts();
  for (std::size_t i = 0; i < sealed->size(); ++i) {
    Bytes tampered = *sealed;
    tampered[i] ^= 1;
    const auto opened = decrypt("box", kGcm, tampered);
    const bool names_a_key = i >= 2 && i < 2 + id.size(); // after version and length
    if (names_a_key) {
      EXPECT_EQ(error_of(opened).kind, ErrorKind::kKeyUnusable) << "byte " << i;
      EXPECT_THAT(error_of(opened).text(), HasSubstr(to_hex(id)));
    } else if (i != 1) { // another length of the id shifts everything: either answer is right
      expect_plain_failure(opened, "byte " + std::to_string(i));
    } else {
      EXPECT_FALSE(opened.has_value());
    }
  }
  EXPECT_LE(sim_->count("C_Decrypt"), sealed->size()); // none of them was tried twice
  expect_healthy(before, "box", kGcm, *sealed, plaintext);
}

TEST_F(Decryption, EveryTruncatedEnvelopeFailsAlike) {
  open();
  make_key(kGcm, "box");
  const Bytes plaintext = bytes("attack at dawn");
  const auto sealed = encrypt("box", kGcm, plaintext);
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  const std::string before = picture();
  for (std::size_t size = 0; size < sealed->size(); ++size) {
    const Bytes truncated(sealed->begin(), sealed->begin() + static_cast<std::ptrdiff_t>(size));
    expect_plain_failure(decrypt("box", kGcm, truncated), std::to_string(size) + " bytes");
  }
  Bytes longer = *sealed;
  longer.push_back(0);
  expect_plain_failure(decrypt("box", kGcm, longer), "one byte more");
  expect_healthy(before, "box", kGcm, *sealed, plaintext);
}

TEST_F(Decryption, WhateverTheModuleAnswersToACiphertextLooksTheSame) {
  open();
  make_key(kGcm, "box");
  const Bytes plaintext = bytes("secret");
  const auto sealed = encrypt("box", kGcm, plaintext);
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  const std::string before = picture();
  for (const CK_RV rv : {CKR_ENCRYPTED_DATA_INVALID, CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_DATA_INVALID, CKR_DATA_LEN_RANGE,
                         CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED, CKR_AEAD_DECRYPT_FAILED, CKR_SIGNATURE_INVALID}) {
    sim_->reset_counts();
    sim_->answer("C_Decrypt", rv);
    // The simhsm keeps the wrapped module's operation active; a real one ends it, as one more call does here.
    sim_->answer("C_DecryptInit", CKR_OK);
    expect_plain_failure(decrypt("box", kGcm, *sealed), rv_name(rv));
    EXPECT_EQ(sim_->count("C_Decrypt"), 1U) << rv_name(rv);
    sim_->clear_answers();
  }
  expect_healthy(before, "box", kGcm, *sealed, plaintext);
}

TEST_F(Decryption, AFloodOfBadCiphertextsEmptiesNoPoolAndEjectsNoSlot) {
  open();
  make_key(kGcm, "box");
  const Bytes plaintext = bytes("secret");
  const auto sealed = encrypt("box", kGcm, plaintext);
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  const std::string before = picture();
  Bytes tampered = *sealed;
  tampered.back() ^= 1;
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(decrypt("box", kGcm, tampered).has_value());
  expect_healthy(before, "box", kGcm, *sealed, plaintext);
}

TEST_F(Decryption, AnEnvelopeOfAnotherKeyIsNamedAndOpensOnceBound) {
  open();
  const AlgorithmSpec& spec = spec_of(kGcm);
  const auto secret = make_software_key(spec, 256);
  ASSERT_TRUE(secret.has_value()) << why(secret);
  const Bytes old_id = random_data(16), new_id = random_data(16);
  import_key(0, spec, *secret, old_id, "before the migration");
  import_key(1, spec, *secret, new_id, "after the migration");
  const Bytes plaintext = bytes("secret");
  const auto sealed = encrypt("id:" + to_hex(old_id), kGcm, plaintext);
  ASSERT_TRUE(sealed.has_value()) << why(sealed);

  const std::string name = "id:" + to_hex(new_id);
  const Error error = error_of(decrypt(name, kGcm, *sealed));
  EXPECT_EQ(error.kind, ErrorKind::kKeyUnusable);
  EXPECT_THAT(error.text(), HasSubstr(to_hex(old_id)));
  EXPECT_THAT(error.text(), HasSubstr(to_hex(new_id)));
  EXPECT_THAT(error.text(), HasSubstr("bound_to"));

  const auto bound = [&](const Bytes& id) {
    return engine().decrypt(
        {.key = name, .algorithm = kGcm, .ciphertext = *sealed, .aad = {}, .bound_to = id, .options = {}});
  };
  EXPECT_EQ(bound(old_id).value_or(Bytes{}), plaintext);
  EXPECT_EQ(error_of(bound(new_id)).kind, ErrorKind::kKeyUnusable);
  EXPECT_FALSE(bound({}).has_value());
}

TEST_F(Decryption, AnEnvelopeThatNamesThisKeyButWasMadeWithAnotherFailsAlike) {
  open();
  const Bytes id = *from_hex(make_key(kGcm, "box"));
  const Bytes other_id = *from_hex(make_key(kGcm, "other"));
  ASSERT_EQ(id.size(), other_id.size());
  auto sealed = encrypt("other", kGcm, bytes("secret"));
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  std::ranges::copy(id, sealed->begin() + 2);
  expect_plain_failure(decrypt("box", kGcm, *sealed), "a forged id");
}

// --- RSA-OAEP ---

// Also by OpenSSL alone: what senders do who know nothing of hsmux.
Bytes openssl_encrypt(const Bytes& spki, const Bytes& plaintext) {
  const unsigned char* position = spki.data();
  EVP_PKEY* key = d2i_PUBKEY(nullptr, &position, static_cast<long>(spki.size()));
  EVP_PKEY_CTX* context = EVP_PKEY_CTX_new(key, nullptr);
  EVP_PKEY_encrypt_init(context);
  EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING);
  EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256());
  EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256());
  Bytes out(static_cast<std::size_t>(EVP_PKEY_get_size(key)));
  std::size_t size = out.size();
  EXPECT_EQ(EVP_PKEY_encrypt(context, out.data(), &size, plaintext.data(), plaintext.size()), 1);
  EVP_PKEY_CTX_free(context);
  EVP_PKEY_free(key);
  return out;
}

TEST_F(Decryption, OaepOpensWhatOpensslEncryptedOfEverySize) {
  open();
  make_key(kOaep, "inbox");
  const auto spki = engine().public_key("inbox");
  ASSERT_TRUE(spki.has_value()) << why(spki);
  for (const std::size_t size : {0, 1, 32, 189, 190}) {
    const Bytes plaintext = random_data(size);
    const auto opened = decrypt("inbox", kOaep, openssl_encrypt(*spki, plaintext));
    ASSERT_TRUE(opened.has_value()) << size << ": " << why(opened);
    EXPECT_EQ(*opened, plaintext);
  }
}

TEST_F(Decryption, OaepWorksWithKeysOfEverySize) {
  open();
  for (const std::uint32_t bits : {3072U, 4096U}) {
    const std::string name = "id:" + make_key(kOaep, "inbox", bits);
    const Bytes plaintext = random_data(bits / 8 - 66);
    const auto sealed = encrypt(name, kOaep, plaintext);
    ASSERT_TRUE(sealed.has_value()) << why(sealed);
    EXPECT_EQ(sealed->size(), bits / 8);
    EXPECT_EQ(decrypt(name, kOaep, *sealed).value_or(Bytes{}), plaintext);
  }
}

TEST_F(Decryption, AWarmOaepDecryptionCostsOneInitAndOneCallAndEncryptionNone) {
  open("", "session_copies = 'off'");
  make_key(kOaep, "inbox");
  Bytes sealed;
  for (int i = 0; i < 10; ++i) {
    sealed = encrypt("inbox", kOaep, bytes("warm up")).value_or(Bytes{});
    ASSERT_TRUE(decrypt("inbox", kOaep, sealed).has_value());
  }
  sim_->reset_counts();
  ASSERT_TRUE(decrypt("inbox", kOaep, sealed).has_value());
  EXPECT_EQ(sim_->count("C_DecryptInit"), 1U);
  EXPECT_EQ(sim_->count("C_Decrypt"), 1U);
  EXPECT_EQ(sim_->total(), 2U);
  sim_->reset_counts();
  ASSERT_TRUE(encrypt("inbox", kOaep, bytes("secret")).has_value());
  EXPECT_EQ(sim_->total(), 0U);
}

TEST_F(Decryption, EveryTamperedByteOfAnOaepCiphertextFailsAlike) {
  open();
  make_key(kOaep, "inbox");
  const Bytes plaintext = bytes("attack at dawn");
  const auto sealed = encrypt("inbox", kOaep, plaintext);
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  const std::string before = picture();
  sim_->reset_counts();
  for (std::size_t i = 0; i < sealed->size(); ++i) {
    Bytes tampered = *sealed;
    tampered[i] ^= 0x80;
    expect_plain_failure(decrypt("inbox", kOaep, tampered), "byte " + std::to_string(i));
  }
  EXPECT_LE(sim_->count("C_Decrypt"), sealed->size());
  expect_healthy(before, "inbox", kOaep, *sealed, plaintext);
}

TEST_F(Decryption, ExtremeOaepCiphertextsFailAlike) {
  open();
  make_key(kOaep, "inbox");
  const Bytes plaintext = bytes("attack at dawn");
  const auto sealed = encrypt("inbox", kOaep, plaintext);
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  const std::string before = picture();
  Bytes one(256, 0);
  one.back() = 1;
  for (const Bytes& bad :
       {Bytes(256, 0), Bytes(256, 0xff), one, Bytes(), Bytes(255, 1), Bytes(257, 1), Bytes(100'000)}) {
    expect_plain_failure(decrypt("inbox", kOaep, bad), std::to_string(bad.size()) + " bytes");
  }
  expect_healthy(before, "inbox", kOaep, *sealed, plaintext);
}

// The result of raw RSA starts with a zero byte always, and with two in one of 256.
TEST_F(Decryption, OaepOnTheHostHandlesLeadingZeros) {
  sim_->hide_mechanism(CKM_RSA_PKCS_OAEP);
  open();
  EXPECT_EQ(recipe(0, kOaep), "CKM_RSA_X_509+host-OAEP");
  make_key(kOaep, "inbox");
  for (int i = 0; i < 600; ++i) {
    const Bytes plaintext = random_data(static_cast<std::size_t>(i) % 191);
    const auto sealed = encrypt("inbox", kOaep, plaintext);
    ASSERT_TRUE(sealed.has_value()) << why(sealed);
    const auto opened = decrypt("inbox", kOaep, *sealed);
    ASSERT_TRUE(opened.has_value()) << i << ": " << why(opened);
    ASSERT_EQ(*opened, plaintext);
  }
}

TEST_F(Decryption, AListThatLiesAboutOaepIsFoundOut) {
  // As SoftHSM 2.6.1 does by itself.
  for (std::size_t i = 0; i < 2; ++i) sim_->answer_for_slot(slot_id(i), "C_DecryptInit", CKR_ARGUMENTS_BAD);
  open();
  EXPECT_EQ(recipe(0, kOaep), "CKM_RSA_X_509+host-OAEP");
  EXPECT_THAT(recipe_reason(0, kOaep), HasSubstr("offered, but refused"));
}

TEST_F(Decryption, ATokenThatDoesOaepItselfIsAskedTo) {
  open();
  if (recipe(0, kOaep) != "CKM_RSA_PKCS_OAEP(SHA-256)") GTEST_SKIP() << recipe_reason(0, kOaep);
  make_key(kOaep, "inbox");
  const Bytes plaintext = bytes("attack at dawn");
  const auto sealed = encrypt("inbox", kOaep, plaintext);
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  EXPECT_EQ(decrypt("inbox", kOaep, *sealed).value_or(Bytes{}), plaintext);
  const std::string before = picture();
  for (std::size_t i = 0; i < sealed->size(); i += 5) {
    Bytes tampered = *sealed;
    tampered[i] ^= 0x80;
    expect_plain_failure(decrypt("inbox", kOaep, tampered), "byte " + std::to_string(i));
  }
  expect_healthy(before, "inbox", kOaep, *sealed, plaintext);
}

} // namespace
} // namespace hsmux
