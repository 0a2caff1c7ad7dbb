// What the rows of mechanisms/quirks.cc change, on tokens that do not need it.
#include "mechanisms/cross_check.h"
#include "mechanisms/envelope.h"
#include "tests/contract/contract.h"

namespace hsmux {
namespace {

using testing::HasSubstr;
constexpr auto kGcm = Algorithm::kAes256Gcm;

class VendorRows : public Contract {
protected:
  // The token becomes one that makes IVs itself; own mode of the simulator only.
  void hsm_makes_ivs() {
    if (getenv("HSMUX_SIM_CONFIG") == nullptr) GTEST_SKIP() << "needs the simulator's own HSM";
    sim_->apply("gcm_iv = 'hsm'");
  }

  const Bytes id_{1}; // of keys that are gone with the test's session
};

TEST_F(VendorRows, ATokenThatMakesTheIvItselfIsFoundOutAndItsIvGoesIntoTheEnvelope) {
  hsm_makes_ivs();
  if (IsSkipped()) return;
  open();
  EXPECT_EQ(recipe(0, kGcm), "CKM_AES_GCM(token-IV)");
  EXPECT_THAT(recipe_reason(0, kGcm), HasSubstr("CKM_AES_GCM(host-IV): offered, but refused"));
  make_key(kGcm, "box");
  std::vector<Bytes> ivs;
  for (int i = 0; i < 20; ++i) {
    const auto sealed = encrypt("box", kGcm, bytes("secret"));
    ASSERT_TRUE(sealed.has_value()) << why(sealed);
    const ByteView iv = parse_envelope(*sealed)->iv;
    ivs.emplace_back(iv.begin(), iv.end());
    EXPECT_EQ(decrypt("box", kGcm, *sealed).value_or(Bytes{}), bytes("secret"));
  }
  std::ranges::sort(ivs);
  EXPECT_EQ(std::ranges::adjacent_find(ivs), ivs.end());
  EXPECT_NE(ivs.front(), Bytes(kIvBytes));
}

TEST_F(VendorRows, AnIvThatTheTokenDoesNotMakeIsNoticed) {
  open();
  Session own = session(0);
  const AlgorithmSpec& spec = spec_of(kGcm);
  const RecipeSpec& by_token = *std::ranges::find(spec.recipes, RecipeId::kGcmTokenIv, &RecipeSpec::id);
  const Status status = cross_check(spec, by_token, standard_quirks(), own);
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().kind, ErrorKind::kDevice);
  EXPECT_THAT(status.error().text(), HasSubstr("made no IV"));
}

TEST_F(VendorRows, EitherFormOfEd25519sParametersMakesAKey) {
  open();
  Session own = session(0);
  for (const EdwardsParams params : {EdwardsParams::kOid, EdwardsParams::kName}) {
    Quirks quirks = standard_quirks();
    quirks.edwards_params = params;
    const AlgorithmSpec& spec = spec_of(Algorithm::kEd25519);
    const KeyRequest request{
        .spec = &spec, .bits = 255, .id = id_, .label = "ed", .token_object = false, .quirks = &quirks};
    const auto made = generate_in_token(own, request);
    ASSERT_TRUE(made.has_value()) << why(made);
    EXPECT_TRUE(own.destroy(made->handle).has_value());
    EXPECT_TRUE(own.destroy(*made->public_key).has_value());
    const Status checked = cross_check(spec, spec.recipes[0], quirks, own);
    EXPECT_TRUE(checked.has_value()) << why(checked);
  }
}

TEST_F(VendorRows, AnEdwardsPointIsWrittenAsTheRowSays) {
  open();
  Session own = session(0);
  const SoftwareKey key = *generate_ed25519();
  for (const EdwardsPoint form : {EdwardsPoint::kOctetString, EdwardsPoint::kRaw}) {
    Quirks quirks = standard_quirks();
    quirks.edwards_point = form;
    const KeyRequest request{.spec = &spec_of(Algorithm::kEd25519),
                             .bits = 255,
                             .id = id_,
                             .label = "ed",
                             .token_object = false,
                             .quirks = &quirks};
    const auto made = import_into_token(own, request, key);
    if (!made && form == EdwardsPoint::kRaw) GTEST_SKIP() << "this token takes no raw points: " << why(made);
    ASSERT_TRUE(made.has_value()) << why(made);
    constexpr std::array<unsigned long, 1> kPoint{CKA_EC_POINT};
    const auto values = own.attributes(*made->public_key, kPoint);
    ASSERT_TRUE(values.has_value()) << why(values);
    // Tokens that keep what they are given show it; the others show their own form.
    const Bytes point = std::get<EdPrivateParts>(key).point;
    EXPECT_EQ(ed25519_point_from_attribute(*(*values)[0]).value_or(Bytes{}), point);
    EXPECT_TRUE(own.destroy(made->handle).has_value());
    EXPECT_TRUE(own.destroy(*made->public_key).has_value());
  }
}

} // namespace
} // namespace hsmux
