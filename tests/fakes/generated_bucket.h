// A bucket of any number of objects that are made when they are asked for.
#pragma once

#include <string>

#include "store/bucket.h"
#include "tests/fakes/s3_server.h"

namespace tidemark::testing {

// Objects of some dozen bytes. Safe from any thread once made.
class GeneratedBucket {
 public:
  // Of every `changed_each` objects the first has another content than at first; 0: none has.
  GeneratedBucket(std::string name, std::uint64_t count, std::uint64_t changed_each = 0)
      : name_(std::move(name)), count_(count), changed_each_(changed_each) {}

  // Makes `server` have the bucket, which a client must have created. It must outlive the server's
  // requests.
  void attach(S3Server& server) const;
  // In ascending order.
  std::string key(std::uint64_t number) const;
  // As a capture reads it, while it was as at first.
  ObjectEntry entry_at_first(std::uint64_t number) const;
  std::uint64_t count() const { return count_; }

 private:
  std::string body(std::uint64_t number, bool changed) const;
  bool is_changed(std::uint64_t number) const {
    return changed_each_ != 0 && number % changed_each_ == 0;
  }
  // The first whose key is not below.
  std::uint64_t lower_bound(const std::string& key) const;
  S3Answer list(const S3Request& request) const;
  S3Answer read(const S3Request& request) const;

  const std::string name_;
  const std::uint64_t count_, changed_each_;
};

}  // namespace tidemark::testing
