#include "agent/drill/disk.h"
#include "agent/drill/recovery.h"
#include "agent/read/volume_view.h"
#include "agent/restore/instant_restore.h"
#include "agent/restore/volume_restore.h"
#include "agent/standby/mark.h"
#include "base/text.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;
using Method = DrillConfig::Method;

constexpr const char* kDiskFile = "disk.raw";

class VolumeRecovery : public Recovery {
 public:
  VolumeRecovery(DrillTools tools, PointRow point, std::string label)
      : tools_(std::move(tools)), point_(std::move(point)), name_(drill_name(label)) {}

  Result<std::uint64_t> estimate() override {
    TM_TRY(const auto restore, open_restore({}));
    TM_TRY(const RestoreEstimate estimate, restore->estimate_everything());
    return estimate.write_bytes;
  }
  Result<ContentReport> compare(std::stop_token stop) override {
    TM_TRY(BlockView* const view, disk(stop));
    return compare_content(*tools_.store, *tools_.keys, point_.point.record, *view, stop);
  }
  Result<std::optional<ContentReport>> sample(std::size_t, std::uint64_t,
                                              std::stop_token) override {
    return std::optional<ContentReport>();
  }
  Result<BlockView*> disk(std::stop_token stop) override {
    if (!disk_) {
      TM_TRY(disk_, open_disk(stop));
    }
    return disk_.get();
  }

 protected:
  virtual Result<std::unique_ptr<BlockView>> open_disk(std::stop_token stop) = 0;
  Result<std::unique_ptr<VolumeRestore>> open_restore(std::stop_token stop) const {
    return VolumeRestore::open(*tools_.store, *tools_.keys, point_, std::move(stop));
  }
  std::chrono::microseconds now() const { return tools_.clock->uptime(); }

  const DrillTools tools_;
  const PointRow point_;
  const std::string name_;
  std::unique_ptr<BlockView> disk_;
};

// Into an image: restored, usable at once, or cloned.
class ImageRecovery : public VolumeRecovery {
 public:
  using VolumeRecovery::VolumeRecovery;
  std::string target() const override { return "rbd/" + image().text(); }
  std::vector<DrillThing> things() const override {
    return {{DrillThing::Kind::image, image().text(), point_.point.record.id.hex()}};
  }
  Status check_room(std::uint64_t bytes) override {
    TM_TRY(const PoolSpace space, tools_.cluster->space(tools_.plan->pool));
    return tidemark::check_room(bytes, space.free_bytes, space.used_bytes + space.free_bytes,
                                tools_.plan->limits.keep_free);
  }
  Result<Usable> bring_back(std::stop_token stop) override {
    const auto began = now();
    TM_TRY(const auto restore, open_restore(stop));
    TM_TRY(const RestoreReport report,
           restore->to_new_image(tools_.cluster, image(), VolumeRestore::NewImage()));
    return Usable{now() - began, report.written_bytes, report.fetched_bytes};
  }

 protected:
  RbdImageName image() const { return {tools_.plan->pool, tools_.plan->ns, name_}; }
  Result<std::unique_ptr<BlockView>> open_disk(std::stop_token stop) override {
    return open_image_disk(tools_.cluster, image(), std::move(stop));
  }
};

class InstantRecovery final : public ImageRecovery {
 public:
  using ImageRecovery::ImageRecovery;
  // Usable is when clients may open it; what is compared is what it is when it is complete.
  Result<Usable> bring_back(std::stop_token stop) override {
    InstantRestore::Options options;
    options.cluster = tools_.cluster;
    options.name = image();
    options.stop = std::move(stop);
    InstantRestore restore(*tools_.store, *tools_.keys, std::move(options));
    TM_TRY(const InstantReport report, restore.run(point_));
    return Usable{report.usable_after, point_.point.record.size_bytes, report.fetched_bytes};
  }
};

// A clone of the standby image, at its snapshot of the point: what a promotion would give.
class StandbyRecovery final : public ImageRecovery {
 public:
  using ImageRecovery::ImageRecovery;
  Result<std::uint64_t> estimate() override { return 0; }
  Result<Usable> bring_back(std::stop_token) override {
    const auto began = now();
    TM_TRY(const RbdImageName parent, standby_name());
    TM_DO(RbdImage::clone(*tools_.cluster, parent, standby_snapshot_name(point_.point.record.id),
                          image()));
    TM_TRY(const auto opened, RbdImage::open_read_only(tools_.cluster, image()));
    Bytes first(std::min<std::uint64_t>(4096, opened->size()));
    if (!first.empty()) TM_DO(opened->read_sync(0, first));
    return Usable{now() - began, 0, 0};
  }

 private:
  Result<RbdImageName> standby_name() const {
    const PointRecord& record = point_.point.record;
    TM_TRY(const AssetName asset, AssetName::parse(record.asset));
    const std::string text = record.site + ":" + record.asset;
    for (const auto& [name, group] : tools_.config->standby)
      for (const std::string& glob : group.assets)
        if (glob_match(glob, text)) return RbdImageName{group.pool, group.ns, asset.rbd().image};
    return Error(ErrorCode::not_found, "no standby of " + text + " is kept here");
  }
};

class FileRecovery final : public VolumeRecovery {
 public:
  using VolumeRecovery::VolumeRecovery;
  std::string target() const override { return (directory() / kDiskFile).string(); }
  std::vector<DrillThing> things() const override {
    return {{DrillThing::Kind::directory, directory().string(), ""}};
  }
  Status check_room(std::uint64_t bytes) override {
    return check_scratch_room(*tools_.plan, bytes);
  }
  Result<Usable> bring_back(std::stop_token stop) override {
    const auto began = now();
    std::error_code failed;
    fs::create_directories(directory(), failed);
    if (failed) return errno_error(failed.value(), "create " + directory().string());
    TM_TRY(const auto restore, open_restore(std::move(stop)));
    TM_TRY(const RestoreReport report, restore->to_file(directory() / kDiskFile, false));
    return Usable{now() - began, report.written_bytes, report.fetched_bytes};
  }

 private:
  fs::path directory() const { return tools_.plan->scratch / name_; }
  Result<std::unique_ptr<BlockView>> open_disk(std::stop_token) override {
    return open_file_disk(directory() / kDiskFile);
  }
};

// Nothing is made: the point is read where it is.
class ServeRecovery final : public VolumeRecovery {
 public:
  using VolumeRecovery::VolumeRecovery;
  std::string target() const override { return "nothing: read from the store"; }
  std::vector<DrillThing> things() const override { return {}; }
  Status check_room(std::uint64_t) override { return {}; }
  Result<Usable> bring_back(std::stop_token stop) override {
    const auto began = now();
    TM_TRY(BlockView* const view, disk(std::move(stop)));
    Bytes first(std::min<std::uint64_t>(4096, view->size()));
    TM_DO(view->read(0, first));
    return Usable{now() - began, 0, served_->fetched_bytes()};
  }

 private:
  Result<std::unique_ptr<BlockView>> open_disk(std::stop_token) override {
    TM_TRY(auto view, VolumeView::open(*tools_.store, *tools_.keys, point_, {}));
    served_ = view.get();
    return std::unique_ptr<BlockView>(std::move(view));
  }
  VolumeView* served_ = nullptr;
};

}  // namespace

Result<std::unique_ptr<Recovery>> plan_volume_recovery(const DrillTools& tools,
                                                       const PointRow& point,
                                                       const std::string& label) {
  const auto make = [&]<class T>(std::type_identity<T>) {
    return std::unique_ptr<Recovery>(std::make_unique<T>(tools, point, label));
  };
  switch (tools.plan->method) {
    case Method::restore:
      return make(std::type_identity<ImageRecovery>());
    case Method::instant:
      return make(std::type_identity<InstantRecovery>());
    case Method::standby:
      return make(std::type_identity<StandbyRecovery>());
    case Method::file:
      return make(std::type_identity<FileRecovery>());
    case Method::serve:
      return make(std::type_identity<ServeRecovery>());
  }
  return Error(ErrorCode::internal, "an unknown method");
}

}  // namespace tidemark
