#include <algorithm>

#include "base/clock.h"
#include "config/internal/options.h"
#include "config/label_selector.h"

namespace tidemark::config {
namespace {

// Checks across options, each reported where the option stands that has to change.
class Validator {
 public:
  Validator(const Config& config, Context& context) : config_(config), context_(context) {}

  void run() {
    if (config_.listen && !config_.tls)
      report("listen", "needs 'tls': connections are accepted over mutual TLS only");
    if (config_.store) check_store(*config_.store);
    for (const auto& [name, peer] : config_.peers) check_peer(name, peer);
    for (const auto& [name, policy] : config_.policies) check_policy("policies." + name, policy);
    if (config_.events.webhook) check_http("events.webhook", *config_.events.webhook);
    for (const auto& [name, drill] : config_.drills) check_drill("drills." + name, drill);
    if (!config_.standby.empty() && !config_.store)
      report("standby", "needs 'store': standby images follow the points of the store here");
  }

 private:
  // At the option itself, or at the nearest one around it that was written.
  void report(const std::string& path, std::string text) {
    std::string written = path;
    while (!written.empty() && !context_.marks.contains(written)) {
      const auto dot = written.rfind('.');
      written.resize(dot == std::string::npos ? 0 : dot);
    }
    const Mark mark = written.empty() ? Mark{1, 1} : context_.marks[written];
    context_.problem(mark, path, std::move(text));
  }
  bool given(const std::string& path) const { return context_.marks.contains(path); }

  void check_one_secret(const std::string& path, const SecretRef& key,
                        const SecretRef& passphrase) {
    if (key && passphrase)
      report(path + ".passphrase_file", "found beside 'key_file', expected only one of them");
  }

  void check_store(const StoreConfig& store) {
    const std::string path = "store.backend";
    // A type that was refused says nothing about its companions.
    if (type_was_refused()) return;
    const bool file = store.backend.type == StoreBackendConfig::Type::file;
    const auto needs = [&](const char* name, bool missing) {
      if (missing && !given(path + "." + name))
        report(path + "." + name,
               std::string("missing: type ") + (file ? "file" : "rados") + " needs it");
    };
    const auto refuses = [&](const char* name) {
      if (given(path + "." + name))
        report(path + "." + name,
               std::string("has no meaning for type ") + (file ? "file" : "rados"));
    };
    if (file) {
      needs("path", store.backend.path.empty());
      for (const char* name : {"pool", "namespace", "ceph_conf", "ceph_user"}) refuses(name);
      if (!store.backend.path.empty() && store.backend.path == config_.state)
        report(path + ".path", "is the directory of 'state', expected one of its own");
    } else {
      needs("pool", store.backend.pool.empty());
      refuses("path");
    }
    check_one_secret("store", store.key, store.passphrase);
  }

  bool type_was_refused() const {
    return std::any_of(context_.problems.begin(), context_.problems.end(), [](const Problem& p) {
      return p.path == "store" || p.path == "store.backend" || p.path == "store.backend.type";
    });
  }

  void check_peer(const std::string& name, const PeerConfig& peer) {
    const std::string path = "peers." + name;
    if (name == config_.site) report(path, "is this site itself, expected another one");
    if (!peer.url.empty() && !config_.tls)
      report(path + ".url", "needs 'tls': peers are reached over mutual TLS only");
    check_one_secret(path, peer.key, peer.passphrase);
    if ((peer.quota_bytes || peer.locked_for) && !given("store"))
      report(path + (peer.quota_bytes ? ".quota" : ".locked_for"),
             "needs 'store': it is about the peer's points in the store here");
  }

  template <class Scheduled>
  void check_schedule(const std::string& path, const Scheduled& what) {
    if (what.cron && what.every)
      report(path + ".cron", "found beside 'every', expected only one of them");
    if (what.calendar && (what.every || what.cron))
      report(path + ".calendar", std::string("found beside ") +
                                     (what.every ? "'every'" : "'cron'") +
                                     ", expected only one of them");
  }

  void check_drill(const std::string& path, const DrillConfig& drill) {
    using Method = DrillConfig::Method;
    check_schedule(path, drill);
    if (given(path + ".from"))
      check_target(path + ".from", drill.from);
    else if (drill.from.empty())
      report(path, "expected 'from', as there is no store here and not one peer with a url");
    const bool images = std::any_of(
        drill.assets.begin(), drill.assets.end(),
        [](const std::string& glob) { return glob.find(":rbd/") != std::string::npos; });
    const bool makes_images = drill.method == Method::restore || drill.method == Method::instant ||
                              drill.method == Method::standby;
    if (images && makes_images && drill.pool.empty() && !given(path + ".pool"))
      report(path + ".pool", "missing: images are made");
    if (drill.method == Method::standby && config_.standby.empty())
      report(path + ".method", "found 'standby', but no standby images are kept here");
    check_program(path + ".checks.mount", drill.checks.mount);
    check_program(path + ".checks.command", drill.checks.command);
  }

  void check_program(const std::string& path, const std::vector<std::string>& command) {
    if (!command.empty() && !command[0].starts_with('/'))
      report(path,
             "found " + in_quotes(command[0]) + ", expected the absolute path of a program first");
  }

  void check_claims(const std::string& path, const ClaimsConfig& claims) {
    if (!config_.kubernetes) report(path, "needs 'kubernetes', which says where claims are");
    if (const auto selector = LabelSelector::parse(claims.labels); !selector)
      report(path + ".labels", selector.error().message());
    if (!claims.volumes && !claims.buckets)
      report(path + ".buckets", "found neither volumes nor buckets, expected one of them");
    if (claims.buckets && given(path + ".buckets") && !config_.s3)
      report(path + ".buckets", "needs 's3': buckets are read through this site's gateway");
  }

  void check_policy(const std::string& path, const PolicyConfig& policy) {
    check_target(path + ".to", policy.to);
    if (policy.hooks.pods && !policy.claims)
      report(path + ".hooks.pods", "needs 'claims': pods are found by the claims that they use");
    if (policy.claims) check_claims(path + ".claims", *policy.claims);
    if (policy.assets.empty() && !policy.claims && !given(path + ".assets"))
      report(path + ".assets", "missing: what is protected; 'assets', 'claims' or both");
    check_schedule(path, policy);
    if (policy.every && *policy.every > Duration(0) && policy.jitter > *policy.every)
      report(path + ".jitter",
             "found " + format_duration(policy.jitter) +
                 ", expected no more than every: " + format_duration(*policy.every));
    check_hook(path + ".hooks.before", policy.hooks.before);
    check_hook(path + ".hooks.after", policy.hooks.after);
    const auto& rpo = policy.objective.rpo;
    if (policy.every && rpo && *policy.every > Duration(0) && *rpo > Duration(0) &&
        *rpo < *policy.every)
      report(path + ".objective.rpo",
             "found " + format_duration(*rpo) +
                 ", expected no less than every: " + format_duration(*policy.every));
    if (policy.keep) check_keep(path + ".keep", *policy.keep);
    if (policy.bandwidth && !given(path + ".bandwidth.limit") &&
        !given(path + ".bandwidth.windows"))
      report(path + ".bandwidth", "found nothing in it, expected 'limit', 'windows' or both");
  }

  void check_hook(const std::string& path, const std::optional<HookConfig>& hook) {
    if (!hook) return;
    if (hook->http) check_http(path + ".http", *hook->http);
    if (given(path + ".command") == given(path + ".http"))
      report(path, "expected one of 'command' and 'http'");
    else
      check_program(path + ".command", hook->command);
  }

  void check_http(const std::string& path, const HttpTarget& target) {
    if (given(path + ".url") == given(path + ".url_file"))
      report(path, "expected one of 'url' and 'url_file'");
    else if (target.url.starts_with("http://") && target.token)
      report(path + ".token_file", "needs https: a token would go out in clear");
  }

  void check_target(const std::string& path, const std::string& to) {
    if (to.empty()) return;  // reported already
    if (to == config_.site) {
      if (!given("store")) report(path, "is this site itself, which has no 'store'");
      return;
    }
    const auto peer = config_.peers.find(to);
    if (peer == config_.peers.end()) {
      std::vector<std::string> known{config_.site};
      for (const auto& [name, unused] : config_.peers) known.push_back(name);
      report(path, "found " + in_quotes(to) + ", expected one of 'peers' or this site" +
                       near_miss(to, known));
    } else if (peer->second.url.empty() && !given("peers." + to + ".url")) {
      report(path, "peer " + in_quotes(to) + " has no 'url'");
    }
  }

  void check_keep(const std::string& path, const KeepConfig& keep) {
    const bool wrong_already =
        std::any_of(context_.problems.begin(), context_.problems.end(),
                    [&](const Problem& p) { return p.path.starts_with(path); });
    const bool nothing = keep.last == 0 && keep.hourly == 0 && keep.daily == 0 &&
                         keep.weekly == 0 && keep.monthly == 0 && keep.yearly == 0;
    if (nothing && !wrong_already)
      report(path, "keeps no point at all, expected at least one number above 0");
  }

  const Config& config_;
  Context& context_;
};

}  // namespace

namespace {

// Cron lines and calendars are read in the zone that stands beside them.
template <class Scheduled>
void read_in_zone(Scheduled& what) {
  for (auto* calendar : {&what.cron, &what.calendar}) {
    // One that was refused has no text.
    if (!*calendar || (*calendar)->times.text.empty()) continue;
    if (auto read = parse_calendar((*calendar)->times.text, what.timezone.name()))
      *calendar = *std::move(read);
  }
}

// Where points come from, unless it is said: empty where that is not clear.
std::string usual_store(const Config& config) {
  if (config.store) return config.site;
  std::string only;
  for (const auto& [name, peer] : config.peers) {
    if (peer.url.empty()) continue;
    if (!only.empty()) return {};
    only = name;
  }
  return only;
}

}  // namespace

void fill_derived(Config& config) {
  for (auto& [name, policy] : config.policies) read_in_zone(policy);
  for (auto& [name, drill] : config.drills) {
    read_in_zone(drill);
    if (drill.from.empty()) drill.from = usual_store(config);
    if (drill.scratch.empty()) drill.scratch = config.state / "drills" / "scratch";
  }
  if (!config.store) return;
  StoreConfig& store = *config.store;
  if (store.catalog.empty()) store.catalog = config.state / "catalog";
  if (store.backend.type != StoreBackendConfig::Type::rados) return;
  if (store.backend.ceph_conf.empty()) store.backend.ceph_conf = config.ceph.conf;
  if (store.backend.ceph_user.empty()) store.backend.ceph_user = config.ceph.user;
}

void validate(const Config& config, Context& context) { Validator(config, context).run(); }

}  // namespace tidemark::config
