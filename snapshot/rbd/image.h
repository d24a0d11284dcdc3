// RBD images through librbd's C API: connections, images, snapshots, asynchronous reads and writes.
// The only folder that includes librbd; no type of it leaves.
//
// Errors: librbd's negative errno becomes an Error in one place (rbd_error): `not_found`,
// `already_exists`, `permission_denied`, `refused` (read-only, busy, watched), `unavailable`,
// `deadline_exceeded` (the cluster did not answer), `resource_exhausted`.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/asset.h"
#include "base/bytes.h"
#include "base/result.h"

namespace tidemark {

struct CephConfig {
  std::string conf;  // path of ceph.conf
  std::string user;  // "tidemark", without "client."
  std::chrono::seconds connect_timeout{15};
  std::chrono::seconds operation_timeout{120};  // of one RADOS operation; then `deadline_exceeded`
};

// Of a pool, as much as could still be written, copies not counted.
struct PoolSpace {
  std::uint64_t used_bytes = 0, free_bytes = 0;
};

// A connection to a cluster. Safe from any thread; must outlive the images opened through it.
class CephCluster {
 public:
  static Result<std::shared_ptr<CephCluster>> connect(const CephConfig& config);
  ~CephCluster();
  std::string fsid() const;
  // Names of the images in a pool (and namespace).
  Result<std::vector<std::string>> list_images(const std::string& pool, const std::string& ns);
  // As the monitors tell it, a few seconds old.
  Result<PoolSpace> space(const std::string& pool);

  struct Impl;
  Impl& impl() { return *impl_; }
  explicit CephCluster(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

struct SnapshotInfo {
  std::uint64_t id = 0;
  std::string name;
  std::uint64_t size_bytes = 0;
  bool user = true;  // in the user namespace: neither of a group, nor of a mirror, nor in the trash
  // In the trash, where a removal that was interrupted leaves a snapshot under a name of librbd's
  // own: the name that it had. Empty otherwise.
  std::string trashed_name;
};

// A snapshot that was taken at a moment of our choice.
struct HeldSnapshot {
  std::uint64_t id = 0;
  bool held = false;  // nobody else wrote to the image between that moment and the snapshot
};

// What an image is, as kept in a point and given back on restore.
struct ImageInfo {
  std::string id;  // librbd's image id: tells a re-created image from its predecessor
  std::uint64_t size_bytes = 0;
  unsigned order = 22;  // object size is 2^order
  std::uint64_t stripe_unit = 0, stripe_count = 1;
  std::uint64_t features = 0;
  std::uint64_t flags = 0;           // of what is open (head or snapshot)
  std::string data_pool;             // empty: none
  std::string parent;                // "pool/ns/image@snap" for people; empty: not a clone
  std::uint64_t parent_overlap = 0;  // of what is open
  std::map<std::string, std::string> metadata;  // rbd image-meta
  bool object_map_usable() const;               // fast-diff and object-map on, and no invalid flag
};

struct CreateImage {
  std::uint64_t size_bytes = 0;
  unsigned order = 22;
  std::uint64_t stripe_unit = 0, stripe_count = 0;  // 0: the default
  std::optional<std::uint64_t> features;            // nothing: the cluster's default
  std::string data_pool;
  std::map<std::string, std::string> metadata;
};

// An open image, at its head or at one snapshot. Safe from any thread. Destroying it waits for the
// operations under way.
class RbdImage {
 public:
  // Called exactly once per operation: on a librbd thread, or, where the operation is refused at
  // once, on the caller's before the call returns. Must not block.
  using Done = std::function<void(Status)>;

  static Result<std::unique_ptr<RbdImage>> open_read_only(std::shared_ptr<CephCluster> cluster,
                                                          const RbdImageName& name);
  static Result<std::unique_ptr<RbdImage>> open_read_write(std::shared_ptr<CephCluster> cluster,
                                                           const RbdImageName& name);
  // At the snapshot with this id (never looked up by name: names are reused). `not_found` where it
  // is gone.
  static Result<std::unique_ptr<RbdImage>> open_snapshot(std::shared_ptr<CephCluster> cluster,
                                                         const RbdImageName& name,
                                                         std::uint64_t snapshot_id);
  // Those of this name in the pool's trash, for writing. Snapshots that are left on one keep it
  // from being purged.
  static Result<std::vector<std::unique_ptr<RbdImage>>> open_trashed(
      const std::shared_ptr<CephCluster>& cluster, const RbdImageName& name);
  static Status create(CephCluster& cluster, const RbdImageName& name, const CreateImage& what);
  // A writable clone of an image's snapshot, with the features of its parent. The parent's snapshot
  // need not be protected, and may be removed before the clone is (clone format 2).
  static Status clone(CephCluster& cluster, const RbdImageName& parent, const std::string& snapshot,
                      const RbdImageName& name);
  // `not_found` where there is none; `refused` where it has snapshots or is in use.
  static Status remove(CephCluster& cluster, const RbdImageName& name);
  // Gives the image another name in its pool and namespace; `already_exists` where that is taken.
  static Status rename(CephCluster& cluster, const RbdImageName& from, const std::string& to);
  ~RbdImage();

  const RbdImageName& name() const;
  std::uint64_t size() const;
  Result<ImageInfo> info();
  Result<std::vector<SnapshotInfo>> snapshots();
  // REQUIRES (all): opened at the head, read-write. The new snapshot's id.
  Result<std::uint64_t> create_snapshot(const std::string& name);
  // As create_snapshot(), at a moment of our choice: `meet(held)` is called once, on any thread,
  // and the snapshot is of when it returns. Where `held`, writes of other clients wait meanwhile,
  // so it must be short. They wait, and none fails. An image is not held where
  // it has no exclusive-lock, and where another client was told to keep the lock. An error of
  // `meet` is returned, and there is no snapshot; without a call of it there is none either.
  using Meet = std::function<Status(bool held)>;
  Result<HeldSnapshot> create_snapshot_held(const std::string& name, const Meet& meet);
  // Takes the image's lock from whoever has it, who may take it back at once: shows that the owner
  // is alive, or has Ceph find out (30 seconds) that it is not. `refused` where it was told to keep
  // the lock, `deadline_exceeded` after `limit`; nothing happens without exclusive-lock.
  // REQUIRES: opened at the head, read-write.
  Status claim(std::chrono::milliseconds limit);
  Result<bool> has_exclusive_lock();
  // Takes the image's lock and keeps it while this is open: whoever else writes is refused (EROFS).
  // `refused` where the image has no exclusive-lock, or another client was told to keep the lock.
  // REQUIRES: opened at the head, read-write.
  Status hold_lock();
  // Removes by id after checking that the id still carries `name`; success where it is gone.
  Status remove_snapshot(std::uint64_t id, const std::string& name);
  // One entry of its metadata; nothing where there is none.
  Result<std::optional<std::string>> metadata(const std::string& key);
  // REQUIRES: opened read-write.
  Status set_metadata(const std::string& key, const std::string& value);
  // Whether its metadata has all these names with values that match these patterns.
  Result<bool> has_labels(const std::map<std::string, std::string>& wanted);
  Status resize(std::uint64_t size_bytes);
  // True where a client other than this one has the image open.
  Result<bool> watched_by_others();

  // `into` must stay valid until `done`. Reads past the end are an error.
  void read(std::uint64_t offset, ByteSpan into, Done done);
  // `data` must stay valid until `done`.
  void write(std::uint64_t offset, ByteView data, Done done);
  // Afterwards the range reads as zeros, whatever librbd's discard granularity is.
  void write_zeroes(std::uint64_t offset, std::uint64_t size, Done done);
  Status flush();
  Status read_sync(std::uint64_t offset, ByteSpan into);

  struct Impl;
  Impl& impl() { return *impl_; }
  explicit RbdImage(std::unique_ptr<Impl> impl);

 private:
  void write_nothing(Done done);
  Result<HeldSnapshot> create_snapshot_unheld(const std::string& name, const Meet& meet);

  std::unique_ptr<Impl> impl_;
};

// Of the library that this process runs with: "1.17.0".
std::string librbd_version();

}  // namespace tidemark
