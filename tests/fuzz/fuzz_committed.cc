#include "base/crypto.h"
#include "store/record.h"
#include "tests/fuzz/target.h"

using namespace tidemark;

namespace {

void check(ByteView bytes) {
  const auto point = decode_committed_point(bytes);
  if (point) TM_CHECK(as_text(encode(*point)) == as_text(bytes));
}

}  // namespace

// A committed point as a backend holds it; also with the digest put right, to get past it.
TM_FUZZ_TARGET(committed) {
  check(input);
  if (input.size() < Digest::kSize) return;
  Bytes mended(input.begin(), input.end() - Digest::kSize);
  append(mended, sha256(mended).view());
  check(mended);
}
