#include "store/bucket.h"
#include "tests/fuzz/target.h"

using namespace tidemark;

// First byte: the number of references; second: the size of the key; the rest: key, then value.
TM_FUZZ_TARGET(object) {
  if (input.size() < 2 || input.size() - 2 < input[1]) return;
  TreeEntry entry;
  for (std::uint8_t i = 0; i < input[0]; ++i) entry.refs.emplace_back();
  entry.key = as_text(input.subspan(2, input[1]));
  entry.value = copy_of(input.subspan(2 + std::size_t{input[1]}));
  const auto object = decode_object(entry);
  if (!object) return;
  TM_CHECK(encode_object(*object) == entry);
  TM_CHECK(entry.key.starts_with(object_tree_prefix(object->place.key)));
  TM_CHECK(object->inline_data.empty() || object->inline_data.size() == object->size_bytes);
  TM_CHECK(object->chunks.size() * kObjectChunkBytes >= object->size_bytes ||
           object->size_bytes <= kInlineBytesMax);
  TM_CHECK(object->listed_alike(*object));
}
