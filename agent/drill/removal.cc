#include <fmt/core.h>
#include <sys/mount.h>

#include <fstream>

#include "agent/drill/disk.h"
#include "agent/drill/probe.h"
#include "agent/drill/recovery.h"
#include "agent/restore/instant_restore.h"
#include "agent/restore/volume_restore.h"
#include "base/queue.h"
#include "base/text.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMark = "tidemark-drill";
// Ceph ends the watch of a client that died after 30 seconds.
constexpr int kTries = 45;
constexpr std::chrono::seconds kBetweenTries{1};
constexpr std::size_t kKeysAtOnce = 1000;

bool gone(const Status& status) { return status || status.error().code() == ErrorCode::not_found; }

Status remove_snapshot(const DrillTools& tools, const RbdImageName& name) {
  TM_TRY(const auto image, RbdImage::open_read_write(tools.cluster, name));
  TM_TRY(const auto snapshots, image->snapshots());
  for (const SnapshotInfo& one : snapshots)
    if (one.user && one.name == kDrillSnapshot) TM_DO(image->remove_snapshot(one.id, one.name));
  return {};
}

// Whoever has an image open may be a process that was killed.
Status remove_image(const DrillTools& tools, const RbdImageName& name,
                    const std::stop_token& stop) {
  Status removed;
  for (int i = 0; i < kTries; ++i) {
    removed = remove_snapshot(tools, name);
    if (removed) removed = RbdImage::remove(*tools.cluster, name);
    if (gone(removed)) return {};
    if (removed.error().code() != ErrorCode::refused || !sleep_for(stop, kBetweenTries)) break;
  }
  return removed;
}

Status give_up_instant(const DrillTools& tools, const RbdImageName& name, const DrillThing& thing,
                       const std::stop_token& stop) {
  InstantRestore::Options options;
  options.cluster = tools.cluster;
  options.name = name;
  options.stop = stop;
  InstantRestore restore(*tools.store, *tools.keys, std::move(options));
  TM_TRY(const auto note, restore.unfinished());
  if (!note) return {};
  PointQuery query;
  query.id_prefix = thing.point;
  TM_TRY(const PointRow point, tools.store->find(query));
  Status given_up;
  for (int i = 0; i < kTries; ++i) {
    given_up = restore.abort(point);
    if (gone(given_up)) return {};
    if (given_up.error().code() != ErrorCode::refused || !sleep_for(stop, kBetweenTries)) break;
  }
  return given_up;
}

Status remove_images(const DrillTools& tools, const DrillThing& thing,
                     const std::stop_token& stop) {
  if (!tools.cluster) return Error(ErrorCode::unavailable, "the cluster is not connected");
  TM_TRY(const RbdImageName name, parse_rbd_image(thing.name));
  TM_DO(give_up_instant(tools, name, thing, stop));
  TM_DO(remove_image(tools, restoring_name(name), stop));
  return remove_image(tools, name, stop);
}

// What a probe left mounted there, innermost first.
void unmount_below(const fs::path& directory) {
  std::vector<std::string> found;
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::vector<std::string> words;
    for (std::size_t at = 0; at < line.size() && words.size() < 5;) {
      const std::size_t end = std::min(line.find(' ', at), line.size());
      words.push_back(line.substr(at, end - at));
      at = end + 1;
    }
    if (words.size() == 5 && words[4].starts_with(directory.string() + "/"))
      found.push_back(words[4]);
  }
  for (auto at = found.rbegin(); at != found.rend(); ++at) ::umount2(at->c_str(), MNT_DETACH);
}

Status remove_directory(const DrillThing& thing) {
  const fs::path directory(thing.name);
  detach_loops_below(directory);
  unmount_below(directory);
  std::error_code failed;
  fs::remove_all(directory, failed);
  return failed ? Status(errno_error(failed.value(), "remove " + thing.name)) : Status();
}

Status remove_bucket(const DrillTools& tools, const DrillThing& thing,
                     const std::stop_token& stop) {
  if (tools.s3 == nullptr) return Error(ErrorCode::unavailable, "there is no gateway here");
  const s3::Call call{.stop = stop};
  const auto listing = tools.s3->list_versions(thing.name, "", {}, call, kKeysAtOnce);
  while (true) {
    const auto page = listing->next_page();
    if (!page && page.error().code() == ErrorCode::not_found) return {};
    if (!page) return page.error();
    if (page->empty()) break;
    std::vector<s3::ObjectName> names;
    for (const s3::ListedVersion& version : *page)
      names.push_back({version.key, version.version_id});
    TM_TRY(const auto failures, tools.s3->remove_all(thing.name, names, true, call));
    if (!failures.empty()) return failures.front().error;
  }
  const Status removed = tools.s3->remove_bucket(thing.name, call);
  return gone(removed) ? Status() : removed;
}

}  // namespace

std::string drill_name(const std::string& label) { return std::string(kMark) + "." + label; }

Status check_room(std::uint64_t bytes, std::uint64_t free, std::uint64_t all, double keep_free) {
  const double left = static_cast<double>(free) - static_cast<double>(bytes);
  if (left >= keep_free * static_cast<double>(all)) return {};
  return Error(ErrorCode::resource_exhausted,
               fmt::format("{} would be written, and of {} only {} are free", format_bytes(bytes),
                           format_bytes(all), format_bytes(free)))
      .with_hint("make room, or lower the plan's limits.keep_free");
}

Status check_scratch_room(const DrillConfig& plan, std::uint64_t bytes) {
  std::error_code failed;
  fs::create_directories(plan.scratch, failed);
  const fs::space_info space = fs::space(plan.scratch, failed);
  if (failed) return errno_error(failed.value(), plan.scratch.string());
  return check_room(bytes, space.available, space.capacity, plan.limits.keep_free);
}

Status remove_drill_thing(const DrillTools& tools, const DrillThing& thing, std::stop_token stop) {
  const std::size_t slash = thing.name.rfind('/');
  const std::string last = thing.name.substr(slash == std::string::npos ? 0 : slash + 1);
  if (!last.starts_with(kMark))
    return Error(ErrorCode::refused, thing.name + " is no name that a drill gives");
  switch (thing.kind) {
    case DrillThing::Kind::image:
      return remove_images(tools, thing, stop);
    case DrillThing::Kind::directory:
      return remove_directory(thing);
    case DrillThing::Kind::bucket:
      return remove_bucket(tools, thing, stop);
  }
  return Error(ErrorCode::internal, "an unknown kind of thing");
}

}  // namespace tidemark
