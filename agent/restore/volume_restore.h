// Restoring a volume's point: to a new image, into an existing one, to a file, or as a stream.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>

#include "agent/backup/volume_backup.h"
#include "agent/restore/volume_writer.h"

namespace tidemark {

struct RestoreReport {
  std::uint64_t written_bytes = 0;  // data
  std::uint64_t zeroed_bytes = 0;
  std::uint64_t skipped_bytes = 0;  // found to be right already
  std::uint64_t fetched_bytes = 0;  // from the store
};

// What would be done, without doing any of it.
struct RestoreEstimate {
  std::uint64_t write_bytes = 0;
  std::uint64_t zero_bytes = 0;
  std::uint64_t regions = 0;
  bool compares_everything = false;  // in place without a common snapshot: the image must be read
  std::uint64_t current_size_bytes = 0;  // in place
};

// One point about to be restored. Used by one thread; `store` and `keys` must outlive it.
class VolumeRestore {
 public:
  // Checks the record's authentication.
  static Result<std::unique_ptr<VolumeRestore>> open(PointStore& store, const StoreKeys& keys,
                                                     PointRow point, std::stop_token stop);

  const PointRow& point() const { return point_; }
  const VolumeMeta& meta() const { return meta_; }
  RestoreProgress& progress() { return progress_; }
  // What it stops for.
  const std::stop_token& stop() const { return stop_; }

  // The image appears under its name only when it is complete: until then it is called
  // "<image>.tidemark-restoring", and a leftover of that name is replaced. An existing image is
  // `refused`; with `force` it is removed once the new one is complete, unless it is in use or has
  // snapshots that are not ours.
  Result<RestoreReport> to_new_image(std::shared_ptr<CephCluster> cluster, const RbdImageName& name,
                                     bool force);
  // As to_new_image() without `force`. `adjust` may change what the image is created with;
  // `complete` is called with the complete image, before it gets its name. Either may be empty.
  struct NewImage {
    std::function<void(CreateImage& what)> adjust;
    std::function<Status(RbdImage& image)> complete;
  };
  Result<RestoreReport> to_new_image(std::shared_ptr<CephCluster> cluster, const RbdImageName& name,
                                     const NewImage& as);
  // Brings an open image to the point. Its snapshot `snapshot_id` equals the point `base`; with
  // `untouched` so does the image, else what was changed in it since is found, and undone.
  // REQUIRES: nobody else can write to the image (RbdImage::hold_lock()).
  struct Advance {
    RestoreReport restored;
    bool changes_undone = false;  // there were any
  };
  Result<Advance> advance(std::shared_ptr<CephCluster> cluster, std::shared_ptr<RbdImage> image,
                          const PointRow& base, std::uint64_t snapshot_id, bool untouched);
  // The same of an image of which nothing is known: everything is read and compared.
  Result<RestoreReport> bring_by_comparing(std::shared_ptr<CephCluster> cluster,
                                           std::shared_ptr<RbdImage> image);
  // Rolls an existing image to the point by writing only what differs. Where the image has a
  // snapshot of a point that the store knows, that is found from both diffs; else everything is
  // read and compared. `refused` while another client has the image open, unless `force` is set.
  Result<RestoreReport> in_place(std::shared_ptr<CephCluster> cluster, const RbdImageName& name,
                                 bool force);
  Result<RestoreReport> to_file(const std::filesystem::path& path, bool force);
  // Raw bytes, zeros included.
  Result<RestoreReport> to_raw_stream(int fd);
  // What `rbd import-diff` reads (rbd diff v1): all of the point, or what turns `from` into it. The
  // snapshots that it names are "tidemark-<point>".
  Result<RestoreReport> to_rbd_diff(int fd, const PointRow* from);

  Result<RestoreEstimate> estimate_everything();
  Result<RestoreEstimate> estimate_in_place(std::shared_ptr<CephCluster> cluster,
                                            const RbdImageName& name);

 private:
  struct InPlacePlan {
    std::vector<RegionWork> work;
    bool compare = false;
  };
  VolumeRestore(PointStore& store, const StoreKeys& keys, PointRow point, std::stop_token stop)
      : store_(store),
        keys_(keys),
        point_(std::move(point)),
        stop_(std::move(stop)),
        reader_(store, keys),
        nodes_(reader_) {}

  Result<std::unique_ptr<RbdImage>> create_image(const std::shared_ptr<CephCluster>& cluster,
                                                 const RbdImageName& name, const NewImage& as);
  // Everything of the point in an image under the temporary name of `name`.
  Result<RbdImageName> write_aside(const std::shared_ptr<CephCluster>& cluster,
                                   const RbdImageName& name, const NewImage& as);
  Result<bool> check_replaceable(const std::shared_ptr<CephCluster>& cluster,
                                 const RbdImageName& name, bool force);
  Status remove_replaced(const std::shared_ptr<CephCluster>& cluster, const RbdImageName& name);
  Result<RestoreReport> write_everything(VolumeTarget& target);
  Result<InPlacePlan> plan_in_place(std::shared_ptr<CephCluster> cluster, RbdImage& image,
                                    std::uint64_t snapshot_id);
  // What turns an image with the content of `common`, and as long as `image_bytes`, into the point.
  Result<std::vector<RegionWork>> work_from(const TreeRoot& common, std::uint64_t image_bytes);
  Status add_changes_since(RbdImage& current, RbdImage& base, std::vector<RegionWork>& work);
  Status add_past_end(std::uint64_t from_byte, std::vector<RegionWork>& work);
  Result<RegionMap> target_map(std::uint64_t region);
  Result<std::vector<RegionWork>> regions_to_compare(RbdImage& current);
  Status compare_and_write(const std::vector<RegionWork>& work, RbdTarget& target);
  RestoreReport report() const;
  const TreeRoot& root() const { return point_.point.record.root; }
  std::uint64_t size() const { return point_.point.record.size_bytes; }

  PointStore& store_;
  const StoreKeys& keys_;
  PointRow point_;
  VolumeMeta meta_;
  std::stop_token stop_;
  BlobReader reader_;
  TreeNodes nodes_;
  RestoreProgress progress_;
};

// What an image is called until a restore to it is complete.
RbdImageName restoring_name(RbdImageName name);

}  // namespace tidemark
