#include "mechanisms/recipe.h"

#include <gtest/gtest.h>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

const AlgorithmSpec& kOaep = spec_of(Algorithm::kRsaOaepSha256);
const AlgorithmSpec& kEcdsa = spec_of(Algorithm::kEcdsaP256Sha256);

MechanismOffer offer(unsigned long type, unsigned long flags) { return {type, 0, 0, flags}; }
ProbeResult works(const RecipeSpec&) { return {Probe::kWorks, ""}; }

TEST(ChooseRecipe, TakesTheFirstThatIsOfferedAndWorks) {
  const std::vector offers{offer(CKM_RSA_X_509, CKF_DECRYPT), offer(CKM_RSA_PKCS_OAEP, CKF_DECRYPT)};
  const RecipeChoice choice = choose_recipe(kOaep, offers, works);
  ASSERT_NE(choice.recipe, nullptr);
  EXPECT_EQ(choice.recipe->id, RecipeId::kOaepToken);
  EXPECT_EQ(choice.reason, "");
}

TEST(ChooseRecipe, PassesOverAMechanismThatTheListHasAndTheTokenRefuses) {
  const std::vector offers{offer(CKM_RSA_X_509, CKF_DECRYPT), offer(CKM_RSA_PKCS_OAEP, CKF_DECRYPT)};
  const RecipeChoice choice = choose_recipe(kOaep, offers, [](const RecipeSpec& recipe) -> ProbeResult {
    if (recipe.id == RecipeId::kOaepToken) return {Probe::kRefused, "SHA-1 only"};
    return {Probe::kWorks, ""};
  });
  ASSERT_NE(choice.recipe, nullptr);
  EXPECT_EQ(choice.recipe->id, RecipeId::kOaepHost);
  EXPECT_NE(choice.reason.find("SHA-1 only"), std::string::npos);
}

TEST(ChooseRecipe, AMechanismWithoutTheNeededFlagIsNotOffered) {
  const std::vector offers{offer(CKM_ECDSA, CKF_VERIFY), offer(CKM_ECDSA_SHA256, CKF_SIGN)};
  const RecipeChoice choice = choose_recipe(kEcdsa, offers, works);
  ASSERT_NE(choice.recipe, nullptr);
  EXPECT_EQ(choice.recipe->id, RecipeId::kEcdsaHashed);
}

TEST(ChooseRecipe, NothingOfferedGivesNoRecipeAndSaysWhyForEach) {
  const RecipeChoice choice = choose_recipe(kOaep, {}, works);
  EXPECT_EQ(choice.recipe, nullptr);
  EXPECT_NE(choice.reason.find("CKM_RSA_PKCS_OAEP"), std::string::npos);
  EXPECT_NE(choice.reason.find("CKM_RSA_X_509"), std::string::npos);
}

TEST(ChooseRecipe, ATokenThatCannotBeTriedIsBelievedAndMarked) {
  const std::vector offers{offer(CKM_ECDSA, CKF_SIGN)};
  const RecipeChoice choice =
      choose_recipe(kEcdsa, offers, [](const RecipeSpec&) { return ProbeResult{Probe::kUndecided, "read-only"}; });
  ASSERT_NE(choice.recipe, nullptr);
  EXPECT_EQ(choice.recipe->id, RecipeId::kEcdsaHostDigest);
  EXPECT_NE(choice.reason.find("not tried: read-only"), std::string::npos);
}

TEST(ChooseRecipe, ARecipeThatIsNotOfferedIsNotTried) {
  int tried = 0;
  choose_recipe(kEcdsa, {}, [&](const RecipeSpec&) {
    ++tried;
    return ProbeResult{Probe::kWorks, ""};
  });
  EXPECT_EQ(tried, 0);
}

TEST(PlaintextBytesMax, OfOaepIsTheModulusLessTwoDigestsAndTwo) {
  EXPECT_EQ(plaintext_bytes_max(kOaep, {.data = {}, .aad = {}, .key_id = {}, .modulus_bytes = 256}), 190U);
  EXPECT_EQ(plaintext_bytes_max(kOaep, {.data = {}, .aad = {}, .key_id = {}, .modulus_bytes = 10}), 0U);
}

} // namespace
} // namespace hsmux
