#include "tests/simhsm/own/cipher.h"

#include <openssl/core_names.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <cstring>

#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {
namespace {

constexpr std::size_t kBlock = 16;
constexpr std::size_t kPkcs1Overhead = 11;             // RFC 8017, 7.2.1
constexpr std::size_t kStartBytesMax = 128;            // OpenSSL 3's limit; the standard has 256
constexpr std::size_t kStepMax = std::size_t{1} << 30; // OpenSSL counts with int

// Appends to `output` what comes out.
void push(EVP_CIPHER_CTX* context, View input, Bytes& output) {
  while (!input.empty()) {
    const View step = input.first(std::min(input.size(), kStepMax));
    const std::size_t before = output.size();
    output.resize(before + step.size() + kBlock);
    int written = 0;
    const int done =
        EVP_CipherUpdate(context, output.data() + before, &written, step.data(), static_cast<int>(step.size()));
    require(done == 1, CKR_DEVICE_ERROR);
    output.resize(before + static_cast<std::size_t>(written));
    input = input.subspan(step.size());
  }
}

} // namespace

Cipher::Cipher(Direction direction, const CK_MECHANISM& mechanism, const MechanismRow& row,
               std::shared_ptr<const Object> object)
    : direction_(direction), row_(&row), object_(std::move(object)), key_(object_->key.get()) {
  switch (row.type) {
  case CKM_AES_GCM: read_gcm(mechanism); break;
  case CKM_RSA_PKCS_OAEP: read_oaep(mechanism); break;
  case CKM_AES_CBC:
  case CKM_AES_CBC_PAD:
    require(mechanism.ulParameterLen == kBlock, CKR_MECHANISM_PARAM_INVALID);
    start_ = copy_of({static_cast<const unsigned char*>(mechanism.pParameter), kBlock});
    break;
  default: require(mechanism.ulParameterLen == 0, CKR_MECHANISM_PARAM_INVALID);
  }
}

void Cipher::read_gcm(const CK_MECHANISM& mechanism) {
  CK_GCM_PARAMS parameter{};
  require(mechanism.ulParameterLen == sizeof parameter, CKR_MECHANISM_PARAM_INVALID);
  std::memcpy(&parameter, mechanism.pParameter, sizeof parameter);
  // ulIvBits is not looked at: callers leave it at 0, and ulIvLen says the same.
  const bool start = parameter.pIv != nullptr && parameter.ulIvLen >= 1 && parameter.ulIvLen <= kStartBytesMax;
  const bool tag = parameter.ulTagBits >= 96 && parameter.ulTagBits <= 128 && parameter.ulTagBits % 8 == 0;
  const bool associated = parameter.pAAD != nullptr || parameter.ulAADLen == 0;
  require(start && tag && associated, CKR_MECHANISM_PARAM_INVALID);
  start_ = copy_of({parameter.pIv, parameter.ulIvLen});
  associated_ = copy_of({parameter.pAAD, parameter.ulAADLen});
  tag_bytes_ = parameter.ulTagBits / 8;
}

void Cipher::read_oaep(const CK_MECHANISM& mechanism) {
  CK_RSA_PKCS_OAEP_PARAMS parameter{};
  require(mechanism.ulParameterLen == sizeof parameter, CKR_MECHANISM_PARAM_INVALID);
  std::memcpy(&parameter, mechanism.pParameter, sizeof parameter);
  hash_ = digest(parameter.hashAlg);
  mask_ = mask_digest(parameter.mgf);
  const bool label = parameter.pSourceData != nullptr || parameter.ulSourceDataLen == 0;
  // Without a label, callers leave the source at 0, too.
  const bool source =
      parameter.source == CKZ_DATA_SPECIFIED || (parameter.source == 0 && parameter.ulSourceDataLen == 0);
  require(hash_ != nullptr && mask_ != nullptr && label && source, CKR_MECHANISM_PARAM_INVALID);
  associated_ = copy_of({static_cast<const unsigned char*>(parameter.pSourceData), parameter.ulSourceDataLen});
}

std::size_t Cipher::bound(std::size_t input_bytes) const {
  if (rsa()) return modulus_bytes();
  if (gcm()) return encrypts() ? input_bytes + tag_bytes_ : input_bytes - std::min(input_bytes, tag_bytes_);
  return pads() && encrypts() ? (input_bytes / kBlock + 1) * kBlock : input_bytes;
}

Bytes Cipher::process(View input) const { return rsa() ? process_rsa(input) : process_aes(input); }

CipherContext Cipher::begin_aes() const {
  const AesMode mode = gcm() ? AesMode::kGcm : row_->type == CKM_AES_ECB ? AesMode::kEcb : AesMode::kCbc;
  const EVP_CIPHER* const cipher = aes(mode, key_->secret.size());
  auto context = allocated(CipherContext(EVP_CIPHER_CTX_new()));
  std::size_t start_bytes = start_.size();
  const OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_CIPHER_PARAM_AEAD_IVLEN, &start_bytes),
                               OSSL_PARAM_construct_end()};
  const int done = EVP_CipherInit_ex2(context.get(), cipher, key_->secret.data(), gcm() ? nullptr : start_.data(),
                                      encrypts() ? 1 : 0, gcm() ? params : nullptr);
  require(done == 1, CKR_DEVICE_ERROR);
  EVP_CIPHER_CTX_set_padding(context.get(), pads() ? 1 : 0);
  if (gcm()) {
    require(EVP_CipherInit_ex2(context.get(), nullptr, nullptr, start_.data(), -1, nullptr) == 1, CKR_DEVICE_ERROR);
    View rest = associated_;
    while (!rest.empty()) {
      const View step = rest.first(std::min(rest.size(), kStepMax));
      int written = 0;
      EVP_CipherUpdate(context.get(), nullptr, &written, step.data(), static_cast<int>(step.size()));
      rest = rest.subspan(step.size());
    }
  }
  return context;
}

void Cipher::check_blocks(std::size_t input_bytes) const {
  if (gcm() || (pads() && encrypts())) return;
  const bool blocks = input_bytes % kBlock == 0 && (!pads() || input_bytes > 0);
  require(blocks, encrypts() ? CKR_DATA_LEN_RANGE : CKR_ENCRYPTED_DATA_LEN_RANGE);
}

// What comes after the last input.
Bytes Cipher::end_aes(EVP_CIPHER_CTX* context) const {
  Bytes last(kBlock);
  int written = 0;
  require(EVP_CipherFinal_ex(context, last.data(), &written) == 1,
          encrypts() ? CKR_DEVICE_ERROR : CKR_ENCRYPTED_DATA_INVALID);
  last.resize(static_cast<std::size_t>(written));
  if (gcm() && encrypts()) {
    last.resize(tag_bytes_);
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(tag_bytes_), last.data());
  }
  return last;
}

Bytes Cipher::process_aes(View input) const {
  check_blocks(input.size());
  const CipherContext context = begin_aes();
  if (gcm() && !encrypts()) {
    require(input.size() >= tag_bytes_, CKR_ENCRYPTED_DATA_LEN_RANGE);
    Bytes tag = copy_of(input.last(tag_bytes_));
    EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, static_cast<int>(tag.size()), tag.data());
    input = input.first(input.size() - tag_bytes_);
  }
  Bytes output;
  output.reserve(input.size() + 2 * kBlock);
  push(context.get(), input, output);
  const Bytes last = end_aes(context.get());
  output.insert(output.end(), last.begin(), last.end());
  return output;
}

Bytes Cipher::process_rsa(View input) const {
  const std::size_t width = modulus_bytes();
  const auto context = allocated(KeyContext(EVP_PKEY_CTX_new_from_pkey(nullptr, key_->pkey.get(), nullptr)));
  const auto set = [](int result) { require(result > 0, CKR_DEVICE_ERROR); };
  set(encrypts() ? EVP_PKEY_encrypt_init(context.get()) : EVP_PKEY_decrypt_init(context.get()));
  Bytes padded = copy_of(input);
  std::size_t room = width;
  switch (row_->type) {
  case CKM_RSA_PKCS: room -= kPkcs1Overhead; set(EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_PADDING));
#ifdef OSSL_ASYM_CIPHER_PARAM_IMPLICIT_REJECTION
    // PKCS#11 reports bad padding, it does not answer random bytes.
    if (!encrypts()) set(EVP_PKEY_CTX_ctrl_str(context.get(), OSSL_ASYM_CIPHER_PARAM_IMPLICIT_REJECTION, "0"));
#endif
    break;
  case CKM_RSA_PKCS_OAEP: {
    room -= 2 + 2 * static_cast<std::size_t>(EVP_MD_get_size(hash_));
    set(EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_OAEP_PADDING));
    set(EVP_PKEY_CTX_set_rsa_oaep_md(context.get(), hash_));
    set(EVP_PKEY_CTX_set_rsa_mgf1_md(context.get(), mask_));
    if (associated_.empty()) break;
    void* const label = OPENSSL_memdup(associated_.data(), associated_.size()); // the context takes it
    set(EVP_PKEY_CTX_set0_rsa_oaep_label(context.get(), label, static_cast<int>(associated_.size())));
    break;
  }
  default:
    set(EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_NO_PADDING));
    if (encrypts() && input.size() < width) padded.insert(padded.begin(), width - input.size(), 0);
  }
  Bytes output(width);
  std::size_t written = width;
  if (encrypts()) {
    require(input.size() <= room, CKR_DATA_LEN_RANGE);
    require(EVP_PKEY_encrypt(context.get(), output.data(), &written, padded.data(), padded.size()) == 1,
            CKR_DATA_INVALID);
  } else {
    require(input.size() == width, CKR_ENCRYPTED_DATA_LEN_RANGE);
    require(EVP_PKEY_decrypt(context.get(), output.data(), &written, padded.data(), padded.size()) == 1,
            CKR_ENCRYPTED_DATA_INVALID);
  }
  output.resize(written);
  return output;
}

// OpenSSL gives whole blocks; when it will take padding off, it keeps the last one back.
std::size_t Cipher::put_out(std::size_t put_in) const {
  if (gcm()) return put_in;
  const std::size_t whole = put_in / kBlock * kBlock;
  return pads() && !encrypts() && put_in > 0 && whole == put_in ? whole - kBlock : whole;
}

std::size_t Cipher::update_bytes(std::size_t input_bytes) const {
  return collects() ? 0 : put_out(input_bytes_ + input_bytes) - put_out(input_bytes_);
}

Bytes Cipher::update(View part) {
  Bytes output;
  if (collects()) {
    collected_.insert(collected_.end(), part.begin(), part.end());
  } else {
    if (!context_) context_ = begin_aes();
    push(context_.get(), part, output);
  }
  input_bytes_ += part.size();
  return output;
}

std::size_t Cipher::finish_bound() const {
  if (collects()) return bound(collected_.size());
  return gcm() ? tag_bytes_ : pads() ? kBlock : 0;
}

const Bytes& Cipher::finish() {
  if (finished_) return *finished_;
  if (collects()) return finished_.emplace(process(collected_));
  check_blocks(input_bytes_);
  if (!context_) context_ = begin_aes();
  return finished_.emplace(end_aes(context_.get()));
}

} // namespace hsmux::sim::own
