// Restoring a bucket's point, or a part of it, into a local directory: a file for each object, and
// a manifest that says what files cannot.
//
// Nothing is ever written outside of the directory, whatever the keys are: names are made safe
// (file_names.h), each directory is opened beneath the one before without following links. A file
// has its name only once it is whole and its hash was found right.
//
// ".tidemark-manifest.jsonl": the bucket's settings on the first line, then a line for each object:
// its path, key, version, ETag, SHA-256, headers, metadata, tags, ACL, lock. Text that is not UTF-8
// is given in hex, under the key with "_hex" behind it.
#pragma once

#include <filesystem>
#include <stop_token>

#include "agent/read/bucket_reader.h"
#include "agent/restore/bucket_problems.h"
#include "agent/restore/file_names.h"
#include "base/files.h"
#include "base/queue.h"

namespace tidemark {

inline constexpr std::string_view kManifestName = ".tidemark-manifest.jsonl";

struct DirectoryRestoreOptions {
  std::filesystem::path directory;  // made where it does not exist
  BucketSelection selection;
  bool force = false;  // into a directory that is not empty; files of the same name are replaced
  bool plan = false;
  std::size_t threads = 8;
};

class DirectoryRestore {
 public:
  // Everything given to it must outlive it.
  DirectoryRestore(BucketPoint& point, DirectoryRestoreOptions options, std::stop_token stop);

  // Called once. `refused` where the directory is not empty, unless forced; `not_found` for a key
  // or version that the point does not have. Objects that the store cannot give are in problems().
  Status run();

  const BucketCounts& counts() const { return counts_; }
  const ProblemList& problems() const { return problems_; }

 private:
  struct File {
    std::vector<std::string> path;
    ObjectEntry entry;
  };
  Status open_root();
  Status walk(const std::function<Status(ObjectEntry)>& each);
  Result<Fd> open_parent(const std::vector<std::string>& path) const;
  Status write(const File& file, std::uint64_t number);
  Status fill(int fd, const ObjectEntry& entry);
  Status add_to_manifest(const std::string& line);
  Status write_files();

  BucketPoint& point_;
  const DirectoryRestoreOptions options_;
  const std::stop_token stop_;
  BucketCounts counts_;
  ProblemList problems_;
  Fd root_, manifest_;
  NameRules rules_;
  std::mutex mutex_;  // for writing to manifest_
  std::atomic<std::uint64_t> files_{0};
};

}  // namespace tidemark
