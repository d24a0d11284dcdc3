// The `file` backend: a directory of files. Layout, promises and limits: docs/backends.md.
#pragma once

#include <array>
#include <filesystem>
#include <mutex>

#include "store/backend.h"
#include "store/backend/beneath.h"
#include "store/backend/fd_cache.h"

namespace tidemark {

// Opens the directory `path`; makes it first where `create` is set. Nothing is written otherwise
// until the first blob is, so that a store on a read-only filesystem can be read.
Result<std::unique_ptr<Backend>> open_file_backend(const std::filesystem::path& path, bool create);

class FileBackend final : public Backend {
 public:
  // Larger blobs are never asked for; a limit keeps a runaway stream from filling the disk.
  static constexpr std::uint64_t kBlobBytesMax = 16 * kGiB;
  static constexpr std::size_t kOpenFilesMax = 64;
  // Not a blob's name, so that no blob can stand in its way.
  static constexpr const char* kLockName = ".lock";
  static constexpr const char* kTemporaryDirectory = "tmp";

  FileBackend(std::string path, std::unique_ptr<DirectoryTree> tree);

  std::string url() const override { return "file:" + path_; }
  std::uint64_t blob_bytes_max() const override { return kBlobBytesMax; }
  Status create(std::string_view name, ByteView data) override;
  Status replace(std::string_view name, ByteView data) override;
  Result<std::unique_ptr<Writer>> writer(std::string_view name) override;
  Result<Bytes> read(std::string_view name, std::uint64_t offset, std::size_t size) override;
  Result<std::uint64_t> size(std::string_view name) override;
  Status list(std::string_view prefix, const std::function<Status(const BlobInfo&)>& each) override;
  Status list_names(std::string_view prefix,
                    const std::function<Status(std::string_view)>& each) override;
  Status remove(std::string_view name) override;
  Result<std::optional<BackendSpace>> space() override;
  Result<std::unique_ptr<WriterLock>> lock_writer(std::string_view owner) override;

  DirectoryTree& tree_for_tests() { return *tree_; }
  const FdCache& files_for_tests() const { return files_; }

 private:
  class TemporaryFile;
  class FileWriter;
  struct OpenBlob {
    std::shared_ptr<const Fd> fd;
    std::uint64_t size_bytes = 0;
  };

  Status publish(TemporaryFile& file, const std::string& name);
  Status publish_replacing(TemporaryFile& file, const std::string& name);
  Status meet_existing(const Fd& directory, const std::string& leaf, const std::string& name);
  std::mutex& commit_mutex(const std::string& name);
  Result<OpenBlob> open_blob(const std::string& name);
  void remove_leftovers();

  const std::string path_;
  const std::shared_ptr<DirectoryTree> tree_;
  FdCache files_{kOpenFilesMax};
  // One of them is held from a blob's appearance until it is durable, so that of two commits of one
  // name neither reports as durable what the other one takes back after a failed fsync.
  std::array<std::mutex, 64> commit_mutexes_;
};

}  // namespace tidemark
