// Checks points: that everything they reach is there (structure), and that its bytes are what they
// were (data). Finds all damage there is to find; one bad blob does not end the search.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "agent/read/blob_reader.h"

namespace tidemark {

struct Damage {
  std::string kind;   // "record", "node", "chunk", "object", "pack"
  std::string id;     // hex; of an object: its key
  std::string point;  // hex of a point that needs it
  std::string pack;   // hex; empty where not known
  std::string message;
};

struct VerifyReport {
  std::uint64_t points_checked = 0, chunks_checked = 0, bytes_read = 0;
  std::vector<Damage> damaged;
};

struct VerifyOptions {
  double read_share = 0;  // of the chunks or objects, by chance; 1: every one
  std::stop_token stop;
};

// With the key. Errors are those that kept the search from going on; damage is in the report.
Result<VerifyReport> verify_points(PointStore& store, const StoreKeys& keys,
                                   const std::vector<PointRow>& points,
                                   const VerifyOptions& options);

}  // namespace tidemark
