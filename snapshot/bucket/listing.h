// What a bucket holds, key by key, as its server lists it.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "store/bucket.h"
#include "transport/s3/client.h"

namespace tidemark {

// All versions of one key, newest first; of a bucket without versions, the one object. Of each only
// what a listing says is filled in: place, delete_marker, latest, size_bytes, etag.
struct ListedKey {
  std::string key;
  std::vector<ObjectEntry> versions;
  // The server's order was not that of times: the versions were put into that of times.
  bool reordered = false;
};

// In ascending order of keys. Used by one thread; the client must outlive it.
class KeyListing {
 public:
  // `versions`: the bucket has or had versioning. With `only`, that key alone.
  KeyListing(const s3::Client& client, const std::string& bucket, bool versions,
             std::stop_token stop, const std::string& only = {});

  // Nothing at the end. An error is never an end.
  Result<std::optional<ListedKey>> next();

 private:
  Status fill();
  // The next entry of the listing; null at its end. Valid until the next call.
  Result<const ObjectEntry*> peek();

  const std::string only_;
  std::unique_ptr<s3::ObjectListing> objects_;    // one of the two
  std::unique_ptr<s3::VersionListing> versions_;  // one of the two
  std::vector<ObjectEntry> page_;
  std::size_t at_ = 0;
  bool ended_ = false;
};

}  // namespace tidemark
