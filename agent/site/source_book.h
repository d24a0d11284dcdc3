// Which images this site keeps snapshots on, and for which stores: a file in the state directory.
//
// A backup asks nobody but the image and the store what its base is (docs/decisions/0004). But of
// an image that no policy covers any more, and of a store that is configured no more, nobody would
// ask ever again, and the snapshot would pin space for ever. The book says where to look
// (agent/site/orphans.h). It is a hint: what is lost with it is the tidying up, never data.
//
// Written as JSON, version 1. Safe from any thread and from several processes.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace tidemark {

struct SourceEntry {
  std::string asset;  // "rbd/pool/image"
  StoreId store;
  std::string to;           // what the configuration called the store
  bool superseded = false;  // the configuration's name stands for another store by now
  bool of_claim = false;    // it was found by a claim of Kubernetes
  std::optional<Timestamp> unwanted_since = {};
  bool operator==(const SourceEntry&) const = default;
};

class SourceBook {
 public:
  explicit SourceBook(std::filesystem::path file) : file_(std::move(file)) {}

  // Before the first snapshot for that store is taken; durable on return. Nothing is written where
  // it is known. Other stores that had the name `to` for this asset are superseded.
  Status note(const std::string& asset, const StoreId& store, const std::string& to,
              bool of_claim = false);
  Result<std::vector<SourceEntry>> entries() const;
  // Calls `change` for each entry under the file's lock; those that it returns false for are
  // forgotten. Written only where something is different then.
  Status update(const std::function<bool(SourceEntry&)>& change);

 private:
  // A file that cannot be understood is taken for an empty one, with a warning.
  Result<std::vector<SourceEntry>> read() const;
  Status change(const std::function<void(std::vector<SourceEntry>&)>& edit);

  const std::filesystem::path file_;
};

}  // namespace tidemark
