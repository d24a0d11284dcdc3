#include "store/record.h"
#include "tests/fuzz/target.h"

using namespace tidemark;

// A point record as a peer sends it. One record has one encoding.
TM_FUZZ_TARGET(record) {
  auto record = decode_point_record(input);
  if (!record) return;
  CommittedPoint point;
  point.record = *record;
  const Bytes committed = encode(point);
  TM_CHECK(as_text(committed).find(as_text(input)) != std::string_view::npos);
  const auto meta = open_meta(*record, StoreKeys::unencrypted());
  TM_CHECK(meta && meta->size() == record->sealed_meta.size());
  const bool no_mac = record->mac.is_null();
  TM_CHECK(check_record_mac(*record, StoreKeys::unencrypted()).has_value() == no_mac);
}
