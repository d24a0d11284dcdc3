#include "config/internal/options.h"

#include "base/text.h"
#include "config/internal/values.h"

namespace tidemark::config {
namespace {

constexpr std::uint32_t kKeepMax = 100'000;
constexpr std::uint32_t kJobsMax = 64;
constexpr std::size_t kLabelBytesMax = 128;
constexpr std::uint32_t kOurSnapshotsMax = 64;
// As many as an image can have.
constexpr std::uint32_t kSnapshotsMax = 510;

Status check_policy_name(std::string_view name) { return check_name(name, "policy"); }
Status check_label_name(std::string_view name) {
  if (!name.empty() && name.size() <= kLabelBytesMax) return {};
  return Error(ErrorCode::invalid_argument, "a label's name has 1 to 128 bytes");
}
Status check_standby_name(std::string_view name) { return check_name(name, "standby"); }
Status check_drill_name(std::string_view name) { return check_name(name, "drill"); }

ShapePtr<TlsConfig> tls_section() {
  auto section = std::make_shared<Section<TlsConfig>>();
  section->add("cert", &TlsConfig::cert, path_of("a PEM file"),
               {.sentence = "This site's certificate and the chain behind it, leaf first, in PEM.",
                .example = "tokyo.crt",
                .required = true});
  section->add("key", &TlsConfig::key, path_of("a PEM file"),
               {.sentence = "The certificate's private key, in PEM.",
                .example = "tokyo.key",
                .required = true});
  section->add("ca", &TlsConfig::ca, path_of("a PEM file"),
               {.sentence = "The authorities that peers' certificates are held against, in PEM.",
                .example = "ca.crt",
                .required = true});
  return section;
}

ShapePtr<LogConfig> log_section() {
  auto section = std::make_shared<Section<LogConfig>>();
  section->add("level", &LogConfig::level,
               choice<log::Level>({{"debug", log::Level::debug},
                                   {"info", log::Level::info},
                                   {"warn", log::Level::warn},
                                   {"error", log::Level::error},
                                   {"off", log::Level::off}}),
               {.sentence = "The least important lines that are written.", .fallback = "info"});
  section->add(
      "format", &LogConfig::format,
      choice<log::Format>({{"text", log::Format::text}, {"json", log::Format::json}}),
      {.sentence = "How a line looks: for people, or one JSON document each.", .fallback = "text"});
  return section;
}

ShapePtr<CephSettings> ceph_section() {
  auto section = std::make_shared<Section<CephSettings>>();
  section->add(
      "conf", &CephSettings::conf, path_of("a ceph.conf"),
      {.sentence = "The ceph.conf of this site's cluster.", .fallback = "/etc/ceph/ceph.conf"});
  section->add("user", &CephSettings::user, plain_name("Ceph user"),
               {.sentence = "The Ceph user, without 'client.'; ceph.conf names its keyring.",
                .fallback = "tidemark"});
  return section;
}

ShapePtr<S3Config> s3_section() {
  auto section = std::make_shared<Section<S3Config>>();
  section->add("endpoint", &S3Config::endpoint, base_url(true),
               {.sentence = "The S3 endpoint of this site's object gateway.",
                .example = "http://rgw:8080",
                .required = true});
  section->add("access_key_file", &S3Config::access_key, secret(),
               {.sentence = "Where the access key is found.",
                .example = "/etc/tidemark/s3-access",
                .required = true});
  section->add("secret_key_file", &S3Config::secret_key, secret(),
               {.sentence = "Where the secret key is found.",
                .example = "/etc/tidemark/s3-secret",
                .required = true});
  section->add("ca_file", &S3Config::ca_file, path_of("a PEM file"),
               {.sentence = "Roots that the gateway's certificate is held against.",
                .derived = "the system's roots",
                .example = "/etc/tidemark/rgw-ca.crt"});
  section->add("region", &S3Config::region, plain_name("region"),
               {.sentence = "The region that requests are signed for; radosgw takes any.",
                .fallback = "us-east-1"});
  section->add(
      "addressing", &S3Config::addressing,
      choice<S3Config::Addressing>({{"path", S3Config::Addressing::path},
                                    {"virtual_host", S3Config::Addressing::virtual_host}}),
      {.sentence = "Where requests name the bucket: in the path, or before the host's name, "
                   "which the gateway has to know as its own (rgw_dns_name).",
       .fallback = "path"});
  section->add(
      "list_every", &S3Config::list_every, duration("1h", "366d"),
      {.sentence = "Where the gateway logs what changes in a bucket, how often it is listed "
                   "all the same.",
       .fallback = "7d"});
  return section;
}

ShapePtr<StoreBackendConfig> backend_section() {
  using Type = StoreBackendConfig::Type;
  auto section = std::make_shared<Section<StoreBackendConfig>>();
  section->add("type", &StoreBackendConfig::type,
               choice<Type>({{"file", Type::file}, {"rados", Type::rados}},
                            {{"s3", "a store on S3 is not supported by this build"}}),
               {.sentence = "What the store's bytes lie on.", .example = "file", .required = true});
  section->add("path", &StoreBackendConfig::path, path_of("a directory"),
               {.sentence = "For file: the directory of the store.", .example = "/srv/tidemark"});
  section->add("pool", &StoreBackendConfig::pool, plain_name("pool"),
               {.sentence = "For rados: the pool of the store.", .example = "tidemark"});
  section->add("namespace", &StoreBackendConfig::ns, plain_name("RADOS namespace"),
               {.sentence = "For rados: the namespace within the pool.",
                .derived = "the default namespace",
                .example = "osaka"});
  section->add("ceph_conf", &StoreBackendConfig::ceph_conf, path_of("a ceph.conf"),
               {.sentence = "For rados: the ceph.conf of the cluster that holds the pool.",
                .derived = "`ceph.conf`",
                .example = "/etc/ceph/backup.conf"});
  section->add("ceph_user", &StoreBackendConfig::ceph_user, plain_name("Ceph user"),
               {.sentence = "For rados: the Ceph user, without 'client.'.",
                .derived = "`ceph.user`",
                .example = "tidemark-store"});
  return section;
}

ShapePtr<CollectConfig> collect_section() {
  auto section = std::make_shared<Section<CollectConfig>>();
  section->add("every", &CollectConfig::every, duration("1m", "366d"),
               {.sentence = "How often what no point reaches is looked for.", .fallback = "1d"});
  section->add("grace", &CollectConfig::grace, duration("1m", "366d"),
               {.sentence = "How long a deleted point can be taken back, and then how long its "
                            "bytes stay.",
                .fallback = "1d"});
  section->add("repack", &CollectConfig::repack, percent(),
               {.sentence = "A pack of which points reach less than this part is written anew "
                            "without the rest.",
                .fallback = "30%",
                .example = "50%"});
  return section;
}

ShapePtr<ScrubConfig> scrub_section() {
  auto section = std::make_shared<Section<ScrubConfig>>();
  section->add("every", &ScrubConfig::every, duration("10s", "366d"),
               {.sentence = "In how much time every pack is read once.", .fallback = "30d"});
  return section;
}

ShapePtr<StoreConfig> store_section() {
  auto section = std::make_shared<Section<StoreConfig>>();
  section->add("backend", &StoreConfig::backend, backend_section(),
               {.sentence = "Where the store's bytes live.",
                .example = "{ type: file, path: /srv/tidemark }",
                .required = true});
  section->add("key_file", &StoreConfig::key, secret(),
               {.sentence = "Where a key of the store is found; without it the store is served "
                            "unread.",
                .example = "/etc/tidemark/store.key"});
  section->add("passphrase_file", &StoreConfig::passphrase, secret(),
               {.sentence = "Where a passphrase of the store is found, in place of key_file.",
                .example = "{ file: /etc/tidemark/passphrase }"});
  section->add("catalog", &StoreConfig::catalog, path_of("a directory"),
               {.sentence = "The directory of the store's catalog; it can be rebuilt from the "
                            "store.",
                .derived = "`<state>/catalog`",
                .example = "/var/lib/tidemark/catalog"});
  section->add("gc", &StoreConfig::gc, collect_section(),
               {.sentence = "When the space of what no point reaches is reclaimed.",
                .fallback = "{}",
                .example = "{ every: 1d, grace: 3d }"});
  section->add(
      "scrub", &StoreConfig::scrub, scrub_section(),
      {.sentence = "How the store's bytes are held against their digests, again and again.",
       .fallback = "{}",
       .example = "{ every: 14d }"});
  return section;
}

ShapePtr<PeerConfig> peer_section() {
  auto section = std::make_shared<Section<PeerConfig>>();
  section->add("url", &PeerConfig::url, base_url(false),
               {.sentence = "Where the peer's agent listens; absent for a peer that only comes "
                            "here.",
                .example = "https://osaka:7443"});
  section->add("key_file", &PeerConfig::key, secret(),
               {.sentence = "Where the key of the peer's store is found, for what is sent there.",
                .example = "/etc/tidemark/osaka.key"});
  section->add("passphrase_file", &PeerConfig::passphrase, secret(),
               {.sentence = "Where a passphrase of the peer's store is found, in place of "
                            "key_file.",
                .example = "\"${env:OSAKA_PASSPHRASE}\""});
  section->add("read", &PeerConfig::read, list_of(site_asset_glob()),
               {.sentence = "What the peer may read of the store here, besides its own points.",
                .derived = "nothing",
                .example = "[ \"tokyo:rbd/rbd/vol-*\" ]"});
  section->add("metrics", &PeerConfig::metrics, boolean(),
               {.sentence = "Whether it may read the agent's metrics, which name everybody's "
                            "assets.",
                .fallback = "false",
                .example = "true"});
  section->add("quota", &PeerConfig::quota_bytes, byte_count(),
               {.sentence = "How much the peer's points may take in the store here.",
                .derived = "no limit",
                .example = "20TiB"});
  section->add("locked_for", &PeerConfig::locked_for, duration("1s", "3650d"),
               {.sentence = "How long nobody can delete a point of the peer, whatever its own "
                            "policies say.",
                .example = "14d"});
  return section;
}

ShapePtr<KeepConfig> keep_section() {
  auto section = std::make_shared<Section<KeepConfig>>();
  const auto number = [&](const char* name, std::uint32_t KeepConfig::*member, const char* what,
                          const char* example) {
    section->add(name, member, count(0, kKeepMax),
                 {.sentence = what, .fallback = "0", .example = example});
  };
  number("last", &KeepConfig::last, "The newest points, whatever their time.", "6");
  number("hourly", &KeepConfig::hourly, "Hours of which the last point is kept.", "24");
  number("daily", &KeepConfig::daily, "Days of which the last point is kept.", "14");
  number("weekly", &KeepConfig::weekly, "Weeks of which the last point is kept.", "8");
  number("monthly", &KeepConfig::monthly, "Months of which the last point is kept.", "12");
  number("yearly", &KeepConfig::yearly, "Years of which the last point is kept.", "3");
  section->add("locked_for", &KeepConfig::locked_for, duration("1s", "3650d"),
               {.sentence = "How long nobody can delete a point, counted from when it came in.",
                .example = "7d"});
  return section;
}

ShapePtr<BandwidthConfig> bandwidth_section() {
  auto section = std::make_shared<Section<BandwidthConfig>>();
  section->add("limit", &BandwidthConfig::bytes_per_second, rate(),
               {.sentence = "The most that is sent outside of all windows.",
                .derived = "no limit",
                .example = "400MiB/s"});
  section->add("windows", &BandwidthConfig::windows, windows(),
               {.sentence = "Limits for parts of the week, in UTC; no two may overlap.",
                .example = "{ \"mon-fri 08:00-19:00\": 50MiB/s }"});
  return section;
}

ShapePtr<HttpTarget> http_section() {
  auto section = std::make_shared<Section<HttpTarget>>();
  section->add(
      "url", &HttpTarget::url, http_url(),
      {.sentence = "Where the request is sent.", .example = "https://hooks:8443/tidemark"});
  section->add("url_file", &HttpTarget::url_secret, secret(),
               {.sentence = "Where the address is found, in place of url: those of chat systems "
                            "are secrets.",
                .example = "/etc/tidemark/webhook-url"});
  section->add("token_file", &HttpTarget::token, secret(),
               {.sentence = "Where a token is found that is sent as a bearer's.",
                .example = "/etc/tidemark/webhook-token"});
  section->add("ca_file", &HttpTarget::ca_file, path_of("a PEM file"),
               {.sentence = "Roots that the server's certificate is held against.",
                .derived = "the system's roots",
                .example = "/etc/tidemark/hooks-ca.crt"});
  return section;
}

ShapePtr<HookConfig> hook_section() {
  using OnFailure = HookConfig::OnFailure;
  auto section = std::make_shared<Section<HookConfig>>();
  section->add("command", &HookConfig::command, list_of(argument(), 1),
               {.sentence = "A program's path and its arguments; no shell is between.",
                .example = "[ /usr/local/bin/freeze, database ]"});
  section->add("http", &HookConfig::http, http_section(),
               {.sentence = "A request in place of a program: POST, with a JSON document.",
                .example = "{ url: \"http://127.0.0.1:9000/freeze\" }"});
  section->add(
      "timeout", &HookConfig::timeout, duration("1s", "1h"),
      {.sentence = "How long it may take; then it is ended and has failed.", .fallback = "30s"});
  section->add(
      "on_failure", &HookConfig::on_failure,
      choice<OnFailure>({{"abort", OnFailure::abort}, {"continue", OnFailure::go_on}}),
      {.sentence = "Whether there is no point then, or one all the same.", .fallback = "abort"});
  return section;
}

ShapePtr<HooksConfig> hooks_section() {
  auto section = std::make_shared<Section<HooksConfig>>();
  section->add("before", &HooksConfig::before, hook_section(),
               {.sentence = "Run right before the moment that the point is of.",
                .example = "{ command: [ /usr/local/bin/freeze ], timeout: 10s }"});
  section->add("after", &HooksConfig::after, hook_section(),
               {.sentence = "Run right after it, and where `before` failed, too.",
                .example = "{ command: [ /usr/local/bin/thaw ], on_failure: continue }"});
  section->add("pods", &HooksConfig::pods, pod_hooks_section(),
               {.sentence = "Commands in the pods that use a claim, where a pod does not name its "
                            "own by annotations.",
                .example = "{ before: [ fsfreeze, -f, /data ], after: [ fsfreeze, -u, /data ] }"});
  return section;
}

// What a policy protects.
void add_choice(Section<PolicyConfig>& section) {
  section.add("assets", &PolicyConfig::assets, list_of(asset_glob(), 1),
              {.sentence = "What is protected; '*' and '?' stand for anything but '/'.",
               .derived = "nothing but what 'claims' means",
               .example = "[ \"rbd/rbd/vol-*\", \"s3/photos\" ]"});
  section.add("claims", &PolicyConfig::claims, claims_section(),
              {.sentence = "Claims of Kubernetes whose volumes and buckets are protected as well; "
                           "needs 'kubernetes'.",
               .example = "{ namespaces: [ shop ], labels: \"app=db\" }"});
  section.add("exclude", &PolicyConfig::exclude, list_of(asset_glob()),
              {.sentence = "What is left out of it.",
               .derived = "nothing",
               .example = "[ \"rbd/rbd/vol-scratch-*\" ]"});
  section.add("labels", &PolicyConfig::labels, map_of("label", check_label_name, argument()),
              {.sentence = "What an asset must have to be protected: metadata of the image, tags "
                           "of the bucket; values may be patterns.",
               .example = "{ tier: gold }"});
}

ShapePtr<PolicyConfig> policy_section() {
  auto section = std::make_shared<Section<PolicyConfig>>();
  add_choice(*section);
  section->add("set", &PolicyConfig::set, boolean(),
               {.sentence = "Whether all of it is taken at one instant, as one set.",
                .fallback = "false",
                .example = "true"});
  section->add("every", &PolicyConfig::every, duration("1s", "366d"),
               {.sentence = "How often a point is taken; one of every, cron and calendar.",
                .derived = "by hand only",
                .example = "1h"});
  section->add("cron", &PolicyConfig::cron, cron_line(),
               {.sentence = "When a point is taken: minute, hour, day, month, weekday.",
                .derived = "by hand only",
                .example = "\"0 * * * *\""});
  section->add("calendar", &PolicyConfig::calendar, calendar(),
               {.sentence = "When a point is taken, as systemd writes it.",
                .derived = "by hand only",
                .example = "\"mon..fri 02:30 Europe/Berlin\""});
  section->add("timezone", &PolicyConfig::timezone, zone(),
               {.sentence = "Whose clock cron and calendar are read by.",
                .fallback = "UTC",
                .example = "Asia/Tokyo"});
  section->add("jitter", &PolicyConfig::jitter, duration("0s", "1d"),
               {.sentence = "Assets are spread over that much time from the beginning of each "
                            "turn; each has its own place, which stays.",
                .fallback = "0s",
                .example = "10m"});
  section->add("objective", &PolicyConfig::objective, objective_section(),
               {.sentence = "What is promised; status and alerts are held against it.",
                .fallback = "{}",
                .example = "{ rpo: 2h, rto: 30m }"});
  section->add("keep", &PolicyConfig::keep, keep_section(),
               {.sentence = "Which points are kept; a point goes when no line of it wants it.",
                .derived = "every point",
                .example = "{ last: 6, hourly: 24, daily: 14, locked_for: 7d }"});
  section->add(
      "to", &PolicyConfig::to, site_name(),
      {.sentence = "The peer whose store takes the points, or this site for its own store.",
       .example = "osaka",
       .required = true});
  section->add("bandwidth", &PolicyConfig::bandwidth, bandwidth_section(),
               {.sentence = "How fast points are sent.",
                .derived = "no limit",
                .example = "{ limit: 400MiB/s, windows: { \"mon-fri 08:00-19:00\": 50MiB/s } }"});
  section->add("hooks", &PolicyConfig::hooks, hooks_section(),
               {.sentence = "Programs that are run around the moment that a point is of.",
                .fallback = "{}",
                .example = "{ before: { command: [ /usr/local/bin/freeze ] }, after: { command: "
                           "[ /usr/local/bin/thaw ] } }"});
  section->add("check_unchanged", &PolicyConfig::check_unchanged, percent(),
               {.sentence = "How many regions are read again after an increment and compared "
                            "with the point; below 100% at most 64.",
                .fallback = "0.1%",
                .example = "1%"});
  return section;
}

ShapePtr<StandbyConfig> standby_section() {
  auto section = std::make_shared<Section<StandbyConfig>>();
  section->add("assets", &StandbyConfig::assets, list_of(site_asset_glob(), 1),
               {.sentence = "Assets in the store here that images are kept of.",
                .example = "[ \"tokyo:rbd/rbd/vol-db\" ]",
                .required = true});
  section->add("pool", &StandbyConfig::pool, plain_name("pool"),
               {.sentence = "The pool of the standby images.", .example = "dr", .required = true});
  section->add("namespace", &StandbyConfig::ns, plain_name("RADOS namespace"),
               {.sentence = "The namespace within the pool.",
                .derived = "the default namespace",
                .example = "tokyo"});
  return section;
}

ShapePtr<ConcurrencyConfig> concurrency_section() {
  auto section = std::make_shared<Section<ConcurrencyConfig>>();
  const auto number = [&](const char* name, std::uint32_t ConcurrencyConfig::*member,
                          const char* what) {
    section->add(name, member, count(1, kJobsMax), {.sentence = what, .fallback = "2"});
  };
  number("total", &ConcurrencyConfig::total, "Backups of this site at a time.");
  number("per_pool", &ConcurrencyConfig::per_pool,
         "Backups of images of one pool at a time; all buckets count as one pool.");
  number("per_peer", &ConcurrencyConfig::per_peer, "Backups to one store at a time.");
  return section;
}

ShapePtr<SnapshotsConfig> snapshots_section() {
  auto section = std::make_shared<Section<SnapshotsConfig>>();
  section->add("per_image", &SnapshotsConfig::per_image, count(2, kOurSnapshotsMax),
               {.sentence = "How many snapshots of ours an image may have: one for each store, and "
                            "the one being taken.",
                .fallback = "4"});
  section->add("room", &SnapshotsConfig::room, count(2, kSnapshotsMax),
               {.sentence = "No snapshot is taken of an image that has this many, of whomever: "
                            "krbd stops at 510, ceph-csi at 450.",
                .fallback = "400"});
  section->add("orphans_after", &SnapshotsConfig::orphans_after, duration("1s", "366d"),
               {.sentence = "How long a snapshot of ours stays that no policy has a use for any "
                            "more.",
                .fallback = "1d"});
  return section;
}

ShapePtr<EventsConfig> events_section() {
  auto section = std::make_shared<Section<EventsConfig>>();
  section->add("webhook", &EventsConfig::webhook, http_section(),
               {.sentence = "Who is told: each event once, as a JSON document.",
                .example = "{ url: \"https://alerts:8443/tidemark\" }"});
  section->add("store_used", &EventsConfig::store_used, percent(),
               {.sentence = "The part of the store's space, or of a peer's quota, from which on it "
                            "is an event.",
                .fallback = "85%"});
  section->add("certificate_left", &EventsConfig::certificate_left, duration("1h", "366d"),
               {.sentence = "How long before its end this site's certificate is an event.",
                .fallback = "21d"});
  return section;
}

std::unique_ptr<const Shape<Config>> top_section() {
  auto section = std::make_unique<Section<Config>>();
  section->add("site", &Config::site, site_name(),
               {.sentence = "This site's name, as its certificate and its peers know it.",
                .example = "tokyo",
                .required = true});
  section->add("tls", &Config::tls, tls_section(),
               {.sentence = "This site's TLS identity; the files are read again when they change.",
                .example = "{ cert: tokyo.crt, key: tokyo.key, ca: ca.crt }"});
  section->add("listen", &Config::listen, listen_address(),
               {.sentence = "Where peers, operators and monitoring reach the agent; needs 'tls'.",
                .derived = "nowhere",
                .example = "0.0.0.0:7443"});
  section->add(
      "state", &Config::state, path_of("a directory"),
      {.sentence = "The directory of what this site remembers.", .fallback = "/var/lib/tidemark"});
  section->add("log", &Config::log, log_section(),
               {.sentence = "What is written to stderr.",
                .fallback = "{}",
                .example = "{ level: info, format: json }"});
  section->add("ceph", &Config::ceph, ceph_section(),
               {.sentence = "This site's Ceph cluster.",
                .fallback = "{}",
                .example = "{ conf: /etc/ceph/ceph.conf, user: tidemark }"});
  section->add("s3", &Config::s3, s3_section(),
               {.sentence = "This site's object gateway.",
                .example = "{ endpoint: \"http://rgw:8080\", access_key_file: s3-access, "
                           "secret_key_file: s3-secret }"});
  section->add("kubernetes", &Config::kubernetes, kubernetes_section(),
               {.sentence = "The API server of this site's cluster, for claims by name.",
                .example = "{ kubeconfig: /etc/tidemark/kubeconfig }"});
  section->add("store", &Config::store, store_section(),
               {.sentence = "A store served here.",
                .example = "{ backend: { type: file, path: /srv/tidemark } }"});
  section->add("peers", &Config::peers, map_of("site", check_site_name, peer_section()),
               {.sentence = "The other sites, by name.",
                .example = "{ osaka: { url: \"https://osaka:7443\" } }"});
  section->add("concurrency", &Config::concurrency, concurrency_section(),
               {.sentence = "How many backups run at the same time; the most urgent go first.",
                .fallback = "{}",
                .example = "{ total: 4, per_pool: 2, per_peer: 4 }"});
  section->add("snapshots", &Config::snapshots, snapshots_section(),
               {.sentence = "How many snapshots are left on the images that are protected here.",
                .fallback = "{}",
                .example = "{ per_image: 3, room: 300 }"});
  section->add("events", &Config::events, events_section(),
               {.sentence = "When a person is needed, and who is told.",
                .fallback = "{}",
                .example = "{ webhook: { url: \"https://alerts:8443/tidemark\" } }"});
  section->add("policies", &Config::policies, map_of("policy", check_policy_name, policy_section()),
               {.sentence = "What is protected here, how often, and sent where.",
                .example = "{ hourly: { assets: [ \"rbd/rbd/vol-*\" ], every: 1h, to: osaka } }"});
  section->add("standby", &Config::standby, map_of("name", check_standby_name, standby_section()),
               {.sentence = "Images kept ready here from the points of the store.",
                .example = "{ databases: { assets: [ \"tokyo:rbd/rbd/vol-db\" ], pool: dr } }"});
  section->add("drills", &Config::drills, map_of("plan", check_drill_name, drill_section()),
               {.sentence = "Recoveries that are rehearsed.",
                .example = "{ monthly: { assets: [ \"tokyo:rbd/rbd/vol-*\" ], pool: drill, "
                           "calendar: monthly } }"});
  return section;
}

}  // namespace

ShapePtr<ObjectiveConfig> objective_section() {
  auto section = std::make_shared<Section<ObjectiveConfig>>();
  section->add(
      "rpo", &ObjectiveConfig::rpo, duration("1s", "3650d"),
      {.sentence = "How old the newest point may become; not below 'every'.", .example = "2h"});
  section->add("rto", &ObjectiveConfig::rto, duration("1s", "3650d"),
               {.sentence = "How long a recovery may take.", .example = "30m"});
  return section;
}

const Shape<Config>& options() {
  static const std::unique_ptr<const Shape<Config>> table = top_section();
  return *table;
}

}  // namespace tidemark::config
