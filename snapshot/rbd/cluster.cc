#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "snapshot/rbd/librbd.h"

namespace tidemark {

namespace {

ErrorCode code_of(int errnum) {
  switch (errnum) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
      return ErrorCode::not_found;
    case EEXIST:
      return ErrorCode::already_exists;
    case EPERM:
    case EACCES:
      return ErrorCode::permission_denied;
    case EBUSY:
    case ENOTEMPTY:
    case EROFS:
      return ErrorCode::refused;
    case ETIMEDOUT:
      return ErrorCode::deadline_exceeded;
    case ESHUTDOWN:  // EBLOCKLISTED: the cluster fenced this client
    case ENOTCONN:
    case ECONNREFUSED:
    case ECONNRESET:
    case EAGAIN:
    case EINTR:
      return ErrorCode::unavailable;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
      return ErrorCode::resource_exhausted;
    case EINVAL:
    case EDOM:
    case ERANGE:
    case ENAMETOOLONG:
      return ErrorCode::invalid_argument;
    case EOPNOTSUPP:
    case ENOSYS:
    case ENOEXEC:
      return ErrorCode::unsupported;
    case ECANCELED:
      return ErrorCode::cancelled;
    default:
      return ErrorCode::internal;
  }
}

Status set_option(rados_t rados, const char* name, const std::string& value) {
  const int result = rados_conf_set(rados, name, value.c_str());
  // Options come and go between releases; one that this release does not know needs no value.
  if (result < 0 && result != -ENOENT) return rbd_error(result, fmt::format("set {}", name));
  return {};
}

Status set_options(rados_t rados, const CephConfig& config) {
  const std::string connect = std::to_string(config.connect_timeout.count());
  const std::string operation = std::to_string(config.operation_timeout.count());
  const std::pair<const char*, std::string> options[] = {
      {"client_mount_timeout", connect},
      {"rados_mon_op_timeout", operation},
      {"rados_osd_op_timeout", operation},
      // Volumes are read and written once, in large pieces: a cache would only copy.
      {"rbd_cache", "false"},
      {"rbd_parent_cache_enabled", "false"},
      // Without the copy librbd 16.2 never ends a write that it refuses, to a read-only image, say.
      {"rbd_disable_zero_copy_writes", "true"},
      {"rbd_concurrent_management_ops", "32"},
      // Our own log tells what fails; the library's must not reach stderr or the file system.
      {"log_to_stderr", "false"},
      {"err_to_stderr", "false"},
      {"log_to_syslog", "false"},
      {"err_to_syslog", "false"},
      {"log_file", ""},
      {"admin_socket", ""},
      {"debug_rbd", "0/0"},
      {"debug_rados", "0/0"},
      {"debug_objecter", "0/0"},
      {"debug_ms", "0/0"},
  };
  for (const auto& [name, value] : options) TM_DO(set_option(rados, name, value));
  return {};
}

}  // namespace

Error rbd_error(std::int64_t result, std::string_view doing) {
  const int errnum = static_cast<int>(result < 0 ? -result : result);
  if (errnum == ETIMEDOUT) {
    return Error(ErrorCode::deadline_exceeded,
                 fmt::format("{}: the cluster did not answer in time", doing));
  }
  if (errnum == ESHUTDOWN) {
    return Error(ErrorCode::unavailable,
                 fmt::format("{}: the cluster has fenced this client", doing))
        .with_hint("it is admitted again after a reconnect");
  }
  return Error(code_of(errnum), errno_error(errnum, doing).message());
}

CephCluster::CephCluster(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CephCluster::~CephCluster() = default;

std::string CephCluster::fsid() const { return impl_->fsid; }

Result<std::shared_ptr<CephCluster>> CephCluster::connect(const CephConfig& config) {
  const SignalsBlocked signals;
  auto impl = std::make_unique<Impl>();
  const std::string user = "client." + config.user;
  int result = rados_create2(&impl->rados, "ceph", user.c_str(), 0);
  if (result < 0) {
    impl->rados = nullptr;
    return rbd_error(result, "create a Ceph client");
  }
  result = rados_conf_read_file(impl->rados, config.conf.c_str());
  if (result < 0) return rbd_error(result, fmt::format("read {}", config.conf));
  TM_DO(set_options(impl->rados, config));
  result = rados_connect(impl->rados);
  if (result < 0) {
    Error error =
        rbd_error(result, fmt::format("connect to the cluster of {} as {}", config.conf, user));
    if (result == -ENOENT) return std::move(error).with_hint("is there a keyring for this user?");
    return error;
  }
  char fsid[64] = {};
  result = rados_cluster_fsid(impl->rados, fsid, sizeof fsid);
  if (result < 0) return rbd_error(result, "ask the cluster for its id");
  impl->fsid = fsid;
  return std::make_shared<CephCluster>(std::move(impl));
}

Result<std::vector<std::string>> CephCluster::list_images(const std::string& pool,
                                                          const std::string& ns) {
  TM_TRY(const IoContext io, IoContext::open(*this, pool, ns));
  const std::string doing =
      fmt::format("list the images of {}{}{}", pool, ns.empty() ? "" : "/", ns);
  if (!ns.empty()) {
    // A missing namespace lists as empty, which must not be taken for one without images.
    TM_TRY(const IoContext whole, IoContext::open(*this, pool, ""));
    bool exists = false;
    const int result = rbd_namespace_exists(whole.get(), ns.c_str(), &exists);
    if (result < 0) return rbd_error(result, doing);
    if (!exists) return Error(ErrorCode::not_found, doing + ": no such namespace");
  }
  std::size_t count = 256;
  for (;;) {
    std::vector<rbd_image_spec_t> specs(count);
    const int result = rbd_list2(io.get(), specs.data(), &count);
    if (result == -ERANGE) continue;  // `count` now says how many there are
    if (result < 0) return rbd_error(result, doing);
    std::vector<std::string> names;
    names.reserve(count);
    for (std::size_t i = 0; i < count; ++i) names.emplace_back(specs[i].name);
    rbd_image_spec_list_cleanup(specs.data(), count);
    return names;
  }
}

Result<IoContext> IoContext::open(CephCluster& cluster, const std::string& pool,
                                  const std::string& ns) {
  rados_ioctx_t io = nullptr;
  const int result = rados_ioctx_create(cluster.impl().rados, pool.c_str(), &io);
  if (result == -ENOENT) {
    return Error(ErrorCode::not_found, fmt::format("open pool {}: no such pool", pool));
  }
  if (result < 0) return rbd_error(result, fmt::format("open pool {}", pool));
  rados_ioctx_set_namespace(io, ns.c_str());
  return IoContext(io);
}

Result<IoContext> IoContext::open(CephCluster& cluster, std::int64_t pool_id,
                                  const std::string& ns) {
  rados_ioctx_t io = nullptr;
  const int result = rados_ioctx_create2(cluster.impl().rados, pool_id, &io);
  if (result < 0) return rbd_error(result, fmt::format("open pool {}", pool_id));
  rados_ioctx_set_namespace(io, ns.c_str());
  return IoContext(io);
}

}  // namespace tidemark
