#include "store/pack.h"
#include "store/tree.h"
#include "tests/fuzz/target.h"

using namespace tidemark;

// The plain bytes of a tree node. One node has one encoding.
TM_FUZZ_TARGET(node) {
  const auto node = decode_node(input);
  if (node) {
    const EncodedNode again = encode_node(*node);
    TM_CHECK(as_text(again.plain) == as_text(input));
    ByteWriter stored;
    stored.sized(ByteView(again.plain).first(again.clear_size));
    const auto refs = parse_node_refs(stored.bytes());
    TM_CHECK(refs && refs->level == node->level);
  }
  const auto refs = parse_node_refs(input);
  TM_CHECK(!refs || refs->refs.size() * ChunkId::kSize <= input.size());
}
