#include "snapshot/rbd/omap.h"

#include <fmt/format.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "snapshot/rbd/librbd.h"

namespace tidemark {
namespace {

constexpr std::uint64_t kPageNames = 512;

std::string said(const char* doing, const RadosObject& object) {
  return fmt::format("{} object {} of pool {}", doing, object.name, object.pool);
}

// One page after `last`, which becomes its last name. True where there may be more.
Result<bool> read_page(const IoContext& io, const RadosObject& object, std::string& last,
                       std::map<std::string, std::string>& values) {
  const std::unique_ptr<void, decltype(&rados_release_read_op)> operation(rados_create_read_op(),
                                                                          rados_release_read_op);
  rados_omap_iter_t found = nullptr;
  unsigned char more = 0;
  int result = 0;
  rados_read_op_omap_get_vals2(operation.get(), last.c_str(), "", kPageNames, &found, &more,
                               &result);
  int done = rados_read_op_operate(operation.get(), io.get(), object.name.c_str(), 0);
  if (done >= 0) done = result;
  if (done == -ENOENT) return false;
  if (done < 0) return rbd_error(done, said("read", object));
  char *name = nullptr, *value = nullptr;
  std::size_t name_bytes = 0, value_bytes = 0;
  while (rados_omap_get_next2(found, &name, &value, &name_bytes, &value_bytes) == 0 &&
         name != nullptr) {
    last.assign(name, name_bytes);
    values[last].assign(value, value_bytes);
  }
  rados_omap_get_end(found);
  return more != 0;
}

}  // namespace

Result<std::map<std::string, std::string>> read_omap(CephCluster& cluster,
                                                     const RadosObject& object) {
  TM_TRY(const IoContext io, IoContext::open(cluster, object.pool, object.ns));
  std::map<std::string, std::string> values;
  std::string last;
  for (bool more = true; more;) {
    TM_TRY(more, read_page(io, object, last, values));
  }
  return values;
}

Status write_omap(CephCluster& cluster, const RadosObject& object,
                  const std::map<std::string, std::string>& values) {
  TM_TRY(const IoContext io, IoContext::open(cluster, object.pool, object.ns));
  std::vector<const char*> names, contents;
  std::vector<std::size_t> name_bytes, content_bytes;
  for (const auto& [name, content] : values) {
    names.push_back(name.data());
    name_bytes.push_back(name.size());
    contents.push_back(content.data());
    content_bytes.push_back(content.size());
  }
  const std::unique_ptr<void, decltype(&rados_release_write_op)> operation(rados_create_write_op(),
                                                                           rados_release_write_op);
  rados_write_op_create(operation.get(), LIBRADOS_CREATE_IDEMPOTENT, nullptr);
  rados_write_op_omap_set2(operation.get(), names.data(), contents.data(), name_bytes.data(),
                           content_bytes.data(), values.size());
  const int result =
      rados_write_op_operate(operation.get(), io.get(), object.name.c_str(), nullptr, 0);
  if (result < 0) return rbd_error(result, said("write", object));
  return {};
}

Result<std::int64_t> pool_id(CephCluster& cluster, const std::string& pool) {
  const std::int64_t id = rados_pool_lookup(cluster.impl().rados, pool.c_str());
  if (id < 0) return rbd_error(id, "look up pool " + pool);
  return id;
}

}  // namespace tidemark
