#include "agent/restore/bucket_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "agent/read/bucket_diff.h"
#include "base/text.h"

namespace tidemark {
namespace {

constexpr const char* kManifestTemporary = ".tidemark-manifest.tmp";
constexpr std::size_t kQueuedFiles = 32;
constexpr std::size_t kParentsKept = 4096;

void put_text(nlohmann::json& json, const std::string& name, const std::string& value) {
  if (utf8_prefix(value) == value.size()) {
    json[name] = value;
  } else {
    json[name + "_hex"] = to_hex(as_bytes(value));
  }
}

nlohmann::json json_of(const std::map<std::string, std::string>& map) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, value] : map) put_text(json, name, value);
  return json;
}

std::string manifest_line(const std::vector<std::string>& path, const ObjectEntry& entry) {
  std::string joined;
  for (const std::string& name : path) joined += (joined.empty() ? "" : "/") + name;
  nlohmann::json json = {{"path", joined},
                         {"size_bytes", entry.size_bytes},
                         {"modified", format_time(entry.place.modified)},
                         {"etag", entry.etag},
                         {"sha256", entry.sha256.hex()},
                         {"version", entry.place.version_id},
                         {"storage_class", entry.storage_class},
                         {"owner", entry.owner},
                         {"headers", json_of(entry.headers)},
                         {"metadata", json_of(entry.metadata)},
                         {"tags", json_of(entry.tags)},
                         {"acl", entry.acl}};
  put_text(json, "key", entry.place.key);
  if (entry.lock)
    json["lock"] = {{"mode", entry.lock->mode},
                    {"until", format_time(entry.lock->until)},
                    {"legal_hold", entry.lock->legal_hold}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Result<Fd> open_at(int directory, const std::string& name, int flags) {
  Fd fd(::openat(directory, name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd && errno == ELOOP)
    return Error(ErrorCode::refused, "a link lies where '" + name + "' belongs");
  if (!fd) return errno_error(errno, "open " + name);
  return fd;
}

// Whether two names that differ in case are one file.
Result<bool> folds_case(int directory) {
  const std::string lower = ".tidemark-case-probe", upper = ".tidemark-CASE-probe";
  TM_TRY(const Fd made, open_at(directory, lower, O_WRONLY | O_CREAT));
  const bool folds = ::faccessat(directory, upper.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
  if (::unlinkat(directory, lower.c_str(), 0) != 0) return errno_error(errno, "unlink " + lower);
  return folds;
}

}  // namespace

DirectoryRestore::DirectoryRestore(BucketPoint& point, DirectoryRestoreOptions options,
                                   std::stop_token stop)
    : point_(point), options_(std::move(options)), stop_(std::move(stop)) {}

Status DirectoryRestore::open_root() {
  std::error_code error;
  std::filesystem::create_directories(options_.directory, error);
  if (error) return errno_error(error.value(), "make " + options_.directory.string());
  const bool empty = std::filesystem::is_empty(options_.directory, error);
  if (error) return errno_error(error.value(), "read " + options_.directory.string());
  if (!empty && !options_.force)
    return Error(ErrorCode::refused, options_.directory.string() + " is not empty")
        .with_hint("--force writes into it");
  TM_TRY(root_, open_file(options_.directory, O_RDONLY | O_DIRECTORY));
  TM_TRY(rules_.folds_case, folds_case(root_.get()));
  TM_TRY(manifest_, open_at(root_.get(), kManifestTemporary, O_WRONLY | O_CREAT | O_TRUNC));
  return add_to_manifest(format_bucket_meta(point_.meta()) + "\n");
}

Status DirectoryRestore::add_to_manifest(const std::string& line) {
  const std::lock_guard lock(mutex_);
  return tidemark::write_all(manifest_.get(), as_bytes(line));
}

// Each piece is opened beneath the one before; a link in its place is an error.
Result<Fd> DirectoryRestore::open_parent(const std::vector<std::string>& path) const {
  TM_TRY(Fd directory, open_at(root_.get(), ".", O_RDONLY | O_DIRECTORY));
  for (std::size_t i = 0; i + 1 < path.size(); ++i) {
    if (::mkdirat(directory.get(), path[i].c_str(), 0700) != 0 && errno != EEXIST)
      return errno_error(errno, "make directory " + path[i]);
    TM_TRY(directory, open_at(directory.get(), path[i], O_RDONLY | O_DIRECTORY));
  }
  return directory;
}

Status DirectoryRestore::fill(int fd, const ObjectEntry& entry) {
  ObjectBytes bytes(point_.reader(), entry);
  for (std::uint64_t at = 0; at < entry.size_bytes;) {
    if (stop_.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
    TM_TRY(const ByteView some, bytes.at(at));
    TM_DO(write_at(fd, some, at));
    at += some.size();
  }
  const timespec when{entry.place.modified.us / 1'000'000,
                      entry.place.modified.us % 1'000'000 * 1000};
  const std::array<timespec, 2> times{when, when};
  if (::futimens(fd, times.data()) != 0) return errno_error(errno, "set the time");
  return ::fsync(fd) == 0 ? Status() : errno_error(errno, "fsync");
}

Status DirectoryRestore::write(const File& file, std::uint64_t number) {
  TM_TRY(const Fd parent, open_parent(file.path));
  const std::string temporary = ".tidemark-" + std::to_string(number) + ".tmp";
  const std::string& name = file.path.back();
  ::unlinkat(parent.get(), temporary.c_str(), 0);
  TM_TRY(const Fd fd, open_at(parent.get(), temporary, O_WRONLY | O_CREAT | O_EXCL));
  Status status = fill(fd.get(), file.entry);
  if (status && ::renameat(parent.get(), temporary.c_str(), parent.get(), name.c_str()) != 0)
    status = errno_error(errno, "rename to " + name);
  if (!status) {
    ::unlinkat(parent.get(), temporary.c_str(), 0);
    if (status.error().code() != ErrorCode::corruption) return status;
    problems_.add_damage(file.entry.place.key, status.error());
    return {};
  }
  ++counts_.written;
  counts_.written_bytes += file.entry.size_bytes;
  return add_to_manifest(manifest_line(file.path, file.entry));
}

// The current objects of the selection, or the one version that it names.
Status DirectoryRestore::walk(const std::function<Status(ObjectEntry)>& each) {
  KeyCursor cursor = point_.keys(options_.selection);
  bool any = false;
  for (;;) {
    TM_TRY(auto found, cursor.next());
    if (!found) break;
    if (stop_.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
    const ObjectEntry* const current = found->current();
    if (current == nullptr) continue;
    any = true;
    ++counts_.objects;
    counts_.bytes += current->size_bytes;
    TM_DO(each(*current));
  }
  if (!any && options_.selection.one_key())
    return Error(
        ErrorCode::not_found,
        "the point has no object '" + printable_key(options_.selection.key) + "' in that version");
  return {};
}

Status DirectoryRestore::write_files() {
  BoundedQueue<File> queue(kQueuedFiles);
  ThreadGroup threads([&] { queue.abort(); });
  for (std::size_t i = 0; i < options_.threads; ++i)
    threads.start("tm-file", [&]() -> Status {
      while (const auto file = queue.pop()) {
        const auto written = write(*file, ++files_);
        if (!written)
          return written.error().context("object " + printable_key(file->entry.place.key));
      }
      return {};
    });
  std::map<std::string, bool> known;  // keys of one directory ask for the same parents
  const auto asks = [&](const std::string& key) -> Result<bool> {
    const auto at = known.find(key);
    if (at != known.end()) return at->second;
    if (known.size() == kParentsKept) known.clear();
    TM_TRY(const bool is_object, point_.has_key(key));
    known[key] = is_object;
    return is_object;
  };
  const auto walked = walk([&](ObjectEntry entry) -> Status {
    File file;
    TM_TRY(file.path, path_of_key(entry.place.key, rules_, asks));
    file.entry = std::move(entry);
    return queue.push(std::move(file)) ? Status() : threads.failure();
  });
  if (!walked) threads.fail(walked.error());
  queue.close();
  return threads.join();
}

Status DirectoryRestore::run() {
  if (options_.plan)
    return walk([&](const ObjectEntry& entry) -> Status {
      ++counts_.written;
      counts_.written_bytes += entry.size_bytes;
      return {};
    });
  TM_DO(open_root());
  if (auto written = write_files(); !written) {
    ::unlinkat(root_.get(), kManifestTemporary, 0);  // what is there is told by the files alone
    return written;
  }
  if (::fsync(manifest_.get()) != 0 ||
      ::renameat(root_.get(), kManifestTemporary, root_.get(), kManifestName.data()) != 0)
    return errno_error(errno, "write the manifest");
  return ::fsync(root_.get()) == 0 ? Status() : errno_error(errno, "fsync");
}

}  // namespace tidemark
