// The directories of a catalog and of its successor, and how one takes the other's place.
//
//   <catalog>             the catalog
//   <catalog>.lock        held by whoever has it open or rebuilds it
//   <catalog>.rebuilding  the successor; whole once it holds the file "complete"
//   <catalog>.old-<n>     what the last successor replaced
//
// A swap is: mark the successor complete; rename the catalog to .old-<n>; rename the successor;
// remove the mark. Whoever comes next finds, whatever step it was cut at, either no mark, and
// removes the unfinished successor, or the mark, and finishes the swap.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

#include "base/files.h"
#include "base/result.h"

namespace tidemark::catalog {

struct Directories {
  explicit Directories(const std::filesystem::path& directory);
  std::filesystem::path current, rebuilding, lock;
};

// The directory that holds `path`.
std::filesystem::path parent_of(const std::filesystem::path& path);

// Creates the directory above the catalog where needed. `refused` where another process holds it.
Result<Fd> lock_catalog(const Directories& directories);

// Called with a step's name before it is done; for tests that end the process there.
using StepHook = std::function<void(std::string_view step)>;

// Ends what an earlier rebuild left: finishes its swap, or removes its unfinished successor.
// `corruption` where the rebuild was cut short and there is no catalog to fall back to.
// REQUIRES (all that follow): the lock is held.
Status finish_swap(const Directories& directories, const StepHook& hook = {});
// Removes an unfinished successor, to begin another one.
Status clear_successor(const Directories& directories, const StepHook& hook = {});
// Puts the whole, closed successor into place.
Status swap_successor(const Directories& directories, const StepHook& hook = {});

}  // namespace tidemark::catalog
