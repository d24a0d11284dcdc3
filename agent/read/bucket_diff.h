// What differs between two points of buckets: keys added, changed and removed.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "agent/read/bucket_reader.h"

namespace tidemark {

struct KeyChange {
  // By what a GET answers; `changed` also where only older versions differ.
  enum class Kind { added, changed, removed } kind = Kind::changed;
  std::string key;
  std::uint64_t from_bytes = 0, to_bytes = 0;  // of the current object; 0 where there is none
  std::uint64_t entries = 0;                   // versions and delete markers that differ
};
std::string_view to_string(KeyChange::Kind kind);

// Calls `each` in ascending order of keys. Reads what the two trees do not share; memory does not
// grow with the number of keys.
Status diff_buckets(BucketPoint& from, BucketPoint& to,
                    const std::function<Status(const KeyChange&)>& each);

// The key as a terminal may see it: control characters, what is no UTF-8, and backslashes as \xNN.
std::string printable_key(std::string_view key);

}  // namespace tidemark
