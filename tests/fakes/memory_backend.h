// A Backend in memory. It passes the same conformance suite as the real ones, so that what is
// tested on it holds for them.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "store/backend.h"

namespace tidemark {

// The bytes; outlives the backends that are opened on it, as a disk outlives a process. Safe from
// any thread.
class MemoryMedium {
 public:
  std::vector<std::string> names() const;
  std::uint64_t bytes() const;
  std::size_t count() const;

  // Damage, done behind the backend's back. REQUIRES (both): the blob exists; flip: offset < its
  // size.
  void flip(std::string_view name, std::uint64_t offset, std::uint8_t mask = 1);
  void truncate(std::string_view name, std::uint64_t size);

 private:
  friend class MemoryBackend;
  // Readers keep what they found while a replacement goes in.
  using Blob = std::shared_ptr<const Bytes>;
  mutable std::mutex mutex_;
  std::map<std::string, Blob, std::less<>> blobs_;  // guarded by mutex_
  std::string lock_owner_;                          // guarded by mutex_
  bool locked_ = false;                             // guarded by mutex_
};

class MemoryBackend final : public Backend {
 public:
  explicit MemoryBackend(std::shared_ptr<MemoryMedium> medium = std::make_shared<MemoryMedium>())
      : medium_(std::move(medium)) {}

  MemoryMedium& medium() { return *medium_; }
  const std::shared_ptr<MemoryMedium>& shared_medium() const { return medium_; }

  std::string url() const override { return "memory:"; }
  std::uint64_t blob_bytes_max() const override { return 64 * kMiB; }
  Status create(std::string_view name, ByteView data) override;
  Status replace(std::string_view name, ByteView data) override;
  Result<std::unique_ptr<Writer>> writer(std::string_view name) override;
  Result<Bytes> read(std::string_view name, std::uint64_t offset, std::size_t size) override;
  Result<std::uint64_t> size(std::string_view name) override;
  Status list(std::string_view prefix, const std::function<Status(const BlobInfo&)>& each) override;
  Status remove(std::string_view name) override;
  Result<std::optional<BackendSpace>> space() override { return std::optional<BackendSpace>(); }
  Result<std::unique_ptr<WriterLock>> lock_writer(std::string_view owner) override;

 private:
  class MemoryWriter;
  class MemoryLock;
  Result<MemoryMedium::Blob> find(std::string_view name) const;

  const std::shared_ptr<MemoryMedium> medium_;
};

}  // namespace tidemark
