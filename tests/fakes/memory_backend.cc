#include "tests/fakes/memory_backend.h"

#include "base/assert.h"

namespace tidemark {

std::vector<std::string> MemoryMedium::names() const {
  std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, blob] : blobs_) names.push_back(name);
  return names;
}

std::uint64_t MemoryMedium::bytes() const {
  std::lock_guard lock(mutex_);
  std::uint64_t sum = 0;
  for (const auto& [name, blob] : blobs_) sum += blob->size();
  return sum;
}

std::size_t MemoryMedium::count() const {
  std::lock_guard lock(mutex_);
  return blobs_.size();
}

void MemoryMedium::flip(std::string_view name, std::uint64_t offset, std::uint8_t mask) {
  std::lock_guard lock(mutex_);
  const auto found = blobs_.find(name);
  TM_CHECK(found != blobs_.end() && offset < found->second->size());
  auto damaged = std::make_shared<Bytes>(*found->second);
  (*damaged)[offset] ^= mask;
  found->second = std::move(damaged);
}

void MemoryMedium::truncate(std::string_view name, std::uint64_t size) {
  std::lock_guard lock(mutex_);
  const auto found = blobs_.find(name);
  TM_CHECK(found != blobs_.end() && size <= found->second->size());
  auto damaged = std::make_shared<Bytes>(*found->second);
  damaged->resize(size);
  found->second = std::move(damaged);
}

class MemoryBackend::MemoryWriter final : public Backend::Writer {
 public:
  MemoryWriter(MemoryBackend& backend, std::string name)
      : backend_(backend), name_(std::move(name)) {}

  Status append(ByteView data) override {
    if (ended_) return ended();
    if (data.size() > backend_.blob_bytes_max() - bytes_.size()) {
      ended_ = true;
      return Error(ErrorCode::invalid_argument, name_ + ": larger than a blob may be");
    }
    tidemark::append(bytes_, data);
    return {};
  }
  Status commit() override {
    if (ended_) return ended();
    ended_ = true;
    auto status = backend_.create(name_, bytes_);
    if (!status && status.error().code() == ErrorCode::already_exists) return {};
    return status;
  }

 private:
  Error ended() const { return {ErrorCode::internal, name_ + ": written to after its end"}; }
  MemoryBackend& backend_;
  const std::string name_;
  Bytes bytes_;
  bool ended_ = false;
};

class MemoryBackend::MemoryLock final : public WriterLock {
 public:
  explicit MemoryLock(std::shared_ptr<MemoryMedium> medium) : medium_(std::move(medium)) {}
  ~MemoryLock() override {
    std::lock_guard lock(medium_->mutex_);
    medium_->locked_ = false;
  }
  bool held() const override { return true; }

 private:
  const std::shared_ptr<MemoryMedium> medium_;
};

Status MemoryBackend::create(std::string_view name, ByteView data) {
  TM_DO(check_blob_name(name));
  if (data.size() > blob_bytes_max())
    return Error(ErrorCode::invalid_argument, std::string(name) + ": larger than a blob may be");
  auto blob = std::make_shared<const Bytes>(data.begin(), data.end());
  std::lock_guard lock(medium_->mutex_);
  if (!medium_->blobs_.try_emplace(std::string(name), std::move(blob)).second)
    return Error(ErrorCode::already_exists, std::string(name) + " exists already");
  return {};
}

Status MemoryBackend::replace(std::string_view name, ByteView data) {
  TM_DO(check_blob_name(name));
  if (data.size() > blob_bytes_max())
    return Error(ErrorCode::invalid_argument, std::string(name) + ": larger than a blob may be");
  auto blob = std::make_shared<const Bytes>(data.begin(), data.end());
  std::lock_guard lock(medium_->mutex_);
  medium_->blobs_.insert_or_assign(std::string(name), std::move(blob));
  return {};
}

Result<std::unique_ptr<Backend::Writer>> MemoryBackend::writer(std::string_view name) {
  TM_DO(check_blob_name(name));
  return std::unique_ptr<Writer>(std::make_unique<MemoryWriter>(*this, std::string(name)));
}

Result<MemoryMedium::Blob> MemoryBackend::find(std::string_view name) const {
  TM_DO(check_blob_name(name));
  std::lock_guard lock(medium_->mutex_);
  const auto found = medium_->blobs_.find(name);
  if (found == medium_->blobs_.end())
    return Error(ErrorCode::not_found, std::string(name) + ": no such blob");
  return found->second;
}

Result<Bytes> MemoryBackend::read(std::string_view name, std::uint64_t offset, std::size_t size) {
  TM_TRY(const MemoryMedium::Blob blob, find(name));
  if (offset > blob->size() || size > blob->size() - offset)
    return Error(ErrorCode::corruption, std::string(name) + ": ends before what was to be read");
  const ByteView range = ByteView(*blob).subspan(offset, size);
  return Bytes(range.begin(), range.end());
}

Result<std::uint64_t> MemoryBackend::size(std::string_view name) {
  TM_TRY(const MemoryMedium::Blob blob, find(name));
  return std::uint64_t{blob->size()};
}

Status MemoryBackend::list(std::string_view prefix,
                           const std::function<Status(const BlobInfo&)>& each) {
  // Copied first, so that the caller may use the backend while it is called.
  std::vector<BlobInfo> found;
  {
    std::lock_guard lock(medium_->mutex_);
    for (auto it = medium_->blobs_.lower_bound(prefix);
         it != medium_->blobs_.end() && it->first.starts_with(prefix); ++it)
      found.push_back({.name = it->first, .size_bytes = it->second->size()});
  }
  for (const BlobInfo& blob : found) TM_DO(each(blob));
  return {};
}

Status MemoryBackend::remove(std::string_view name) {
  TM_DO(check_blob_name(name));
  std::lock_guard lock(medium_->mutex_);
  if (const auto found = medium_->blobs_.find(name); found != medium_->blobs_.end())
    medium_->blobs_.erase(found);
  return {};
}

Result<std::unique_ptr<WriterLock>> MemoryBackend::lock_writer(std::string_view owner) {
  std::lock_guard lock(medium_->mutex_);
  if (medium_->locked_)
    return Error(ErrorCode::refused, "the store is being written by " + medium_->lock_owner_);
  medium_->locked_ = true;
  medium_->lock_owner_ = std::string(owner);
  return std::unique_ptr<WriterLock>(std::make_unique<MemoryLock>(medium_));
}

}  // namespace tidemark
