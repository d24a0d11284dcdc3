#include "agent/kube/claim_points.h"

#include "agent/kube/claims.h"

namespace tidemark {
namespace {

std::string_view label_of(const PointRecord& record, std::string_view name) {
  const auto found = record.labels.find(std::string(name));
  return found == record.labels.end() ? std::string_view() : std::string_view(found->second);
}

// The site's part and the rest. Neither a site's name nor what begins a claim holds a colon.
std::pair<std::string_view, std::string_view> parted(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) return {{}, text};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

}  // namespace

bool is_site_claim(std::string_view text) { return is_claim_name(parted(text).second); }

Result<SiteClaim> parse_site_claim(std::string_view text) {
  const auto [site, rest] = parted(text);
  SiteClaim out;
  out.site = site;
  const auto at = rest.find('@');
  if (at != std::string_view::npos) out.uid = rest.substr(at + 1);
  TM_TRY(out.claim, parse_claim_name(rest.substr(0, at)));
  return out;
}

bool is_of_claim(const PointRecord& record, const SiteClaim& claim) {
  return (claim.site.empty() || record.site == claim.site) &&
         label_of(record, kClaimLabel) == claim.claim.text() &&
         label_of(record, kClaimUidLabel).starts_with(claim.uid);
}

Result<SiteAsset> asset_of_claim(PointStore& store, const SiteClaim& claim,
                                 std::optional<Timestamp> as_of) {
  std::vector<PointRow> candidates;
  TM_DO(store.each_latest_point([&](const PointRow& row) -> Status {
    if (is_of_claim(row.point.record, claim)) candidates.push_back(row);
    return {};
  }));
  std::optional<PointRow> newest;
  for (PointRow& row : candidates) {
    if (newest && newest->point.record.site != row.point.record.site)
      return Error(ErrorCode::invalid_argument, "several sites have " + claim.claim.text())
          .with_hint("write <site>:" + claim.claim.text());
    if (as_of) {
      PointQuery query;
      query.site = row.point.record.site;
      query.asset = row.point.record.asset;
      query.as_of = *as_of;
      auto found = store.find(query);
      if (!found && found.error().code() == ErrorCode::not_found) continue;
      TM_TRY(row, std::move(found));
    }
    if (!newest || row.point.record.time > newest->point.record.time) newest = std::move(row);
  }
  if (!newest)
    return Error(ErrorCode::not_found, "no point is of " + claim.claim.text())
        .with_hint("see: tidemark points");
  SiteAsset out;
  out.site = newest->point.record.site;
  TM_TRY(out.asset, AssetName::parse(newest->point.record.asset));
  return out;
}

}  // namespace tidemark
