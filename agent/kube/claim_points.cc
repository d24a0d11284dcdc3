#include "agent/kube/claim_points.h"

#include <functional>

#include "agent/kube/claims.h"
#include "agent/site/set_run.h"

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

std::string SiteNamespace::text() const { return (site.empty() ? "" : site + ":") + "k8s/" + ns; }

std::optional<SiteNamespace> parse_site_namespace(std::string_view text) {
  const auto [site, rest] = parted(text);
  if (!is_claim_name(rest)) return std::nullopt;
  const std::string ns(rest.substr(rest.find('/') + 1));
  // A namespace is what a claim may lie in.
  if (!parse_claim_name("k8s/" + ns + "/pvc/any")) return std::nullopt;
  return SiteNamespace{std::string(site), ns};
}

namespace {

// Of each claim that is meant the newest point, or the newest as of a time.
Result<ClaimPoints> newest_points(PointStore& store, const std::string& what,
                                  std::optional<Timestamp> as_of,
                                  const std::function<bool(const PointRecord&)>& is_meant) {
  std::vector<PointRow> candidates;
  TM_DO(store.each_latest_point([&](const PointRow& row) -> Status {
    if (is_meant(row.point.record)) candidates.push_back(row);
    return {};
  }));
  ClaimPoints out;
  for (PointRow& row : candidates) {
    if (!out.empty() && out.begin()->second.point.record.site != row.point.record.site)
      return Error(ErrorCode::invalid_argument, "several sites have " + what)
          .with_hint("write <site>:" + what);
    PointQuery query;
    query.site = row.point.record.site;
    query.asset = row.point.record.asset;
    query.newest = !as_of;
    query.as_of = as_of;
    auto found = store.find(query);
    if (!found && found.error().code() == ErrorCode::not_found) continue;
    // An older point may lack the label.
    const auto claim = parse_claim_name(label_of(row.point.record, kClaimLabel));
    TM_TRY(row, std::move(found));
    if (!claim) continue;
    const auto [at, is_first] = out.try_emplace(*claim, row);
    if (!is_first && row.point.record.time > at->second.point.record.time)
      at->second = std::move(row);
  }
  return out;
}

bool is_in_namespace(const PointRecord& record, const SiteNamespace& where) {
  return (where.site.empty() || record.site == where.site) &&
         label_of(record, kClaimLabel).starts_with("k8s/" + where.ns + "/");
}

}  // namespace

Result<SiteAsset> asset_of_claim(PointStore& store, const SiteClaim& claim,
                                 std::optional<Timestamp> as_of) {
  const std::string what = claim.claim.text();
  TM_TRY(const ClaimPoints found, newest_points(store, what, as_of, [&](const PointRecord& record) {
           return is_of_claim(record, claim);
         }));
  if (found.empty())
    return Error(ErrorCode::not_found, "no point is of " + what).with_hint("see: tidemark points");
  const PointRecord& record = found.begin()->second.point.record;
  SiteAsset out;
  out.site = record.site;
  TM_TRY(out.asset, AssetName::parse(record.asset));
  return out;
}

Result<ClaimPoints> points_of_namespace(PointStore& store, const SiteNamespace& where,
                                        std::optional<Timestamp> as_of) {
  return newest_points(store, "k8s/" + where.ns, as_of,
                       [&](const PointRecord& record) { return is_in_namespace(record, where); });
}

Result<ClaimPoints> points_of_namespace_in_set(PointStore& store, const SiteNamespace& where,
                                               const std::string& name) {
  TM_TRY(const auto rows, store.points(where.site, ""));
  const auto ours = [&](const PointRow& row) { return is_in_namespace(row.point.record, where); };
  TM_TRY(const auto set, choose_set(rows, name, ours));
  if (!set)
    return Error(ErrorCode::not_found, "no set '" + name + "' has points of " + where.text())
        .with_hint("see: tidemark points --json");
  ClaimPoints out;
  for (const PointRow& row : rows)
    if (row.point.record.set == set->id && ours(row))
      if (const auto claim = parse_claim_name(label_of(row.point.record, kClaimLabel)); claim)
        out.emplace(*claim, row);
  return out;
}

}  // namespace tidemark
