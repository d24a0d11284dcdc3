#include "transport/s3/md5.h"

#include <openssl/evp.h>

#include "base/assert.h"

namespace tidemark::s3 {

struct Md5::Context {
  EVP_MD_CTX* const evp = EVP_MD_CTX_new();
  Context() = default;
  ~Context() { EVP_MD_CTX_free(evp); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
};

Md5::Md5() : context_(std::make_unique<Context>()) {
  TM_CHECK(context_->evp != nullptr && EVP_DigestInit_ex(context_->evp, EVP_md5(), nullptr) == 1);
}
Md5::~Md5() = default;
Md5::Md5(Md5&&) noexcept = default;
Md5& Md5::operator=(Md5&&) noexcept = default;

void Md5::update(ByteView data) {
  TM_CHECK(EVP_DigestUpdate(context_->evp, data.data(), data.size()) == 1);
}

Md5Digest Md5::finish() {
  Md5Digest digest;
  TM_CHECK(EVP_DigestFinal_ex(context_->evp, digest.bytes.data(), nullptr) == 1);
  return digest;
}

Md5Digest md5(ByteView data) {
  Md5 hash;
  hash.update(data);
  return hash.finish();
}

}  // namespace tidemark::s3
