#include <algorithm>

#include "base/crypto.h"
#include "store/pack.h"
#include "tests/fuzz/target.h"

using namespace tidemark;

namespace {

void check(ByteView pack) {
  check_pack_header(pack).has_value();
  const auto index = parse_pack_index(pack, pack.size());
  if (!index) return;
  TM_CHECK(index->tail_needed == 0 || pack.size() < kPackTrailerBytes);
  std::uint64_t offset = kPackHeaderBytes;
  for (const PackEntry& entry : index->entries) {
    TM_CHECK(entry.offset == offset && entry.plain_size <= kBlobPlainBytesMax);
    offset += entry.stored_size;
    TM_CHECK(offset <= pack.size());
  }
  const auto whole = check_pack(pack, PackId::from(sha256(pack).view()));
  TM_CHECK(!whole || whole->entries == index->entries);
}

}  // namespace

// A pack; also with the digest of its index put right, to get past it.
TM_FUZZ_TARGET(pack_index) {
  check(input);
  // A tail that claims to belong to something large.
  parse_pack_index(input, kPackBytesMax).has_value();
  if (input.size() < kPackTrailerBytes) return;
  Bytes mended(input.begin(), input.end());
  ByteReader trailer(ByteView(mended).last(kPackTrailerBytes));
  const std::uint64_t index_offset = trailer.u64();
  const std::uint32_t index_size = trailer.u32();
  if (index_offset > mended.size() || index_size > mended.size() - index_offset) return;
  const Digest digest =
      sha256(ByteView(mended).subspan(static_cast<std::size_t>(index_offset), index_size));
  std::ranges::copy(digest.bytes, mended.end() - kPackTrailerBytes + 16);
  check(mended);
}
