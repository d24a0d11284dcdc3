#include "store/keys.h"
#include "tests/fuzz/target.h"

using namespace tidemark;

TM_FUZZ_TARGET(key_file) {
  const auto key = parse_key_file(as_text(input));
  if (!key) return;
  const std::string text = format_key_file(*key);
  const auto again = parse_key_file(text);
  TM_CHECK(again && equal_constant_time(again->view(), key->view()));
  TM_CHECK(input.size() + 1 >= text.size());
}
