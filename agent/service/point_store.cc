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

Result<AssetRole> PointStore::role_of(std::string_view, std::string_view) {
  return Error(ErrorCode::unsupported,
               "where an asset is in use is known to the store's agent only");
}

Result<JournalEntry> PointStore::record_drill(std::string_view) {
  return Error(ErrorCode::unsupported, "this store keeps no journal");
}

Result<JournalEntry> PointStore::journal_entry(std::uint64_t) {
  return Error(ErrorCode::unsupported, "this store keeps no journal");
}

Status PointStore::take_back(std::string_view, std::string_view) {
  return Error(ErrorCode::unsupported, "only the store's agent gives an asset back");
}

Result<UploadSession> PointStore::begin_discarded(std::string_view, std::string_view,
                                                  const PointId&, std::uint64_t) {
  return Error(ErrorCode::unsupported, "only the store's agent takes points");
}

Status PointStore::each_latest_point(const std::function<Status(const PointRow&)>& each) {
  TM_TRY(const auto rows, points("", ""));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const PointRecord& record = rows[i].point.record;
    const bool last = i + 1 == rows.size() || rows[i + 1].point.record.site != record.site ||
                      rows[i + 1].point.record.asset != record.asset;
    if (last) TM_DO(each(rows[i]));
  }
  return {};
}

}  // namespace tidemark
