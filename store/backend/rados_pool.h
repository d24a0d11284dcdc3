// A connection to one pool and namespace of a Ceph cluster, and how librados' errors read to us.
#pragma once

#include <rados/librados.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "store/backend.h"

namespace tidemark {

// The Error for a negative errno of librados.
Error rados_error(int result, std::string_view doing);

// Owns the connection. Safe from any thread: nothing of the handle changes after connect().
class RadosPool {
 public:
  static Result<std::shared_ptr<RadosPool>> connect(const BackendConfig& config);
  ~RadosPool();
  RadosPool(const RadosPool&) = delete;
  RadosPool& operator=(const RadosPool&) = delete;

  rados_ioctx_t io() const { return io_; }
  std::string url() const;

  // `unavailable` where the pool was deleted meanwhile: its objects then read as absent, and a
  // listing of it as ended, which must not be taken for the truth.
  Status check_exists() const;
  // The same by the monitors' newest map, which costs a round trip: the one at hand may still have
  // a pool that is gone.
  Status check_exists_now() const;
  // For an object that answered ENOENT: `not_found`, unless it is the pool that is not there.
  Error absent(std::string_view name) const;

  // Room in the pool as its users see it: after replication, and within its quota.
  Result<std::optional<BackendSpace>> space() const;

 private:
  explicit RadosPool(const BackendConfig& config) : pool_(config.pool), ns_(config.ns) {}
  Status configure(const BackendConfig& config);

  const std::string pool_, ns_;
  rados_t cluster_ = nullptr;
  rados_ioctx_t io_ = nullptr;
};

// What `ceph df detail` says about the pool; nothing where it says nothing.
std::optional<BackendSpace> parse_pool_space(std::string_view df_json, std::string_view pool);

}  // namespace tidemark
