// Known answers: FIPS 180-4 examples for the digests, RFC 6979 A.2.5 for ECDSA P-256 with SHA-256 ("sample"), RFC
// 8032 7.1 (test 2) for Ed25519, Wycheproof for RSA signatures, BouncyCastle for ECIES (one byte of zero), and for OAEP
// a block of 96 bytes made without OpenSSL ("sample", seed 00 to 1f).
#include "mechanisms/ecdsa_der.h"
#include "mechanisms/ecies.h"
#include "mechanisms/host_crypto.h"
#include "mechanisms/oaep.h"
#include "mechanisms/spki.h"

#include <algorithm>
#include <array>

namespace hsmux {
namespace {

constexpr std::string_view kAbcSha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr std::string_view kAbcSha384 = "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
                                        "8086072ba1e7cc2358baeca134c825a7";
constexpr std::string_view kPoint = "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
                                    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
constexpr std::string_view kSignature = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
                                        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";
constexpr std::string_view kOaepBlock = "00cd9492b3897bdbfe35cea8c81d1e1abdd2c6998b3e5f74b9cd636b81b75c90"
                                        "079344c47fca4af717407eda5bbc04e0a2927ac9d4fc20ea3f18c681d71e31c2"
                                        "d104a6950a06d3e3308ad7d3606ef810eb124e3943404ca746a05f30aacf1b0d";

constexpr std::string_view kEdPoint = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
constexpr std::string_view kEdSignature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                                          "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

constexpr std::string_view kRsaSpki =
    "30820122300d06092a864886f70d01010105000382010f003082010a0282010100a2b451a07d0aa5f96e455671513550"
    "514a8a5b462ebef717094fa1fee82224e637f9746d3f7cafd31878d80325b6ef5a1700f65903b469429e89d6eac88450"
    "97b5ab393189db92512ed8a7711a1253facd20f79c15e8247f3d3e42e46e48c98e254a2fe9765313a03eff8f17e1a029"
    "397a1fa26a8dce26f490ed81299615d9814c22da610428e09c7d9658594266f5c021d0fceca08d945a12be82de4d1ece"
    "6b4c03145b5d3495d4ed5411eb878daf05fd7afc3e09ada0f1126422f590975a1969816f48698bcbba1b4d9cae79d460"
    "d8f9f85e7975005d9bc22c4e5ac0f7c1a45d12569a62807d3b9a02e5a530e773066f453d1f5b4c2e9cf7820283f742b9"
    "d50203010001";
constexpr std::string_view kPkcs1Signature =
    "8a1b220cb2ab415dc760eb7f5bb10335a3cca269d7dbbf7d0962ba79f9cf7b43a5fc09c99a1584f07403473d6c189a83"
    "6897a5b6f8ea9fa22d601e6ba5f7411fe27c638b81b1a22363583a80fce8c7df3e40fb51bd0e60d0a6653f79f3bcb7ec"
    "3e9dc14cfb5b31ab1735bca692d50ac03f979dda92747c6430f8045efa3513ba6e0ce3e9e35570e1c30c8ebe589b4419"
    "2e1344ca83dfa576fc6fdc7bf1cd7cee875b001c8c02ce8d602769e4bd9d241c4857182a0089a8b67644e73eef105c55"
    "0efa47a40874289395ac0c4e02fd4ba98e130a4c2d1b95521c6af4a002ac3bdc6e52122ae4c08cc3da1c896e059acbdd"
    "ec574ac0432f6103dd97273d8803c102";
constexpr std::string_view kPssSignature =
    "0658c68fe0895646056d9bca422a64fe48813b4e14f0c8c4122e56d345b6813dc6286ffde014617e351c7af0a0d2c0f2"
    "85def79cb734e1e055a25fa6fddc1c07da17b4b235c637413b1849c24311fa72331f4c0458c364a4916de8619b884d7e"
    "37288fad12926fc091f4851686a04fd0a504dbce3db370663a6ea6128fea86c2ca94c63e0d34d7f2c845b5d71d9a5e54"
    "4451f524a451acb85c49bba7864e0a34a48613a819caf3dfd0d510c940f1df21c3373915be1f3509a557fa4d5a4e9f27"
    "3e85467961133e2482c0907386454228fb0246638616fc31bbb6fa7c2361b8035994eec69a923f4c0bb0ba8696dfe8b1"
    "400c2398d7b343fdf498b1116c8de602";
constexpr std::string_view kEciesSealed =
    "64816af15f8a0fa259df6287fe63b2b404994793f12922465f6bacbbc7d37c5b1721adc224aa5b17120e5f01458809dc"
    "06676edb003351f75854957b86cfd046bba0ec4083a272e5af72bdc717d7d96c90a7492c2fb6d058ac3ca5f590ea96cc"
    "732c50d7f5d917ce2f97683f2a6481f4e90a3cf01e367f6db95720be9097ed59e7";
constexpr std::string_view kEciesShared = "eb91ac62136b5112ab16ac69e446b9f87b6a9f40be6a3377f1d6f450396fc8b8";
constexpr std::array<std::uint8_t, 20> kRsaMessage{};

Error broken(std::string what) {
  return make_error(ErrorKind::kInternal, "this host's OpenSSL gives a wrong answer: " + std::move(what));
}

ByteView bytes(std::string_view text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

Status check_digest(Hash hash, std::string_view expected) {
  std::array<std::uint8_t, 64> out{};
  HSMUX_TRY(const std::size_t size, digest(hash, bytes("abc"), out));
  if (to_hex(std::span(out).first(size)) == expected) return {};
  return fail(broken("digest"));
}

Status check_ed25519() {
  HSMUX_TRY(const Bytes point, from_hex(kEdPoint));
  HSMUX_TRY(const Bytes spki, ed25519_spki(point));
  HSMUX_TRY(Bytes signature, from_hex(kEdSignature));
  if (!verify_ed25519(spki, bytes("\x72"), signature)) return fail(broken("a valid Ed25519 signature is refused"));
  signature[0] ^= 1;
  if (verify_ed25519(spki, bytes("\x72"), signature)) return fail(broken("an invalid Ed25519 signature is accepted"));
  return {};
}

Status check_rsa() {
  HSMUX_TRY(const Bytes spki, from_hex(kRsaSpki));
  std::array<std::uint8_t, 32> hashed{};
  HSMUX_CHECK(digest(Hash::kSha256, kRsaMessage, hashed));
  for (const auto& [padding, text] :
       {std::pair(RsaPadding::kPkcs1, kPkcs1Signature), std::pair(RsaPadding::kPss, kPssSignature)}) {
    HSMUX_TRY(Bytes signature, from_hex(text));
    if (!verify_rsa(spki, padding, hashed, signature)) return fail(broken("a valid RSA signature is refused"));
    signature.back() ^= 1;
    if (verify_rsa(spki, padding, hashed, signature)) return fail(broken("an invalid RSA signature is accepted"));
  }
  return {};
}

Status check_ecies() {
  HSMUX_TRY(Bytes sealed, from_hex(kEciesSealed));
  HSMUX_TRY(const Bytes shared, from_hex(kEciesShared));
  std::array<std::uint8_t, 15> out{0xff};
  HSMUX_TRY(const EciesView ecies, parse_ecies(sealed));
  if (ecies_open(ecies, shared, out).value_or(0) != 1 || out[0] != 0) {
    return fail(broken("a valid ECIES ciphertext is refused"));
  }
  sealed.back() ^= 1; // what `ecies` views
  if (ecies_open(ecies, shared, out)) return fail(broken("an invalid ECIES ciphertext is accepted"));
  return {};
}

Status check_oaep() {
  HSMUX_TRY(Bytes block, from_hex(kOaepBlock));
  std::array<std::uint8_t, 30> out{};
  const Result<std::size_t> size = oaep_decode_sha256(block, out);
  if (!size || !equal_constant_time(ByteView(out).first(*size), bytes("sample"))) {
    return fail(broken("a valid OAEP block is refused"));
  }
  block.back() ^= 1;
  if (oaep_decode_sha256(block, out)) return fail(broken("an invalid OAEP block is accepted"));
  return {};
}

} // namespace

Status host_crypto_self_test() {
  HSMUX_CHECK(check_digest(Hash::kSha256, kAbcSha256));
  HSMUX_CHECK(check_digest(Hash::kSha384, kAbcSha384));

  HSMUX_TRY(const Bytes point, from_hex(kPoint));
  HSMUX_TRY(const Bytes spki, ec_spki(Curve::kP256, point));
  HSMUX_TRY(const Bytes raw, from_hex(kSignature));
  Bytes der(ecdsa_der_bytes_max(32));
  HSMUX_TRY(const std::size_t size, ecdsa_der_encode(raw, der));
  der.resize(size);
  std::array<std::uint8_t, 32> hashed{};
  HSMUX_CHECK(digest(Hash::kSha256, bytes("sample"), hashed));
  if (!verify_ecdsa(spki, hashed, der)) return fail(broken("a valid ECDSA signature is refused"));
  hashed[0] ^= 1;
  if (verify_ecdsa(spki, hashed, der)) return fail(broken("an invalid ECDSA signature is accepted"));
  HSMUX_CHECK(check_ed25519());
  HSMUX_CHECK(check_rsa());
  HSMUX_CHECK(check_ecies());
  return check_oaep();
}

} // namespace hsmux
