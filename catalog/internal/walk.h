// Which nodes of a tree are complete: everything that they reach is in the catalog. Works without
// the key, from what a node shows in clear.
#pragma once

#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "catalog/internal/rocks_catalog.h"
#include "store/backend.h"
#include "store/record.h"

namespace tidemark::catalog {

// Walks trees and marks their complete nodes as closed. What one walk has found out is known to the
// next: complete nodes by their mark, the others in memory. Used by one thread.
class TreeWalker {
 public:
  // Both must outlive the walker.
  TreeWalker(Backend& backend, RocksCatalog& catalog) : backend_(backend), catalog_(catalog) {}

  // What is absent or unreadable below `root`, in words, at most a few; empty where it is complete.
  Result<std::vector<std::string>> walk(const TreeRoot& root, std::stop_token stop);

 private:
  // A node that was read. At level 0 the references are checked and dropped.
  struct Node {
    ChunkId id;
    BlobLocation location;
    std::vector<ChunkId> children;
    bool whole = true;
  };
  Result<std::vector<Node>> locate(std::span<const ChunkId> ids, std::vector<std::string>& absent);
  Status read(Node& node, std::uint8_t level, std::string& problem);
  Status check_chunks(Node& node, std::span<const ChunkId> refs, std::string& problem);
  Status close(std::vector<std::vector<Node>>& levels);

  Backend& backend_;
  RocksCatalog& catalog_;
  std::unordered_set<ChunkId, IdHash> incomplete_;
};

}  // namespace tidemark::catalog
