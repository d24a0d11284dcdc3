// What a bucket holds, key by key, as its server lists it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snapshot/bucket/pages.h"

namespace tidemark {

// All versions of one key, newest first; of a bucket without versions, the one object. Of each only
// what a listing says is filled in: place, delete_marker, latest, size_bytes, etag.
struct ListedKey {
  std::string key;
  std::vector<ObjectEntry> versions;
  // The server's order was not that of times: the versions were put into that of times.
  bool reordered = false;
};

// In ascending order of keys. Used by one thread.
class KeyListing {
 public:
  // Of all keys that the pages have.
  explicit KeyListing(std::unique_ptr<ListingPages> pages) : KeyListing(std::move(pages), "") {}
  // Of the key `only`.
  KeyListing(const ListingScope& scope, const std::string& only);

  // Nothing at the end. An error is never an end.
  Result<std::optional<ListedKey>> next();

 private:
  KeyListing(std::unique_ptr<ListingPages> pages, std::string only)
      : pages_(std::move(pages)), only_(std::move(only)) {}
  Status fill();
  // The next entry of the listing; null at its end. Valid until the next call.
  Result<const ObjectEntry*> peek();

  const std::unique_ptr<ListingPages> pages_;
  const std::string only_;  // empty: all
  std::vector<ObjectEntry> page_;
  std::size_t at_ = 0;
  bool ended_ = false;
};

}  // namespace tidemark
