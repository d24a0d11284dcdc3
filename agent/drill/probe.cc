#include "agent/drill/probe.h"

#include <sys/mount.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/files.h"
#include "base/queue.h"
#include "base/text.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr std::chrono::seconds kStartLimit{30}, kToolLimit{120};
constexpr milliseconds kStep{50};
constexpr std::uint64_t kSector = 512;

// The end of a program as a check.
DrillCheck as_check(const ProgramEnd& end) {
  DrillCheck check;
  check.result = end.exit_code == 0 && !end.timed_out ? DrillCheck::Result::passed
                                                      : DrillCheck::Result::failed;
  check.message = end.output;
  while (check.message.ends_with('\n')) check.message.pop_back();
  if (end.timed_out)
    check.message += (check.message.empty() ? "" : "\n") + std::string("it took too long");
  if (!end.timed_out && end.exit_code != 0)
    check.message +=
        (check.message.empty() ? "" : "\n") + ("exit code " + std::to_string(end.exit_code));
  return check;
}

Error failed(const std::string& what, const ProgramEnd& end) {
  return Error(ErrorCode::internal, what + ": " + as_check(end).message);
}

bool mountable(const std::string& type) {
  return type == "ext2" || type == "ext3" || type == "ext4" || type == "xfs" || type == "btrfs" ||
         type == "vfat";
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

class Probe::Loop {
 public:
  static Result<Loop> open(const Probe& probe, const FileSystem& part, std::stop_token stop) {
    TM_TRY(const ProgramEnd end, probe.run({"/usr/sbin/losetup", "--find", "--show", "--offset",
                                            std::to_string(part.offset), "--sizelimit",
                                            std::to_string(part.size), probe.layer_file().string()},
                                           stop));
    if (end.exit_code != 0) return failed("losetup", end);
    return Loop(probe, first_line(end.output));
  }
  ~Loop() { close(); }
  Loop(Loop&& other) noexcept
      : probe_(other.probe_), device_(std::exchange(other.device_, std::string())) {}
  Loop& operator=(Loop&&) = delete;
  const std::string& device() const { return device_; }

 private:
  Loop(const Probe& probe, std::string device) : probe_(probe), device_(std::move(device)) {}
  void close() {
    if (!device_.empty()) static_cast<void>(probe_.run({"/usr/sbin/losetup", "-d", device_}, {}));
  }
  const Probe& probe_;
  std::string device_;
};

Probe::~Probe() {
  ::umount2((directory_ / "mnt").c_str(), MNT_DETACH);
  detach_loops_below(directory_);
  ::umount2((directory_ / "fuse").c_str(), MNT_DETACH);
}

Result<ProgramEnd> Probe::run(const std::vector<std::string>& command, std::stop_token stop) const {
  return run_program(command, {{"LC_ALL", "C"}}, kToolLimit, std::move(stop));
}

Status Probe::open(BlockView& disk) {
  std::error_code failed;
  fs::create_directories(directory_, failed);
  if (failed) return errno_error(failed.value(), "create " + directory_.string());
  nbd::Options options;
  options.address.socket = (directory_ / "disk.sock").string();
  options.name = "disk";
  TM_TRY(server_, nbd::Server::start(disk, std::move(options)));
  return {};
}

Status Probe::open_layer(std::stop_token stop) {
  if (layer_open_) return {};
  const std::string layer = (directory_ / "layer.qcow2").string();
  const std::string socket = (directory_ / "layer.sock").string();
  TM_TRY(const ProgramEnd made, run({"/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", "-F",
                                     "raw", "-b", server_->uri(), layer},
                                    stop));
  if (made.exit_code != 0) return failed("qemu-img", made);
  TM_TRY(auto served, RunningProgram::start({"/usr/bin/qemu-nbd", "--persistent", "-f", "qcow2",
                                             "--discard=unmap", "-k", socket, layer},
                                            {}));
  layer_server_ = std::make_unique<RunningProgram>(std::move(served));
  const auto wait_for = [&](const fs::path& path, RunningProgram& program) -> Status {
    const Clock& clock = Clock::system();
    const auto end = clock.uptime() + kStartLimit;
    std::error_code ignored;
    while (!fs::exists(path, ignored)) {
      if (!program.running()) return Error(ErrorCode::internal, "it ended: " + program.output());
      if (clock.uptime() >= end)
        return Error(ErrorCode::deadline_exceeded, path.string() + " does not appear");
      if (!sleep_for(stop, kStep)) return Error(ErrorCode::cancelled, "interrupted");
    }
    return {};
  };
  if (auto there = wait_for(socket, *layer_server_); !there)
    return std::move(there).error().context("qemu-nbd");
  std::error_code made_directory;
  fs::create_directories(directory_ / "fuse", made_directory);
  TM_TRY(auto fuse, RunningProgram::start({"/usr/bin/nbdfuse", (directory_ / "fuse").string(),
                                           "nbd+unix:///?socket=" + socket},
                                          {}));
  fuse_ = std::make_unique<RunningProgram>(std::move(fuse));
  if (auto there = wait_for(layer_file(), *fuse_); !there)
    return std::move(there).error().context("nbdfuse");
  layer_open_ = true;
  return {};
}

// Those on the whole disk, or in its partitions.
Result<std::vector<Probe::FileSystem>> Probe::file_systems(std::stop_token stop) {
  const std::string file = layer_file().string();
  std::error_code unknown;
  const std::uint64_t size = fs::file_size(file, unknown);
  if (unknown) return errno_error(unknown.value(), file);
  std::vector<FileSystem> parts;
  TM_TRY(const ProgramEnd table, run({"/usr/bin/partx", "--show", "--raw", "--noheadings",
                                      "--output", "START,SECTORS", file},
                                     stop));
  // Without a table of partitions it ends with an error.
  std::istringstream lines(table.exit_code == 0 ? table.output : std::string());
  for (std::uint64_t start = 0, sectors = 0; lines >> start >> sectors;)
    parts.push_back({start * kSector, sectors * kSector, ""});
  if (parts.empty()) parts.push_back({0, size, ""});
  std::vector<FileSystem> found;
  for (FileSystem& part : parts) {
    TM_TRY(const ProgramEnd type,
           run({"/usr/sbin/blkid", "-p", "-o", "value", "-s", "TYPE", "--offset",
                std::to_string(part.offset), "--size", std::to_string(part.size), file},
               stop));
    part.type = first_line(type.output);
    if (type.exit_code == 0 && !part.type.empty()) found.push_back(part);
  }
  return found;
}

// In words what is wrong with it; empty: nothing.
Result<std::string> Probe::check_one(const FileSystem& one, std::stop_token stop) {
  TM_TRY(const Loop loop, Loop::open(*this, one, stop));
  const std::string& device = loop.device();
  std::vector<std::vector<std::string>> commands;
  if (one.type.starts_with("ext")) {
    // With -f it would mend everything first, and find nothing.
    commands = {{"/usr/sbin/e2fsck", "-y", "-E", "journal_only", device},
                {"/usr/sbin/e2fsck", "-fn", device}};
  } else if (one.type == "xfs") {
    // Mounting replays its log.
    const std::string at = (directory_ / "mnt").string();
    std::error_code ignored;
    fs::create_directories(at, ignored);
    commands = {{"/usr/bin/mount", "-t", "xfs", "-o", "nouuid", device, at},
                {"/usr/bin/umount", at},
                {"/usr/sbin/xfs_repair", "-n", device}};
  } else if (one.type == "vfat") {
    commands = {{"/usr/sbin/fsck.vfat", "-n", device}};
  } else {
    commands = {{"/usr/bin/btrfs", "check", "--readonly", device}};
  }
  for (const auto& command : commands) {
    TM_TRY(const ProgramEnd end, run_program(command, {{"LC_ALL", "C"}}, checks_.timeout, stop));
    // e2fsck ends with 1 where it corrected something: a journal that was replayed is no damage.
    const bool replay = command.size() > 2 && command[1] == "-y";
    if (end.exit_code != 0 && !(replay && end.exit_code == 1 && !end.timed_out))
      return command[0] + ": " + as_check(end).message;
  }
  return std::string();
}

Result<DrillCheck> Probe::fsck(std::stop_token stop) {
  TM_DO(open_layer(stop));
  TM_TRY(const auto found, file_systems(stop));
  DrillCheck check;
  check.result = DrillCheck::Result::passed;
  std::size_t looked_at = 0;
  for (const FileSystem& one : found) {
    std::string words = one.type + " at " + std::to_string(one.offset) + ": ";
    if (!mountable(one.type)) {
      words += "not a file system that can be checked";
    } else {
      ++looked_at;
      TM_TRY(const std::string wrong, check_one(one, stop));
      words += wrong.empty() ? "clean" : wrong;
      if (!wrong.empty()) check.result = DrillCheck::Result::failed;
    }
    check.message += (check.message.empty() ? "" : "\n") + words;
  }
  if (found.empty()) check.message = "no file system was found";
  if (looked_at == 0) check.result = DrillCheck::Result::skipped;
  return check;
}

Result<DrillCheck> Probe::mount(std::stop_token stop) {
  TM_DO(open_layer(stop));
  TM_TRY(auto found, file_systems(stop));
  std::erase_if(found, [](const FileSystem& one) { return !mountable(one.type); });
  DrillCheck check;
  if (found.empty()) {
    check.result = DrillCheck::Result::failed;
    check.message = "no file system was found that could be mounted";
    return check;
  }
  const FileSystem& largest = *std::ranges::max_element(found, {}, &FileSystem::size);
  TM_TRY(const Loop loop, Loop::open(*this, largest, stop));
  const std::string at = (directory_ / "mnt").string();
  std::error_code ignored;
  fs::create_directories(at, ignored);
  std::vector<std::string> command = {"/usr/bin/mount", "-t", largest.type, loop.device(), at};
  if (largest.type == "xfs") command.insert(command.begin() + 1, {"-o", "nouuid"});
  TM_TRY(const ProgramEnd mounted, run(command, stop));
  if (mounted.exit_code != 0) {
    check = as_check(mounted);
    return check;
  }
  const auto ran = run_program(checks_.mount, {{"TIDEMARK_MOUNT", at}}, checks_.timeout, stop);
  static_cast<void>(run({"/usr/bin/umount", at}, {}));
  if (!ran) return ran.error();
  return as_check(*ran);
}

Result<DrillCheck> Probe::command(std::stop_token stop) {
  return run_check_command(checks_, {{"TIDEMARK_NBD", server_->uri()}}, std::move(stop));
}

Result<DrillCheck> run_check_command(const DrillChecksConfig& checks,
                                     const std::map<std::string, std::string>& environment,
                                     std::stop_token stop) {
  TM_TRY(const ProgramEnd end,
         run_program(checks.command, environment, checks.timeout, std::move(stop)));
  return as_check(end);
}

void detach_loops_below(const fs::path& directory) {
  std::error_code failed;
  for (fs::directory_iterator at("/sys/block", failed), end; !failed && at != end;
       at.increment(failed)) {
    std::ifstream backing(at->path() / "loop" / "backing_file");
    std::string file;
    if (!std::getline(backing, file) || !file.starts_with(directory.string() + "/")) continue;
    static_cast<void>(run_program(
        {"/usr/sbin/losetup", "-d", "/dev/" + at->path().filename().string()}, {}, kToolLimit, {}));
  }
}

}  // namespace tidemark
