// Names and values that programs keep beside an object's data (omap), and the numbers of pools.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "snapshot/rbd/image.h"

namespace tidemark {

struct RadosObject {
  std::string pool, ns, name;
};

// All of them; empty where there is no such object. `not_found` for the pool.
Result<std::map<std::string, std::string>> read_omap(CephCluster& cluster,
                                                     const RadosObject& object);
// Sets these, all or none, and leaves others; makes the object where there is none.
Status write_omap(CephCluster& cluster, const RadosObject& object,
                  const std::map<std::string, std::string>& values);

Result<std::int64_t> pool_id(CephCluster& cluster, const std::string& pool);

}  // namespace tidemark
