#include "store/expired.h"
#include "tests/fuzz/target.h"

using namespace tidemark;

// What is accepted would be written the same way again.
TM_FUZZ_TARGET(expired) {
  const auto points = decode_expired_points(input);
  if (!points) return;
  const Bytes again = encode(*points);
  TM_CHECK(as_text(again) == as_text(input));
}
