#include "store/backend/rados_backend.h"

#include <cerrno>
#include <deque>
#include <unordered_set>

#include "store/backend/rados_lock.h"
#include "store/backend/rados_pool.h"

namespace tidemark {
namespace {

// One write operation per blob makes it atomic. OSDs take up to 90 MiB in one (osd_max_write_size)
// and objects up to 128 MiB by default.
constexpr std::uint64_t kBlobBytesMax = 64 * kMiB;
// Names the objects of blobs; what else lies in the pool and namespace is not ours.
constexpr std::string_view kObjectPrefix = "tidemark/";
constexpr const char* kLockObject = "tidemark.lock";
// A listing does not say sizes; so many objects are asked for theirs at once.
constexpr std::size_t kStatsInFlight = 64;

std::string object_of(std::string_view name) {
  return std::string(kObjectPrefix) + std::string(name);
}

struct ReleaseWriteOp {
  void operator()(void* op) const { rados_release_write_op(op); }
};
using WriteOp = std::unique_ptr<void, ReleaseWriteOp>;

struct CloseList {
  void operator()(void* list) const { rados_nobjects_list_close(list); }
};

const char* text_of(ByteView data) { return reinterpret_cast<const char*>(data.data()); }

enum class Existing { keep, overwrite };

Status put(const RadosPool& pool, std::string_view name, ByteView data, Existing existing) {
  if (data.size() > kBlobBytesMax)
    return Error(ErrorCode::invalid_argument, std::string(name) + ": larger than a blob may be");
  const WriteOp op(rados_create_write_op());
  if (existing == Existing::keep)
    rados_write_op_create(op.get(), LIBRADOS_CREATE_EXCLUSIVE, nullptr);
  rados_write_op_write_full(op.get(), text_of(data), data.size());
  const int r = rados_write_op_operate(op.get(), pool.io(), object_of(name).c_str(), nullptr,
                                       LIBRADOS_OPERATION_FULL_TRY);
  if (r == -EEXIST) return Error(ErrorCode::already_exists, std::string(name) + " exists already");
  if (r < 0) return rados_error(r, "write " + std::string(name));
  return {};
}

class RadosWriter final : public Backend::Writer {
 public:
  RadosWriter(std::shared_ptr<RadosPool> pool, std::string name)
      : pool_(std::move(pool)), name_(std::move(name)) {}

  Status append(ByteView data) override {
    if (ended_) return ended();
    if (data.size() > kBlobBytesMax - bytes_.size()) {
      ended_ = true;
      return Error(ErrorCode::invalid_argument, name_ + ": larger than a blob may be");
    }
    tidemark::append(bytes_, data);
    return {};
  }

  Status commit() override {
    if (ended_) return ended();
    ended_ = true;
    auto status = put(*pool_, name_, bytes_, Existing::keep);
    bytes_ = {};
    if (!status && status.error().code() == ErrorCode::already_exists) return {};
    return status;
  }

 private:
  Error ended() const { return {ErrorCode::internal, name_ + ": written to after its end"}; }
  const std::shared_ptr<RadosPool> pool_;
  const std::string name_;
  Bytes bytes_;
  bool ended_ = false;
};

// Asks for the sizes of objects, many at once, and hands them on in the order they came.
class SizePipeline {
 public:
  SizePipeline(const RadosPool& pool, const std::function<Status(const BlobInfo&)>& each)
      : pool_(pool), each_(each) {}
  ~SizePipeline() {
    for (const auto& stat : pending_) {
      rados_aio_wait_for_complete(stat->completion);
      rados_aio_release(stat->completion);
    }
  }
  SizePipeline(const SizePipeline&) = delete;
  SizePipeline& operator=(const SizePipeline&) = delete;

  Status add(std::string name) {
    if (pending_.size() >= kStatsInFlight) TM_DO(take_first());
    auto stat = std::make_unique<Stat>();
    stat->name = std::move(name);
    if (const int r = rados_aio_create_completion2(nullptr, nullptr, &stat->completion); r < 0)
      return rados_error(r, "list");
    const int r = rados_aio_stat(pool_.io(), object_of(stat->name).c_str(), stat->completion,
                                 &stat->size, &stat->time);
    if (r < 0) {
      rados_aio_release(stat->completion);
      return rados_error(r, "list: size of " + stat->name);
    }
    pending_.push_back(std::move(stat));
    return {};
  }

  Status finish() {
    while (!pending_.empty()) TM_DO(take_first());
    return {};
  }

 private:
  struct Stat {
    std::string name;
    std::uint64_t size = 0;
    time_t time = 0;
    rados_completion_t completion = nullptr;
  };

  Status take_first() {
    const auto stat = std::move(pending_.front());
    pending_.pop_front();
    rados_aio_wait_for_complete(stat->completion);
    const int r = rados_aio_get_return_value(stat->completion);
    rados_aio_release(stat->completion);
    if (r == -ENOENT) return {};  // removed meanwhile
    if (r < 0) return rados_error(r, "list: size of " + stat->name);
    return each_({.name = stat->name, .size_bytes = stat->size});
  }

  const RadosPool& pool_;
  const std::function<Status(const BlobInfo&)>& each_;
  std::deque<std::unique_ptr<Stat>> pending_;
};

class RadosBackend final : public Backend {
 public:
  explicit RadosBackend(std::shared_ptr<RadosPool> pool) : pool_(std::move(pool)) {}

  std::string url() const override { return pool_->url(); }
  std::uint64_t blob_bytes_max() const override { return kBlobBytesMax; }

  Status create(std::string_view name, ByteView data) override {
    TM_DO(check_blob_name(name));
    return put(*pool_, name, data, Existing::keep);
  }

  Status replace(std::string_view name, ByteView data) override {
    TM_DO(check_blob_name(name));
    return put(*pool_, name, data, Existing::overwrite);
  }

  Result<std::unique_ptr<Writer>> writer(std::string_view name) override {
    TM_DO(check_blob_name(name));
    return std::unique_ptr<Writer>(std::make_unique<RadosWriter>(pool_, std::string(name)));
  }

  Result<Bytes> read(std::string_view name, std::uint64_t offset, std::size_t size) override {
    TM_DO(check_blob_name(name));
    const Error ends_early(ErrorCode::corruption,
                           std::string(name) + ": ends before what was to be read");
    // A length of 0 means "to the end" to an OSD; and nothing is allocated for a size that cannot
    // be.
    if (size == 0 || size > kBlobBytesMax || offset > kBlobBytesMax) {
      TM_TRY(const std::uint64_t bytes, this->size(name));
      if (offset > bytes || size > bytes - offset) return ends_early;
      if (size == 0) return Bytes();
    }
    Bytes bytes(size);
    const int r = rados_read(pool_->io(), object_of(name).c_str(),
                             reinterpret_cast<char*>(bytes.data()), size, offset);
    if (r == -ENOENT) return pool_->absent(name);
    if (r < 0) return rados_error(r, "read " + std::string(name));
    if (static_cast<std::size_t>(r) < size) return ends_early;
    return bytes;
  }

  Result<std::uint64_t> size(std::string_view name) override {
    TM_DO(check_blob_name(name));
    std::uint64_t bytes = 0;
    time_t time = 0;
    const int r = rados_stat(pool_->io(), object_of(name).c_str(), &bytes, &time);
    if (r == -ENOENT) return pool_->absent(name);
    if (r < 0) return rados_error(r, "size of " + std::string(name));
    return bytes;
  }

  Status list(std::string_view prefix,
              const std::function<Status(const BlobInfo&)>& each) override {
    rados_list_ctx_t opened = nullptr;
    if (const int r = rados_nobjects_list_open(pool_->io(), &opened); r < 0)
      return rados_error(r, "list the pool");
    const std::unique_ptr<void, CloseList> objects(opened);
    SizePipeline sizes(*pool_, each);
    // Placement groups that split during a listing may give an object twice.
    std::unordered_set<std::string> seen;
    for (;;) {
      const char* entry = nullptr;
      const int r = rados_nobjects_list_next(objects.get(), &entry, nullptr, nullptr);
      if (r == -ENOENT) break;  // the end, or a pool that is gone: told apart below
      if (r < 0) return rados_error(r, "list the pool");
      std::string_view name = entry;
      if (!name.starts_with(kObjectPrefix)) continue;
      name.remove_prefix(kObjectPrefix.size());
      if (!name.starts_with(prefix) || !check_blob_name(name)) continue;
      if (seen.emplace(name).second) TM_DO(sizes.add(std::string(name)));
    }
    TM_DO(sizes.finish());
    return pool_->check_exists_now();
  }

  Status remove(std::string_view name) override {
    TM_DO(check_blob_name(name));
    const WriteOp op(rados_create_write_op());
    rados_write_op_remove(op.get());
    const int r = rados_write_op_operate(op.get(), pool_->io(), object_of(name).c_str(), nullptr,
                                         LIBRADOS_OPERATION_FULL_TRY);
    if (r < 0 && r != -ENOENT) return rados_error(r, "remove " + std::string(name));
    return {};
  }

  Result<std::optional<BackendSpace>> space() override { return pool_->space(); }

  Result<std::unique_ptr<WriterLock>> lock_writer(std::string_view owner) override {
    TM_TRY(auto lock, RadosLock::take(pool_, kLockObject, owner));
    return std::unique_ptr<WriterLock>(std::move(lock));
  }

 private:
  const std::shared_ptr<RadosPool> pool_;
};

}  // namespace

Result<std::unique_ptr<Backend>> open_rados_backend(const BackendConfig& config) {
  if (config.ceph_conf.empty() || config.ceph_user.empty() || config.pool.empty())
    return Error(ErrorCode::invalid_argument,
                 "a rados store needs a ceph.conf, a Ceph user and a pool");
  TM_TRY(auto pool, RadosPool::connect(config));
  return std::unique_ptr<Backend>(std::make_unique<RadosBackend>(std::move(pool)));
}

}  // namespace tidemark
