#include "base/crypto.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "base/assert.h"

namespace tidemark {
namespace {

struct CipherFree {
  void operator()(EVP_CIPHER_CTX* c) const { EVP_CIPHER_CTX_free(c); }
};
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, CipherFree>;

// Fetching an algorithm by name takes a lock and a lookup each time; both live as long as we do.
const EVP_MD* sha256_md() {
  static EVP_MD* const md = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return md;
}
const EVP_CIPHER* aes_gcm_cipher() {
  static EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  return cipher;
}

int checked_int(std::size_t size) {
  TM_CHECK(size <= 1U << 30);
  return static_cast<int>(size);
}

}  // namespace

SecretKey::SecretKey(ByteView from) {
  TM_CHECK(from.size() == kSize);
  std::memcpy(bytes_.data(), from.data(), kSize);
}

SecretKey::~SecretKey() { wipe(bytes_); }

SecretKey SecretKey::random() {
  SecretKey key;
  random_bytes(key.bytes_);
  return key;
}

void wipe(ByteSpan bytes) { OPENSSL_cleanse(bytes.data(), bytes.size()); }

void random_bytes(ByteSpan out) { TM_CHECK(RAND_bytes(out.data(), checked_int(out.size())) == 1); }

bool equal_constant_time(ByteView a, ByteView b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

struct Sha256::Context {
  EVP_MD_CTX* md = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(md); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  TM_CHECK(EVP_DigestInit_ex2(context_->md, sha256_md(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(ByteView data) {
  TM_CHECK(EVP_DigestUpdate(context_->md, data.data(), data.size()) == 1);
}

Digest Sha256::finish() {
  Digest digest;
  unsigned size = 0;
  TM_CHECK(EVP_DigestFinal_ex(context_->md, digest.bytes.data(), &size) == 1 && size == 32);
  return digest;
}

Digest sha256(ByteView data) {
  Sha256 hash;
  hash.update(data);
  return hash.finish();
}

Digest hmac_sha256(ByteView key, ByteView data) {
  Digest digest;
  unsigned size = 0;
  // No key at all is a key; a null pointer would be taken for a missing one.
  static constexpr std::uint8_t kNothing = 0;
  const std::uint8_t* const from = key.empty() ? &kNothing : key.data();
  TM_CHECK(HMAC(sha256_md(), from, checked_int(key.size()), data.data(), data.size(),
                digest.bytes.data(), &size) != nullptr);
  return digest;
}

SecretKey hkdf(const SecretKey& key, ByteView salt, std::string_view info) {
  // Extract, then one round of expand: 32 bytes are exactly one block (RFC 5869, 2.2 and 2.3).
  const Digest extracted = hmac_sha256(salt, key.view());
  Bytes block(as_bytes(info).begin(), as_bytes(info).end());
  block.push_back(1);
  return SecretKey(hmac_sha256(extracted.view(), block).view());
}

void aes_gcm_seal(const SecretKey& key, const GcmNonce& nonce, ByteView aad, ByteView plain,
                  Bytes& out) {
  CipherContext ctx(EVP_CIPHER_CTX_new());
  int n = 0;
  TM_CHECK(EVP_EncryptInit_ex2(ctx.get(), aes_gcm_cipher(), key.view().data(), nonce.data(),
                               nullptr) == 1);
  TM_CHECK(EVP_EncryptUpdate(ctx.get(), nullptr, &n, aad.data(), checked_int(aad.size())) == 1);
  const std::size_t start = out.size();
  out.resize(start + plain.size() + kGcmTagBytes);
  TM_CHECK(EVP_EncryptUpdate(ctx.get(), out.data() + start, &n, plain.data(),
                             checked_int(plain.size())) == 1);
  int last = 0;
  TM_CHECK(EVP_EncryptFinal_ex(ctx.get(), out.data() + start + n, &last) == 1);
  TM_CHECK(EVP_CIPHER_CTX_ctrl(ctx.get(), EVP_CTRL_GCM_GET_TAG, kGcmTagBytes,
                               out.data() + start + plain.size()) == 1);
}

Result<Bytes> aes_gcm_open(const SecretKey& key, const GcmNonce& nonce, ByteView aad,
                           ByteView sealed) {
  if (sealed.size() < kGcmTagBytes || sealed.size() > 1U << 30)
    return Error(ErrorCode::corruption, "sealed data has an impossible length");
  const std::size_t size = sealed.size() - kGcmTagBytes;
  CipherContext ctx(EVP_CIPHER_CTX_new());
  int n = 0;
  TM_CHECK(EVP_DecryptInit_ex2(ctx.get(), aes_gcm_cipher(), key.view().data(), nonce.data(),
                               nullptr) == 1);
  TM_CHECK(EVP_DecryptUpdate(ctx.get(), nullptr, &n, aad.data(), checked_int(aad.size())) == 1);
  Bytes plain(size);
  TM_CHECK(EVP_DecryptUpdate(ctx.get(), plain.data(), &n, sealed.data(), checked_int(size)) == 1);
  std::array<std::uint8_t, kGcmTagBytes> tag{};
  std::memcpy(tag.data(), sealed.data() + size, kGcmTagBytes);
  TM_CHECK(EVP_CIPHER_CTX_ctrl(ctx.get(), EVP_CTRL_GCM_SET_TAG, kGcmTagBytes, tag.data()) == 1);
  int last = 0;
  if (EVP_DecryptFinal_ex(ctx.get(), plain.data() + n, &last) != 1)
    return Error(ErrorCode::corruption,
                 "authentication failed: wrong key, or the bytes were altered");
  return plain;
}

Result<SecretKey> scrypt(std::string_view passphrase, ByteView salt, unsigned log_n, unsigned r,
                         unsigned p) {
  static constexpr std::uint64_t kMemoryBytesMax = 1ULL << 30;
  // RFC 7914 asks for N < 2^(128 * r / 8).
  if (log_n < 1 || log_n > 30 || r < 1 || r > 64 || p < 1 || p > 16 || log_n >= 16 * r ||
      (128ULL * r << log_n) > kMemoryBytesMax)
    return Error(ErrorCode::invalid_argument, "scrypt parameters are out of range");
  std::array<std::uint8_t, SecretKey::kSize> out{};
  if (EVP_PBE_scrypt(passphrase.data(), passphrase.size(), salt.data(), salt.size(), 1ULL << log_n,
                     r, p, kMemoryBytesMax + kMiB, out.data(), out.size()) != 1)
    return Error(ErrorCode::resource_exhausted, "scrypt failed");
  SecretKey key(out);
  wipe(out);
  return key;
}

}  // namespace tidemark
