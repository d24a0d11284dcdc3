#include "agent/kube/pod_hooks.h"

#include <algorithm>
#include <set>

#include "agent/kube/frozen.h"
#include "base/log.h"
#include "transport/socket.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr const char* kBefore = "tidemark.dev/before";
constexpr const char* kAfter = "tidemark.dev/after";
constexpr const char* kContainer = "tidemark.dev/container";
constexpr const char* kTimeout = "tidemark.dev/hook-timeout";
constexpr std::chrono::seconds kListMax{30};

Result<std::vector<std::string>> command_in(const json& pod, const char* key) {
  const std::string text = json_text(pod, {"metadata", "annotations", key});
  std::vector<std::string> out;
  if (text.empty()) return out;
  const json list = json::parse(text, nullptr, false);
  const bool good = list.is_array() && !list.empty() &&
                    std::ranges::all_of(list, [](const json& word) { return word.is_string(); });
  if (!good)
    return Error(ErrorCode::invalid_argument, std::string(key) + " is no list of texts")
        .with_hint(R"(["fsfreeze", "-f", "/data"])");
  for (const json& word : list) out.push_back(word.get<std::string>());
  return out;
}

// The pods of one moment; used by one thread.
class PodsOfMoment {
 public:
  PodsOfMoment(kube::Client& client, std::vector<ClaimName> claims,
               std::optional<PodHooksConfig> rules, std::filesystem::path notes,
               std::stop_token stop)
      : client_(client),
        claims_(std::move(claims)),
        rules_(std::move(rules)),
        stop_(std::move(stop)),
        notes_(std::move(notes)) {}

  Status before() {
    if (const Status found = find(); !found) {
      if (aborts()) return found.error();
      log::warn("pods of the claims: {}; no command is run in them", found.error().describe());
      return {};
    }
    for (PodHook& hook : hooks_) {
      // What was half frozen must thaw, whoever does it in the end.
      TM_TRY(FrozenNote note, FrozenNote::write(notes_, hook));
      tried_.push_back({hook, std::move(note)});
      if (const Status ran = run_in_pod(client_, hook, hook.before, stop_); !ran) {
        if (aborts()) return Error(ErrorCode::refused, ran.error().message());
        log::warn("{}; the point is taken all the same", ran.error().message());
      }
    }
    return {};
  }

  Status after() {
    Status first;
    for (auto tried = tried_.rbegin(); tried != tried_.rend(); ++tried) {
      Status thawed = run_in_pod(client_, tried->hook, tried->hook.after, {});
      // A note that stays is taken up by the agent, until it is thawed.
      if (thawed) thawed = tried->note.done();
      if (thawed) continue;
      log::error("{}", thawed.error().describe());
      if (first) first = thawed;
    }
    tried_.clear();
    return aborts() ? first : Status();
  }

 private:
  // Without rules it is the pod alone that wants it, and that it is frozen is what it relies on.
  bool aborts() const {
    return rules_ ? rules_->on_failure == HookConfig::OnFailure::abort : !hooks_.empty();
  }

  Status find() {
    hooks_.clear();
    std::set<std::string> namespaces;
    for (const ClaimName& claim : claims_)
      if (claim.kind == ClaimName::Kind::volume) namespaces.insert(claim.ns);
    for (const std::string& ns : namespaces) {
      kube::ListOptions options;
      options.ns = ns;
      kube::ListVisitor visitor;
      std::vector<PodHook> found;
      visitor.item = [&](json pod) -> Status {
        const bool meant = std::ranges::any_of(claims_, [&](const ClaimName& claim) {
          return claim.ns == ns && uses_claim(pod, claim.name);
        });
        if (!meant) return {};
        TM_TRY(const auto hook, hook_of_pod(pod, rules_));
        if (hook) found.push_back(*hook);
        return {};
      };
      visitor.restarted = [&] { found.clear(); };
      const auto listed =
          client_.list(kube::kPods, options, visitor, {stop_, net::uptime() + kListMax});
      if (!listed) return Error(listed.error());
      hooks_.insert(hooks_.end(), found.begin(), found.end());
    }
    return {};
  }

  kube::Client& client_;
  const std::vector<ClaimName> claims_;
  const std::optional<PodHooksConfig> rules_;
  const std::stop_token stop_;
  const std::filesystem::path notes_;
  std::vector<PodHook> hooks_;
  struct Tried {
    PodHook hook;
    FrozenNote note;
  };
  std::vector<Tried> tried_;
};

}  // namespace

bool uses_claim(const json& pod, const std::string& claim) {
  if (json_text(pod, {"status", "phase"}) != "Running") return false;
  const json* const spec = json_at(pod, {"spec"});
  return spec != nullptr && mounts_claim(*spec, claim);
}

Result<std::optional<PodHook>> hook_of_pod(const json& pod,
                                           const std::optional<PodHooksConfig>& rules) {
  PodHook hook;
  hook.pod = {json_text(pod, {"metadata", "namespace"}), json_text(pod, {"metadata", "name"})};
  const std::string name = "pod " + kube::to_string(hook.pod);
  auto before = command_in(pod, kBefore);
  if (!before) return std::move(before).error().context(name);
  auto after = command_in(pod, kAfter);
  if (!after) return std::move(after).error().context(name);
  hook.before = *std::move(before);
  hook.after = *std::move(after);
  hook.timeout = rules ? rules->timeout : PodHooksConfig{}.timeout;
  if (hook.before.empty() && hook.after.empty()) {
    if (!rules) return std::optional<PodHook>();
    hook.before = rules->before;
    hook.after = rules->after;
    hook.container = rules->container;
  }
  if (const std::string text = json_text(pod, {"metadata", "annotations", kContainer});
      !text.empty())
    hook.container = text;
  if (const std::string text = json_text(pod, {"metadata", "annotations", kTimeout});
      !text.empty()) {
    auto timeout = parse_duration(text);
    if (!timeout || *timeout <= Duration::zero())
      return Error(ErrorCode::invalid_argument, name + ": " + kTimeout + " is no duration");
    hook.timeout = *timeout;
  }
  return std::optional(std::move(hook));
}

PointHooks hooks_in_pods(kube::Client& client, std::vector<ClaimName> claims,
                         std::optional<PodHooksConfig> rules, std::filesystem::path notes,
                         std::stop_token stop) {
  const auto pods = std::make_shared<PodsOfMoment>(client, std::move(claims), std::move(rules),
                                                   std::move(notes), std::move(stop));
  return {[pods] { return pods->before(); }, [pods] { return pods->after(); }};
}

}  // namespace tidemark
