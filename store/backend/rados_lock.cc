#include "store/backend/rados_lock.h"

#include <sys/time.h>

#include <array>
#include <cerrno>
#include <vector>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/queue.h"
#include "store/backend/file_lock.h"

namespace tidemark {
namespace {

constexpr const char* kLockName = "writer";

std::string random_cookie() {
  std::array<std::uint8_t, 16> random{};
  random_bytes(random);
  return to_hex(random);
}

std::int64_t uptime_us() { return Clock::system().uptime().count(); }

}  // namespace

RadosLock::RadosLock(std::shared_ptr<RadosPool> pool, std::string object, std::string_view owner)
    : pool_(std::move(pool)),
      object_(std::move(object)),
      owner_(printable_owner(owner)),
      // A listing of holders gives the cookie and not the description: the owner is named in both.
      cookie_(random_cookie() + " " + owner_) {}

Result<std::unique_ptr<RadosLock>> RadosLock::take(std::shared_ptr<RadosPool> pool,
                                                   std::string object, std::string_view owner) {
  std::unique_ptr<RadosLock> lock(new RadosLock(std::move(pool), std::move(object), owner));
  const int r = lock->request(0);
  if (r == -EBUSY || r == -EEXIST) return lock->refused();
  if (r < 0) return rados_error(r, "take the writer lock");
  lock->renewer_ = std::jthread(
      [self = lock.get()](std::stop_token stop) { self->renew_until(std::move(stop)); });
  return lock;
}

RadosLock::~RadosLock() {
  renewer_.request_stop();
  if (renewer_.joinable()) renewer_.join();
  // Names this holder's cookie: nobody else's lock can be let go by it.
  if (valid_until_us_.load() != 0)
    rados_unlock(pool_->io(), object_.c_str(), kLockName, cookie_.c_str());
}

int RadosLock::request(unsigned flags) {
  timeval lease{.tv_sec = kLease.count(), .tv_usec = 0};
  const std::int64_t sent_us = uptime_us();
  const int r = rados_lock_exclusive(pool_->io(), object_.c_str(), kLockName, cookie_.c_str(),
                                     owner_.c_str(), &lease, static_cast<std::uint8_t>(flags));
  if (r == 0) {
    const auto valid = std::chrono::microseconds(kLease - kMargin);
    valid_until_us_ = sent_us + valid.count();
  }
  return r;
}

Error RadosLock::refused() const {
  std::array<char, 512> tag{};
  std::vector<char> clients(64 * kKiB), cookies(64 * kKiB), addresses(64 * kKiB);
  std::size_t tag_size = tag.size(), clients_size = clients.size(), cookies_size = cookies.size(),
              addresses_size = addresses.size();
  int exclusive = 0;
  const ssize_t n = rados_list_lockers(
      pool_->io(), object_.c_str(), kLockName, &exclusive, tag.data(), &tag_size, clients.data(),
      &clients_size, cookies.data(), &cookies_size, addresses.data(), &addresses_size);
  std::string who = "somebody unknown";
  if (n > 0) {
    const std::string_view cookie = cookies.data();
    const auto space = cookie.find(' ');
    if (space != std::string_view::npos) who = printable_owner(cookie.substr(space + 1));
    who += " (" + std::string(clients.data()) + ", " + addresses.data() + ")";
  }
  return Error(ErrorCode::refused, "the store is being written by " + who)
      .with_hint("the lock of a process that died runs out after " +
                 std::to_string(kLease.count()) + " seconds");
}

bool RadosLock::held() const {
  if (lost_) return false;
  if (uptime_us() < valid_until_us_) return true;
  lost_ = true;
  return false;
}

void RadosLock::renew_until(std::stop_token stop) {
  auto wait = std::chrono::microseconds(kRenewEvery);
  while (sleep_for(stop, wait)) {
    if (!held()) return;
    // Must be there still: were it run out and taken by somebody in between, to take it again would
    // hide that.
    const int r = request(LIBRADOS_LOCK_FLAG_MUST_RENEW);
    if (r == -ENOENT || r == -EBUSY || r == -ESHUTDOWN) {
      lost_ = true;
      log::error("store: the writer lock was lost");
      return;
    }
    wait = r == 0 ? std::chrono::microseconds(kRenewEvery) : std::chrono::seconds(1);
    if (r < 0) log::warn("{}", rados_error(r, "renew the writer lock").message());
  }
}

}  // namespace tidemark
