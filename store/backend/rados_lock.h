// The writer lock of the `rados` backend: a lease on one object, renewed by a thread.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "store/backend.h"
#include "store/backend/rados_pool.h"

namespace tidemark {

// The lock runs out at the OSD `kLease` after it was taken or renewed, so that the lock of a dead
// process goes away by itself. The holder counts from before it sent the request, by its own
// monotonic clock, and gives up `kMargin` early: it always knows before anybody else can take the
// lock.
class RadosLock final : public WriterLock {
 public:
  static constexpr std::chrono::seconds kLease{30};
  static constexpr std::chrono::seconds kRenewEvery{7};
  static constexpr std::chrono::seconds kMargin{5};

  static Result<std::unique_ptr<RadosLock>> take(std::shared_ptr<RadosPool> pool,
                                                 std::string object, std::string_view owner);
  ~RadosLock() override;
  RadosLock(const RadosLock&) = delete;
  RadosLock& operator=(const RadosLock&) = delete;

  // Once false, false for good: in between, another process may have held the lock.
  bool held() const override;

 private:
  RadosLock(std::shared_ptr<RadosPool> pool, std::string object, std::string_view owner);
  int request(unsigned flags);
  Error refused() const;
  void renew_until(std::stop_token stop);

  const std::shared_ptr<RadosPool> pool_;
  const std::string object_, owner_, cookie_;
  std::atomic<std::int64_t> valid_until_us_{0};  // by Clock::uptime()
  mutable std::atomic<bool> lost_{false};
  std::jthread renewer_;
};

}  // namespace tidemark
