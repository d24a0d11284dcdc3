#include "agent/kube/recovery_point_object.h"

#include <algorithm>
#include <map>

#include "agent/kube/claims.h"
#include "agent/retention/points.h"
#include "base/crypto.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr std::size_t kLabelBytesMax = 63;
constexpr std::size_t kDigestChars = 8;
constexpr std::size_t kUidBytesMax = 64;  // of the schema
constexpr const char* kSiteLabel = "tidemark.dev/site";
constexpr const char* kClaimNamespaceLabel = "tidemark.dev/claim-namespace";
constexpr const char* kClaimNameLabel = "tidemark.dev/claim";

bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

ObjectCondition availability(const PointRecord& record, const std::string& stored_in) {
  ObjectCondition out{"Available", "True", "InStore", "in the store of site " + stored_in};
  if (record.labels.contains(std::string(kInPartLabel))) {
    out.reason = "InPart";
    out.message += "; it lacks a part of the bucket";
  } else if (is_discarded(record)) {
    out.reason = "Discarded";
    out.message += "; what a failback gave up";
  }
  return out;
}

}  // namespace

std::string label_value(const std::string& text) {
  std::string out;
  for (const char c : text) out += is_word(c) || c == '-' || c == '_' || c == '.' ? c : '-';
  const bool fits = out == text && out.size() <= kLabelBytesMax &&
                    (out.empty() || (is_word(out.front()) && is_word(out.back())));
  if (fits) return out;
  while (!out.empty() && !is_word(out.front())) out.erase(0, 1);
  out.resize(std::min(out.size(), kLabelBytesMax - kDigestChars - 1));
  const std::string digest = sha256(as_bytes(text)).hex().substr(0, kDigestChars);
  return out.empty() ? digest : out + "-" + digest;
}

std::string shown_points_selector(const std::string& agent) {
  return std::string(kManagedByLabel) + "=tidemark," + std::string(kAgentLabel) + "=" +
         label_value(agent);
}

std::optional<ShownPoint> shown_point(const PointRow& row, const std::string& stored_in,
                                      const std::string& agent) {
  const PointRecord& record = row.point.record;
  const auto label = record.labels.find(std::string(kClaimLabel));
  if (label == record.labels.end()) return std::nullopt;
  auto claim = parse_claim_name(label->second);
  if (!claim) return std::nullopt;
  const bool volume = claim->kind == ClaimName::Kind::volume;
  ShownPoint out;
  out.name = record.id.hex();
  out.site = record.site;
  out.claim = *std::move(claim);
  out.time = record.time;
  out.labels = {{kManagedByLabel, "tidemark"},
                {kAgentLabel, label_value(agent)},
                {kSiteLabel, label_value(record.site)},
                {kClaimNamespaceLabel, label_value(out.claim.ns)},
                {kClaimNameLabel, label_value(out.claim.name)}};
  out.spec = {{"id", out.name},
              {"site", record.site},
              {"asset", record.asset},
              {"claim",
               {{"kind", volume ? "PersistentVolumeClaim" : "ObjectBucketClaim"},
                {"namespace", out.claim.ns},
                {"name", out.claim.name}}},
              {"time", format_time(record.time)},
              {"storedIn", stored_in},
              {"sizeBytes", record.size_bytes}};
  if (const auto uid = record.labels.find(std::string(kClaimUidLabel));
      uid != record.labels.end() && uid->second.size() <= kUidBytesMax)
    out.spec["claim"]["uid"] = uid->second;
  if (!record.set.empty()) out.spec["set"] = record.set;
  out.available = availability(record, stored_in);
  return out;
}

void leave_newest(std::vector<ShownPoint>& points, std::size_t per_claim, std::size_t total) {
  std::ranges::sort(points, [](const ShownPoint& a, const ShownPoint& b) {
    return a.time != b.time ? a.time > b.time : a.name < b.name;
  });
  std::map<std::pair<std::string, ClaimName>, std::size_t> seen;
  std::size_t left = 0;
  std::erase_if(points, [&](const ShownPoint& point) {
    if (left == total || ++seen[{point.site, point.claim}] > per_claim) return true;
    ++left;
    return false;
  });
}

json merge_patch_between(const json& found, const json& wanted) {
  json out = json::object();
  for (const auto& [key, value] : found.items())
    if (!wanted.contains(key)) out[key] = nullptr;
  for (const auto& [key, value] : wanted.items()) {
    const auto before = found.find(key);
    if (before != found.end() && before->is_object() && value.is_object()) {
      if (json inner = merge_patch_between(*before, value); !inner.empty())
        out[key] = std::move(inner);
    } else if (before == found.end() || *before != value) {
      out[key] = value;
    }
  }
  return out;
}

}  // namespace tidemark
