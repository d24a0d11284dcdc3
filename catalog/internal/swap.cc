#include "catalog/internal/swap.h"

#include <cerrno>
#include <charconv>
#include <string>
#include <vector>

namespace tidemark::catalog {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCompleteMark = "complete";
constexpr std::string_view kOldSuffix = ".old-";

void at(const StepHook& hook, std::string_view step) {
  if (hook) hook(step);
}

Result<bool> is_there(const fs::path& path) {
  std::error_code error;
  const bool found = fs::exists(path, error);
  if (error) return errno_error(error.value(), "look for " + path.string());
  return found;
}

// An empty directory is one that somebody made for a catalog to come; it does not count as one.
Result<bool> holds_catalog(const fs::path& directory) {
  TM_TRY(const bool found, is_there(directory));
  if (!found) return false;
  std::error_code error;
  const bool empty = fs::is_empty(directory, error);
  if (error) return errno_error(error.value(), "look into " + directory.string());
  return !empty;
}

Status remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return errno_error(error.value(), "remove " + path.string());
  return {};
}

Status rename_directory(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) return errno_error(error.value(), "rename " + from.string() + " to " + to.string());
  return sync_directory(parent_of(to));
}

struct OldDirectory {
  fs::path path;
  std::uint64_t number = 0;
};

// The directories that earlier swaps put aside.
Result<std::vector<OldDirectory>> old_directories(const fs::path& current) {
  std::vector<OldDirectory> found;
  const std::string prefix = current.filename().string() + std::string(kOldSuffix);
  std::error_code error;
  for (fs::directory_iterator it(parent_of(current), error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(prefix)) continue;
    std::uint64_t number = 0;
    const char* last = name.data() + name.size();
    const auto [rest, problem] = std::from_chars(name.data() + prefix.size(), last, number);
    if (problem == std::errc() && rest == last) found.push_back({it->path(), number});
  }
  if (error) return errno_error(error.value(), "list " + parent_of(current).string());
  return found;
}

// The steps behind the mark; can be repeated from any of them.
Status complete_swap(const Directories& directories, const StepHook& hook) {
  TM_TRY(const auto old, old_directories(directories.current));
  std::uint64_t number = 1;
  for (const OldDirectory& directory : old) number = std::max(number, directory.number + 1);
  TM_TRY(const bool has_current, holds_catalog(directories.current));
  if (has_current) {
    at(hook, "rename current");
    const fs::path aside =
        directories.current.string() + std::string(kOldSuffix) + std::to_string(number);
    TM_DO(rename_directory(directories.current, aside));
  }
  at(hook, "rename successor");
  TM_DO(rename_directory(directories.rebuilding, directories.current));
  at(hook, "remove mark");
  TM_DO(remove_tree(directories.current / kCompleteMark));
  // Only the catalog that was replaced last is kept; where there was none this time, the one
  // before.
  at(hook, "remove old");
  for (const OldDirectory& directory : old)
    if (has_current || directory.number + 1 < number) TM_DO(remove_tree(directory.path));
  at(hook, "end");
  return {};
}

}  // namespace

Directories::Directories(const fs::path& directory) {
  const fs::path normal = directory.lexically_normal();
  current = normal.has_filename() ? normal : normal.parent_path();
  rebuilding = current.string() + ".rebuilding";
  lock = current.string() + ".lock";
}

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

Result<Fd> lock_catalog(const Directories& directories) {
  std::error_code error;
  fs::create_directories(parent_of(directories.current), error);
  if (error) return errno_error(error.value(), "create " + parent_of(directories.current).string());
  auto lock = lock_file(directories.lock);
  if (!lock) return std::move(lock).error().context("open the catalog");
  return lock;
}

Status finish_swap(const Directories& directories, const StepHook& hook) {
  TM_TRY(const bool has_successor, is_there(directories.rebuilding));
  if (!has_successor) return {};
  TM_TRY(const bool complete, is_there(directories.rebuilding / kCompleteMark));
  if (complete) return complete_swap(directories, hook);
  TM_TRY(const bool has_current, holds_catalog(directories.current));
  if (has_current) return clear_successor(directories, hook);
  // An empty catalog in its place would say that the store is empty.
  return Error(ErrorCode::corruption,
               directories.current.string() + ": its rebuild was interrupted")
      .with_hint("rebuild the catalog");
}

Status clear_successor(const Directories& directories, const StepHook& hook) {
  at(hook, "clear successor");
  return remove_tree(directories.rebuilding);
}

Status swap_successor(const Directories& directories, const StepHook& hook) {
  at(hook, "mark complete");
  TM_DO(sync_directory(directories.rebuilding));
  TM_DO(write_file_durably(directories.rebuilding / kCompleteMark, {}));
  return complete_swap(directories, hook);
}

}  // namespace tidemark::catalog
