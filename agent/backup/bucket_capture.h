// The pipeline that turns a bucket into entries, chunks, packs and a tree.
//
//   listing, or keys --+-> merge, key by key -> read what is new -> hash -> ask -> compress -> pack
//   old tree ----------+                         \-> entries, in order -> tree            -> upload
//
// Every arrow is bounded: by bytes read and not yet packed, by the entries that wait for their turn
// in the tree, and by packs not yet uploaded. So memory stays the same for a bucket of any size.
#pragma once

#include <atomic>
#include <stop_token>
#include <string>

#include "agent/backup/bucket_meta.h"
#include "agent/backup/pack_sender.h"
#include "agent/backup/volume_capture.h"
#include "store/tree.h"
#include "transport/s3/client.h"

namespace tidemark {

struct BucketCaptureInput {
  const s3::Client* client = nullptr;  // never null
  std::string bucket;
  bool versions = false;  // the bucket has or had versioning
  TreeRoot base_root;     // of the point before; the empty tree without one
  // The only keys that can differ from the point before, in ascending order, and the bytes of all
  // its objects: these keys are looked at, and nothing is listed. Null: the bucket is listed.
  const std::vector<std::string>* keys = nullptr;
  std::uint64_t base_size_bytes = 0;
  int zstd_level = 1;
  BackupProgress* progress = nullptr;  // never null
  RateLimiter* limiter = nullptr;      // of what is sent; may be null
  std::stop_token stop;
};

struct BucketCaptureResult {
  TreeRoot root;
  std::uint64_t objects = 0;  // entries of the tree, delete markers included
  std::uint64_t size_bytes = 0;
  std::uint64_t changed_bytes = 0;  // of new and changed versions
  std::uint64_t sent_bytes = 0;
  std::uint64_t read_objects = 0, read_bytes = 0;
  std::uint64_t dropped_objects = 0;
  // Keys that were overwritten or deleted while they were read, and looked at again.
  std::uint64_t moved_keys = 0;
  // Keys whose versions the server does not list in the order of their times.
  std::uint64_t reordered_keys = 0;
  // Keys that could not be had as the bucket has them.
  UnsettledKeys unsettled;
};

// How many objects are read at once: what a gateway takes to answer is mostly waiting, so that many
// small objects need many requests under way. Threads that wait cost a stack of a few pages and a
// connection each; what they read is bounded together. A client for a capture should have as many
// connections, and kListedAtOnce besides.
inline constexpr std::size_t kObjectReaders = 128;

// Captures and uploads; everything that the new root reaches is durable at the store on success.
// An error of the listing fails the capture, and so does a gateway that does not answer. A key that
// changes faster than it can be read, and an object that the server refuses, that is damaged or
// that cannot be kept, does not keep the rest of the bucket from being protected: of such a version
// the tree has what the point before has under its id, or nothing, never a part, and `unsettled`
// names the key. The next capture reads it again, as the listing does not say what the tree has.
// Where nothing at all could be had the error is that of a key. After a failure nothing is left
// running.
Result<BucketCaptureResult> capture_bucket(const BucketCaptureInput& input, PointStore& store,
                                           const UploadSession& session, const StoreKeys& keys,
                                           TreeNodes& nodes);

}  // namespace tidemark
