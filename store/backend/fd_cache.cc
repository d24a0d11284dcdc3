#include "store/backend/fd_cache.h"

namespace tidemark {

std::shared_ptr<const Fd> FdCache::get(const std::string& name) {
  std::lock_guard lock(mutex_);
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return nullptr;
  by_age_.splice(by_age_.begin(), by_age_, found->second);
  return found->second->fd;
}

void FdCache::put(const std::string& name, std::shared_ptr<const Fd> fd) {
  // Closing a descriptor may take a while on a network filesystem: not under the mutex.
  std::shared_ptr<const Fd> closed_later;
  std::lock_guard lock(mutex_);
  if (const auto found = by_name_.find(name); found != by_name_.end()) {
    closed_later = std::exchange(found->second->fd, std::move(fd));
    by_age_.splice(by_age_.begin(), by_age_, found->second);
    return;
  }
  by_age_.push_front({name, std::move(fd)});
  by_name_.emplace(name, by_age_.begin());
  if (by_age_.size() <= capacity_) return;
  closed_later = std::move(by_age_.back().fd);
  by_name_.erase(by_age_.back().name);
  by_age_.pop_back();
}

void FdCache::drop(const std::string& name) {
  std::shared_ptr<const Fd> closed_later;
  std::lock_guard lock(mutex_);
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return;
  closed_later = std::move(found->second->fd);
  by_age_.erase(found->second);
  by_name_.erase(found);
}

std::size_t FdCache::size() const {
  std::lock_guard lock(mutex_);
  return by_age_.size();
}

}  // namespace tidemark
