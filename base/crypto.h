// The cryptography that we use, over OpenSSL's EVP: SHA-256, HMAC, HKDF, AES-256-GCM, scrypt and
// random bytes. Nothing here keeps global state; all functions are safe from any thread.
#pragma once

#include <array>
#include <memory>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace tidemark {

// 32 secret bytes. Wiped when destroyed, never printable, moved or explicitly cloned.
class SecretKey {
 public:
  static constexpr std::size_t kSize = 32;
  SecretKey() = default;
  // REQUIRES: from.size() == kSize.
  explicit SecretKey(ByteView from);
  ~SecretKey();
  SecretKey(SecretKey&&) noexcept = default;
  SecretKey& operator=(SecretKey&&) noexcept = default;
  SecretKey(const SecretKey&) = delete;
  SecretKey& operator=(const SecretKey&) = delete;

  SecretKey clone() const { return SecretKey(view()); }
  ByteView view() const { return bytes_; }
  static SecretKey random();

 private:
  std::array<std::uint8_t, kSize> bytes_{};
};

// Overwrites memory in a way that the compiler does not remove.
void wipe(ByteSpan bytes);
void random_bytes(ByteSpan out);
template <class Id>
Id random_id() {
  Id id;
  random_bytes(id.bytes);
  return id;
}
bool equal_constant_time(ByteView a, ByteView b);

Digest sha256(ByteView data);

// SHA-256 of data that arrives in parts. Not safe for concurrent use.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(ByteView data);
  // Ends the computation; the object may be destroyed or assigned to afterwards, nothing else.
  Digest finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

Digest hmac_sha256(ByteView key, ByteView data);

// HKDF-SHA-256 (RFC 5869) with a 32-byte result.
SecretKey hkdf(const SecretKey& key, ByteView salt, std::string_view info);

inline constexpr std::size_t kGcmTagBytes = 16;
inline constexpr std::size_t kGcmNonceBytes = 12;
using GcmNonce = std::array<std::uint8_t, kGcmNonceBytes>;

// Appends ciphertext and tag of `plain` to `out`.
// REQUIRES: the pair (key, nonce) was never used before and never will be again.
void aes_gcm_seal(const SecretKey& key, const GcmNonce& nonce, ByteView aad, ByteView plain,
                  Bytes& out);
// The plain bytes of what aes_gcm_seal appended; `corruption` where anything differs.
Result<Bytes> aes_gcm_open(const SecretKey& key, const GcmNonce& nonce, ByteView aad,
                           ByteView sealed);

// A key from a passphrase by scrypt (RFC 7914); memory use is 128 * r * 2^log_n bytes, refused
// above 1 GiB, since the parameters come from a file.
Result<SecretKey> scrypt(std::string_view passphrase, ByteView salt, unsigned log_n, unsigned r,
                         unsigned p);

}  // namespace tidemark
