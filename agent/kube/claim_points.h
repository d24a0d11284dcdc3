// Points by the claim that they were taken of.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/kube/claim.h"
#include "agent/service/point_store.h"

namespace tidemark {

// `[<site>:]k8s/<namespace>/pvc/<name>[@<uid, or how it begins>]`.
struct SiteClaim {
  std::string site;  // empty where none was written
  ClaimName claim;
  std::string uid;  // empty: whichever
};
// True for what has the form of a claim behind its site.
bool is_site_claim(std::string_view text);
Result<SiteClaim> parse_site_claim(std::string_view text);

// `[<site>:]k8s/<namespace>`: all claims of it.
struct SiteNamespace {
  std::string site;  // empty where none was written
  std::string ns;
  std::string text() const;
};
// Nothing for any other text.
std::optional<SiteNamespace> parse_site_namespace(std::string_view text);

// True for a point of the claim.
bool is_of_claim(const PointRecord& record, const SiteClaim& claim);

// The asset behind the claim: that of its newest point, or of its newest as of a time. Claims of
// one name that came after each other are different assets. `not_found` where the store has no
// point of it; `invalid_argument` where several sites have.
Result<SiteAsset> asset_of_claim(PointStore& store, const SiteClaim& claim,
                                 std::optional<Timestamp> as_of);

using ClaimPoints = std::map<ClaimName, PointRow>;
// What brings all claims of a namespace back: of each the newest point, or the newest as of a time.
// Of claims of one name that came after each other the one that has it. Empty where there are none;
// `invalid_argument` where several sites have such a namespace.
Result<ClaimPoints> points_of_namespace(PointStore& store, const SiteNamespace& where,
                                        std::optional<Timestamp> as_of);
// Those of one set (choose_set() in agent/site/set_run.h); `not_found` where none is meant.
Result<ClaimPoints> points_of_namespace_in_set(PointStore& store, const SiteNamespace& where,
                                               const std::string& set);

}  // namespace tidemark
