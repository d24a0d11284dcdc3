// Programs of others that look at a volume which a drill brought back: checks of its file systems,
// a user's probe with one of them mounted, a user's command against the disk.
//
//   disk (read-only) --our NBD server--> <directory>/disk.sock        command
//        ^                                     |
//        |                             qemu-img: a layer above it
//        |                                     v
//        +-- never written      qemu-nbd --> layer.sock --nbdfuse--> fuse/nbd --losetup--> fsck,
//        mount
//
// Journals are replayed and files are written in the layer, which goes with the directory. The disk
// is never written. Needs qemu-utils, nbdfuse (libnbd-bin), util-linux, e2fsprogs, xfsprogs and
// root where a file system is looked at.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/drill/report.h"
#include "base/program.h"
#include "config/config.h"
#include "transport/block_view.h"
#include "transport/nbd/server.h"

namespace tidemark {

// Used by one thread. Destroying it ends what it started; its directory is the caller's to remove.
class Probe {
 public:
  Probe(const DrillChecksConfig& checks, std::filesystem::path directory)
      : checks_(checks), directory_(std::move(directory)) {}
  ~Probe();
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  const std::filesystem::path& directory() const { return directory_; }
  // Serves the disk, which must outlive this, to what follows.
  Status open(BlockView& disk);
  // Each errors only where it was stopped, or the tools cannot be run. Skipped where the disk has
  // no file system that is known.
  Result<DrillCheck> fsck(std::stop_token stop);
  Result<DrillCheck> mount(std::stop_token stop);
  Result<DrillCheck> command(std::stop_token stop);

 private:
  struct FileSystem {
    std::uint64_t offset = 0, size = 0;
    std::string type;  // as blkid has it
  };
  // A loop device over a part of the layer.
  class Loop;
  Status open_layer(std::stop_token stop);
  Result<std::vector<FileSystem>> file_systems(std::stop_token stop);
  Result<std::string> check_one(const FileSystem& one, std::stop_token stop);
  Result<ProgramEnd> run(const std::vector<std::string>& command, std::stop_token stop) const;
  std::filesystem::path layer_file() const { return directory_ / "fuse" / "nbd"; }

  const DrillChecksConfig checks_;
  const std::filesystem::path directory_;
  std::unique_ptr<nbd::Server> server_;
  bool layer_open_ = false;
  std::unique_ptr<RunningProgram> layer_server_, fuse_;
};

// Runs a plan's `command` with these variables set.
Result<DrillCheck> run_check_command(const DrillChecksConfig& checks,
                                     const std::map<std::string, std::string>& environment,
                                     std::stop_token stop);

// Ends loop devices over files below the directory, which programs that were killed have left.
void detach_loops_below(const std::filesystem::path& directory);

}  // namespace tidemark
