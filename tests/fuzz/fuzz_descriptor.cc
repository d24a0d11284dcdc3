#include "base/crypto.h"
#include "store/keys.h"
#include "tests/fuzz/target.h"

using namespace tidemark;

namespace {

void check(ByteView bytes) {
  const auto descriptor = decode_store_descriptor(bytes);
  if (!descriptor) return;
  TM_CHECK(as_text(encode(*descriptor)) == as_text(bytes));
  // No slot opens to a secret that nobody wrapped for.
  const SecretKey key(Bytes(SecretKey::kSize, 0x5a));
  TM_CHECK(!open_with_key_file(*descriptor, key));
}

}  // namespace

// A store's descriptor; also with the digest put right, to get past it.
TM_FUZZ_TARGET(descriptor) {
  check(input);
  if (input.size() < Digest::kSize) return;
  Bytes mended(input.begin(), input.end() - Digest::kSize);
  append(mended, sha256(mended).view());
  check(mended);
}
