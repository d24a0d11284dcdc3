// Where a store's bytes live: a flat space of named, immutable blobs.
//
// What a store relies on, and what the conformance suite (tests/store/backend_conformance.h) checks
// on every one:
//   - create(), replace() and Writer::commit() are atomic and durable: after a crash at any
//     time a name is absent (or as it was), or holds all the bytes; once they returned, it does.
//   - A blob is never seen half written, neither by read() nor by list().
//   - What was put is seen at once by read(), size() and list().
//   - list() is complete, or it fails. An error never reads as "nothing there".
// All functions are safe from any thread. Errors: `not_found` (no such name), `already_exists`
// (create meets an existing name), `resource_exhausted` for a full medium, `unavailable` or
// `deadline_exceeded` where trying again may help, `corruption` for a blob shorter than asked.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace tidemark {

struct BlobInfo {
  std::string name;
  std::uint64_t size_bytes = 0;
};

struct BackendSpace {
  std::uint64_t total_bytes = 0;
  std::uint64_t free_bytes = 0;
};

// Held by the one process that may change a store.
class WriterLock {
 public:
  virtual ~WriterLock() = default;  // lets go
  // False once the lock was lost (its lease ran out, or was broken): the holder must stop writing.
  virtual bool held() const = 0;
};

class Backend {
 public:
  // A blob in the making. Destroying it without commit() leaves nothing visible.
  class Writer {
   public:
    virtual ~Writer() = default;
    virtual Status append(ByteView data) = 0;
    // Makes the blob visible under its name, durably. An existing blob of that name stays, and
    // is a success: names of streamed blobs are hashes of their bytes.
    virtual Status commit() = 0;
  };

  virtual ~Backend() = default;

  // As the user names it: "file:/srv/tidemark", "rados:pool[/namespace]".
  virtual std::string url() const = 0;
  // Nothing larger may be put; at least 64 MiB.
  virtual std::uint64_t blob_bytes_max() const = 0;

  // Creates the blob `name`; `already_exists` where the name is taken.
  virtual Status create(std::string_view name, ByteView data) = 0;
  // Creates or replaces the blob `name`. For small control blobs, and for one that is damaged.
  virtual Status replace(std::string_view name, ByteView data) = 0;
  virtual Result<std::unique_ptr<Writer>> writer(std::string_view name) = 0;

  // Exactly `size` bytes at `offset`; `corruption` where the blob ends before.
  virtual Result<Bytes> read(std::string_view name, std::uint64_t offset, std::size_t size) = 0;
  virtual Result<std::uint64_t> size(std::string_view name) = 0;
  // Calls `each` once for every blob whose name starts with `prefix`, in no certain order, on the
  // caller's thread; stops at the first error that `each` returns, and returns it.
  virtual Status list(std::string_view prefix,
                      const std::function<Status(const BlobInfo&)>& each) = 0;
  // As list(), where only the names are wanted: that can be much less work. As complete as list().
  virtual Status list_names(std::string_view prefix,
                            const std::function<Status(std::string_view name)>& each) {
    return list(prefix, [&](const BlobInfo& blob) { return each(blob.name); });
  }
  // Success where the name is absent already.
  virtual Status remove(std::string_view name) = 0;

  // Nothing where the medium does not say.
  virtual Result<std::optional<BackendSpace>> space() = 0;

  // Takes the store's writer lock, as `owner` (shown to whoever is refused). `refused` if another
  // process holds it.
  virtual Result<std::unique_ptr<WriterLock>> lock_writer(std::string_view owner) = 0;
};

// A blob's name: 1 to 200 bytes of [a-z0-9._-], in at most four parts split by '/', no part empty
// or beginning with '.'. Names beginning with "tmp" are the backend's own.
Status check_blob_name(std::string_view name);

// The whole blob; `invalid_argument` where it is larger than `bytes_max`.
Result<Bytes> read_blob(Backend& backend, std::string_view name, std::uint64_t bytes_max);

struct BackendConfig {
  enum class Type { file, rados } type = Type::file;
  std::string path;       // file: the directory
  std::string ceph_conf;  // rados: path of ceph.conf
  std::string ceph_user;  // rados: "tidemark", without "client."
  std::string pool;       // rados
  std::string ns;         // rados: namespace, may be empty
};

// "file:/path", a path, or "rados:pool[/namespace]" (with ceph.conf and user from the arguments).
Result<BackendConfig> parse_backend_url(std::string_view url, std::string ceph_conf,
                                        std::string ceph_user);
// Opens a backend; creates its directory (file) where `create` is set, the pool (rados) never.
Result<std::unique_ptr<Backend>> open_backend(const BackendConfig& config, bool create);

}  // namespace tidemark
