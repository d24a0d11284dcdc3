// Open files by name, so that a restore that reads many ranges of one pack opens it once.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/files.h"

namespace tidemark {

// Keeps the `capacity` most recently used descriptors. A descriptor that was dropped stays open for
// as long as a reader holds it. Safe from any thread.
class FdCache {
 public:
  explicit FdCache(std::size_t capacity) : capacity_(capacity) {}

  // Null where the name is not cached.
  std::shared_ptr<const Fd> get(const std::string& name);
  void put(const std::string& name, std::shared_ptr<const Fd> fd);
  void drop(const std::string& name);
  std::size_t size() const;

 private:
  struct Entry {
    std::string name;
    std::shared_ptr<const Fd> fd;
  };
  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::list<Entry> by_age_;  // most recently used first; guarded by mutex_
  std::unordered_map<std::string, std::list<Entry>::iterator> by_name_;  // guarded by mutex_
};

}  // namespace tidemark
