#include "mechanisms/envelope.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "mechanisms/host_crypto.h"
#include "tests/random_seed.h"

namespace hsmux {
namespace {

const Bytes kId{0xaa, 0xbb};
const Bytes kIv{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

Bytes envelope(const Bytes& id, std::size_t ciphertext_bytes) {
  Bytes bytes(envelope_bytes(id.size(), ciphertext_bytes), 0xcc);
  write_envelope_header(id, kIv, bytes);
  return bytes;
}

TEST(Envelope, HeaderIsVersionLengthIdAndIv) {
  const Bytes bytes = envelope(kId, 0);
  EXPECT_EQ(Bytes(bytes.begin(), bytes.begin() + 16),
            (Bytes{0x01, 0x02, 0xaa, 0xbb, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  EXPECT_EQ(bytes.size(), 16U + kTagBytes);
}

TEST(Envelope, TheHeaderEndsWhereTheCiphertextBegins) {
  Bytes out(20, 0xee); // room for more than the header
  EXPECT_EQ(write_envelope_header(kId, kIv, out), 16U);
  EXPECT_EQ(Bytes(out.begin() + 16, out.end()), Bytes(4, 0xee));
}

TEST(Envelope, OnlyTheCiphertextMakesItLonger) {
  EXPECT_EQ(envelope_bytes(1, 0), 31U);
  EXPECT_EQ(envelope_bytes(64, 1000), 1094U);
}

TEST(Envelope, WhatIsWrittenIsReadBack) {
  const Bytes bytes = envelope(kId, 5);
  const Result<EnvelopeView> view = parse_envelope(bytes);
  ASSERT_TRUE(view);
  EXPECT_TRUE(std::ranges::equal(view->key_id, kId));
  EXPECT_TRUE(std::ranges::equal(view->iv, kIv));
  EXPECT_EQ(view->ciphertext_and_tag.size(), 5 + kTagBytes);
}

TEST(Envelope, EveryTruncationLooksLikeAnyDecryptFailure) {
  const Bytes bytes = envelope(Bytes(64, 7), 0);
  ASSERT_TRUE(parse_envelope(bytes));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Bytes cut(bytes.begin(), bytes.begin() + static_cast<long>(size)); // a copy, so that an overread is noticed
    const Result<EnvelopeView> view = parse_envelope(cut);
    ASSERT_FALSE(view) << size;
    EXPECT_EQ(view.error().text(), decrypt_failed().text());
  }
}

TEST(Envelope, AnotherVersionAndImpossibleIdLengthsAreRefused) {
  for (const auto& [position, value] : {std::pair{0, 0}, {0, 2}, {1, 0}, {1, 65}, {1, 255}}) {
    Bytes bytes = envelope(kId, 300);
    bytes[static_cast<std::size_t>(position)] = static_cast<std::uint8_t>(value);
    const Result<EnvelopeView> view = parse_envelope(bytes);
    ASSERT_FALSE(view);
    EXPECT_EQ(view.error().text(), decrypt_failed().text());
  }
}

TEST(Envelope, RandomBytesAreEitherWholeOrADecryptFailure) {
  std::mt19937_64 random(test_seed());
  for (int i = 0; i < 20'000; ++i) {
    Bytes bytes(random() % 120);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
    if (bytes.size() >= 2 && i % 2 == 0) {
      bytes[0] = 1;
      bytes[1] %= 80;
    }
    const Result<EnvelopeView> view = parse_envelope(bytes);
    if (view) {
      ASSERT_EQ(2 + view->key_id.size() + view->iv.size() + view->ciphertext_and_tag.size(), bytes.size());
      ASSERT_GE(view->ciphertext_and_tag.size(), kTagBytes);
      ASSERT_EQ(view->iv.size(), kIvBytes);
    } else {
      ASSERT_EQ(view.error().text(), decrypt_failed().text());
    }
  }
}

TEST(Envelope, TheIdAndTheCallersDataCannotBeShiftedIntoEachOther) {
  EXPECT_NE(envelope_aad(Bytes{0xaa}, Bytes{0xbb}).value(), envelope_aad(kId, {}).value());
  EXPECT_NE(envelope_aad(kId, Bytes(1, 0)).value(), envelope_aad(kId, Bytes(2, 0)).value());
}

TEST(Envelope, AuthenticatedDataHoldsVersionIdAndLengthOfTheCallers) {
  EXPECT_EQ(envelope_aad(kId, Bytes{0x41, 0x42}).value(),
            (Bytes{0x01, 0x02, 0xaa, 0xbb, 0, 0, 0, 0, 0, 0, 0, 2, 0x41, 0x42}));
  EXPECT_EQ(envelope_aad(kId, {}).value(), (Bytes{0x01, 0x02, 0xaa, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(Envelope, AnIdThatDoesNotFitIsTheCallersError) {
  EXPECT_EQ(envelope_aad({}, {}).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(envelope_aad(Bytes(65, 1), {}).error().kind, ErrorKind::kInvalidArgument);
}

} // namespace
} // namespace hsmux
