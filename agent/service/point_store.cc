#include "agent/service/point_store.h"

namespace tidemark {

Result<std::optional<PointRow>> find_newest(PointStore& store, std::string_view site,
                                            std::string_view asset) {
  PointQuery query;
  query.newest = true;
  query.site = site;
  query.asset = asset;
  auto row = store.find(query);
  if (row) return std::optional<PointRow>(*std::move(row));
  if (row.error().code() == ErrorCode::not_found) return std::optional<PointRow>();
  return std::move(row).error();
}

}  // namespace tidemark
