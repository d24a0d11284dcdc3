#include "store/backend/rados_pool.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

namespace tidemark {
namespace {

struct Option {
  const char* name;
  const char* value;
};

// librados waits for ever by default. An operation has longer than the connection has: a 64 MiB
// write on a cluster that is recovering takes its time.
constexpr std::array kOptions = {
    Option{"client_mount_timeout", "30"},  Option{"rados_mon_op_timeout", "30"},
    Option{"rados_osd_op_timeout", "120"}, Option{"log_to_stderr", "false"},
    Option{"err_to_stderr", "false"},      Option{"admin_socket", ""},
};

// A member of a JSON object that holds a count; 0 where there is none.
std::uint64_t count_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return 0;
  if (found->is_number_unsigned()) return found->get<std::uint64_t>();
  const double value = found->get<double>();
  return value > 0 && value < 1e19 ? static_cast<std::uint64_t>(value) : 0;
}

}  // namespace

Error rados_error(int result, std::string_view doing) {
  const int errnum = result < 0 ? -result : result;
  // Shut out by the cluster: somebody fenced this client, and no retry helps.
  if (errnum == ESHUTDOWN)
    return Error(ErrorCode::refused, std::string(doing) + ": this client is on the blocklist");
  if (errnum == EDQUOT)
    return Error(ErrorCode::resource_exhausted,
                 std::string(doing) + ": the pool's quota is used up");
  // The OSD has looked at every copy that it can reach before it says so.
  if (errnum == EIO)
    return Error(ErrorCode::corruption, std::string(doing) + ": no copy of the object can be read");
  if (errnum == ENOTCONN)
    return Error(ErrorCode::unavailable, std::string(doing) + ": not connected");
  return errno_error(errnum, doing);
}

Result<std::shared_ptr<RadosPool>> RadosPool::connect(const BackendConfig& config) {
  std::shared_ptr<RadosPool> pool(new RadosPool(config));
  const std::string client = "client." + config.ceph_user;
  if (const int r = rados_create2(&pool->cluster_, "ceph", client.c_str(), 0); r < 0)
    return rados_error(r, "set up " + client);
  TM_DO(pool->configure(config));
  if (const int r = rados_connect(pool->cluster_); r < 0) {
    // What ENOENT means here is a missing keyring, not a missing blob.
    if (r == -ENOENT)
      return Error(ErrorCode::permission_denied, "connect as " + client + ": no key was found");
    return rados_error(r, "connect to the cluster of " + config.ceph_conf);
  }
  if (const int r = rados_ioctx_create(pool->cluster_, config.pool.c_str(), &pool->io_); r < 0)
    return rados_error(r, "open pool " + config.pool);
  rados_ioctx_set_namespace(pool->io_, config.ns.c_str());
  // A full pool answers; otherwise writes, removals and the lock that is needed to make room would
  // all wait until somebody else makes it.
  rados_set_pool_full_try(pool->io_);
  return pool;
}

Status RadosPool::configure(const BackendConfig& config) {
  if (const int r = rados_conf_read_file(cluster_, config.ceph_conf.c_str()); r < 0)
    return rados_error(r, "read " + config.ceph_conf);
  for (const Option& option : kOptions)
    if (const int r = rados_conf_set(cluster_, option.name, option.value); r < 0)
      return rados_error(r, std::string("set ") + option.name);
  return {};
}

RadosPool::~RadosPool() {
  if (io_ != nullptr) rados_ioctx_destroy(io_);
  if (cluster_ != nullptr) rados_shutdown(cluster_);
}

std::string RadosPool::url() const { return "rados:" + pool_ + (ns_.empty() ? "" : "/" + ns_); }

Status RadosPool::check_exists() const {
  // By id: a new pool of the same name is another one.
  const std::int64_t id = rados_pool_lookup(cluster_, pool_.c_str());
  if (id == rados_ioctx_get_id(io_)) return {};
  if (id < 0 && id != -ENOENT) return rados_error(static_cast<int>(id), "look up pool " + pool_);
  return Error(ErrorCode::unavailable, "pool " + pool_ + " was deleted");
}

Status RadosPool::check_exists_now() const {
  if (const int r = rados_wait_for_latest_osdmap(cluster_); r < 0)
    return rados_error(r, "look up pool " + pool_);
  return check_exists();
}

Error RadosPool::absent(std::string_view name) const {
  auto exists = check_exists();
  if (!exists) return std::move(exists).error();
  return Error(ErrorCode::not_found, std::string(name) + ": no such blob");
}

std::optional<BackendSpace> parse_pool_space(std::string_view df_json, std::string_view pool) {
  const auto df = nlohmann::json::parse(df_json, nullptr, /*allow_exceptions=*/false);
  if (!df.is_object()) return std::nullopt;
  const auto pools = df.find("pools");
  if (pools == df.end() || !pools->is_array()) return std::nullopt;
  for (const auto& entry : *pools) {
    if (!entry.is_object()) continue;
    const auto name = entry.find("name"), stats = entry.find("stats");
    if (name == entry.end() || *name != pool || stats == entry.end() || !stats->is_object())
      continue;
    const std::uint64_t stored = count_of(*stats, "stored");
    std::uint64_t free = count_of(*stats, "max_avail");
    if (const std::uint64_t quota = count_of(*stats, "quota_bytes"); quota > 0)
      free = std::min(free, quota > stored ? quota - stored : 0);
    return BackendSpace{.total_bytes = stored + free, .free_bytes = free};
  }
  return std::nullopt;
}

Result<std::optional<BackendSpace>> RadosPool::space() const {
  const char* command = R"({"prefix":"df","detail":"detail","format":"json"})";
  char *out = nullptr, *status = nullptr;
  std::size_t out_size = 0, status_size = 0;
  const int r =
      rados_mon_command(cluster_, &command, 1, "", 0, &out, &out_size, &status, &status_size);
  std::optional<BackendSpace> space;
  if (r == 0 && out != nullptr) space = parse_pool_space({out, out_size}, pool_);
  rados_buffer_free(out);
  rados_buffer_free(status);
  // A user whose caps do not allow the command does not learn how much room there is.
  if (r < 0 && r != -EACCES && r != -EPERM) return rados_error(r, "ask for the pool's space");
  return space;
}

}  // namespace tidemark
