// What a site is configured to do: tidemark.yaml, decoded, checked and with its defaults filled in.
//
// The structs are plain values. Every option is declared once, in config/options.cc; decoding, the
// JSON Schema, the reference page and `config show` all follow from that declaration. Paths are
// absolute: those written relative are taken from the configuration file's directory. Functions
// here keep no state and are safe from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/asset.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "config/calendar.h"

namespace tidemark {

using Duration = std::chrono::microseconds;

// Where a secret is to be found. The configuration never holds the secret itself.
struct SecretRef {
  enum class From { none, file, environment } from = From::none;
  std::filesystem::path file;  // From::file
  std::string variable;        // From::environment
  explicit operator bool() const { return from != From::none; }
  bool operator==(const SecretRef&) const = default;
};

// The secret's bytes as they stand in the file or the variable, at most 64 KiB. `not_found` where
// the variable is not set, `invalid_argument` for an empty secret or for From::none. A single line
// ending at the end of a file is dropped.
Result<std::string> read_secret(const SecretRef& ref);

struct TlsConfig {
  std::filesystem::path cert;  // PEM chain, leaf first
  std::filesystem::path key;
  std::filesystem::path ca;
  bool operator==(const TlsConfig&) const = default;
};

struct ListenAddress {
  std::string host;  // without the brackets of an IPv6 address
  std::uint16_t port = 0;
  // "host:port" or "[v6]:port".
  std::string text() const;
  bool operator==(const ListenAddress&) const = default;
};
// "0.0.0.0:7443", "[::]:7443", "agent.example:7443"; port 0 lets the system choose.
Result<ListenAddress> parse_listen(std::string_view text);

struct LogConfig {
  log::Level level = log::Level::info;
  log::Format format = log::Format::text;
  bool operator==(const LogConfig&) const = default;
};

struct CephSettings {
  std::filesystem::path conf;
  std::string user;  // without "client."
  bool operator==(const CephSettings&) const = default;
};

struct S3Config {
  std::string endpoint;  // "http://host:port" or "https://host:port", no slash at the end
  SecretRef access_key, secret_key;
  std::filesystem::path ca_file;  // empty: the system's roots
  std::string region = "us-east-1";
  enum class Addressing { path, virtual_host } addressing = Addressing::path;
  Duration list_every = std::chrono::hours(7 * 24);
  bool operator==(const S3Config&) const = default;
};

struct StoreBackendConfig {
  enum class Type { file, rados } type = Type::file;
  std::filesystem::path path;       // file
  std::string pool;                 // rados
  std::string ns;                   // rados; empty for the default namespace
  std::filesystem::path ceph_conf;  // rados; ceph.conf of the site unless given
  std::string ceph_user;            // rados; ceph.user of the site unless given
  bool operator==(const StoreBackendConfig&) const = default;
};

// When what no point reaches is removed from a store.
struct CollectConfig {
  Duration every = std::chrono::hours(24);
  Duration grace = std::chrono::hours(24);
  // A pack of which less than this part is reached is written anew; 0: none ever is.
  double repack = 0.3;
  bool operator==(const CollectConfig&) const = default;
};

// How often every pack of a store is read again, so that damage is found.
struct ScrubConfig {
  Duration every = std::chrono::hours(30 * 24);
  bool operator==(const ScrubConfig&) const = default;
};

// A store served by this site. Without either secret the agent serves it without reading content.
struct StoreConfig {
  StoreBackendConfig backend;
  SecretRef key, passphrase;      // at most one is set
  std::filesystem::path catalog;  // directory of the catalog; never empty
  CollectConfig gc;
  ScrubConfig scrub;
  bool operator==(const StoreConfig&) const = default;
};

struct PeerConfig {
  std::string url;                // "https://host:port", no slash at the end; empty for a peer that
                                  // only comes to us
  SecretRef key, passphrase;      // of the peer's store, for what this site sends there
  std::vector<std::string> read;  // globs of <site>:<asset> that the peer may read besides its own
  bool metrics = false;           // may read the agent's metrics, which name everybody's assets
  std::optional<std::uint64_t> quota_bytes;  // what its points may take in the store here
  std::optional<Duration> locked_for;        // how long its points stay, whatever it says itself
  bool operator==(const PeerConfig&) const = default;
};

struct ObjectiveConfig {
  std::optional<Duration> rpo, rto;
  bool operator==(const ObjectiveConfig&) const = default;
};

struct KeepConfig {
  std::uint32_t last = 0, hourly = 0, daily = 0, weekly = 0, monthly = 0, yearly = 0;
  std::optional<Duration> locked_for;
  bool operator==(const KeepConfig&) const = default;
};

// A part of the week, in UTC, with a limit of its own.
struct BandwidthWindow {
  std::string text;
  std::uint8_t weekdays = 0;      // bit 0 is Monday
  std::uint16_t from_minute = 0;  // of the day
  std::uint16_t to_minute = 0;    // exclusive, up to 1440; at or below from_minute it ends next day
  std::uint64_t bytes_per_second = 0;
  bool operator==(const BandwidthWindow&) const = default;
};
// "mon-fri 08:00-19:00", "sat,sun 00:00-24:00", "daily 22:00-06:00"; the limit is left at 0.
Result<BandwidthWindow> parse_window(std::string_view text);

struct BandwidthConfig {
  std::optional<std::uint64_t> bytes_per_second;
  std::vector<BandwidthWindow> windows;  // in the order of their texts; no two overlap
  bool operator==(const BandwidthConfig&) const = default;
};

// What may be sent at a time; nothing: as much as goes through.
std::optional<std::uint64_t> bandwidth_at(const BandwidthConfig& config, Timestamp now);

// Where an HTTP request is sent. Exactly one of `url` and `url_secret` is set: addresses of chat
// systems are secrets.
struct HttpTarget {
  std::string url;                // "http(s)://host[:port][/path][?query]"
  SecretRef url_secret;           // holds such an address
  SecretRef token;                // sent as "Authorization: Bearer"
  std::filesystem::path ca_file;  // empty: the system's roots
  bool operator==(const HttpTarget&) const = default;
};
// True where `url` is an address as HttpTarget has it.
bool is_http_url(std::string_view url);

// A program that is run, or a request that is sent, around the moment that a point is of. Exactly
// one of the two is set.
struct HookConfig {
  std::vector<std::string> command;  // an absolute path and its arguments
  std::optional<HttpTarget> http;    // POST of a JSON document; any 2xx is success
  Duration timeout = std::chrono::seconds(30);
  enum class OnFailure { abort, go_on } on_failure = OnFailure::abort;
  bool operator==(const HookConfig&) const = default;
};
// Commands in the pods that use a claim, where a pod does not say so itself.
struct PodHooksConfig {
  std::vector<std::string> before, after;  // a program and its arguments; empty: nothing
  std::string container;                   // empty: the pod's first
  Duration timeout = std::chrono::seconds(30);
  HookConfig::OnFailure on_failure = HookConfig::OnFailure::abort;
  bool operator==(const PodHooksConfig&) const = default;
};
struct HooksConfig {
  std::optional<HookConfig> before, after;
  std::optional<PodHooksConfig> pods;
  bool operator==(const HooksConfig&) const = default;
};

// Which claims of Kubernetes are meant: those that fit everything that is given.
struct ClaimsConfig {
  std::vector<std::string> namespaces;       // globs; empty: all
  std::string labels;                        // a label selector; empty: any
  std::vector<std::string> storage_classes;  // globs; empty: all
  bool volumes = true, buckets = true;       // PersistentVolumeClaims, ObjectBucketClaims
  bool annotated = false;                    // only those that name the policy themselves
  bool operator==(const ClaimsConfig&) const = default;
};

struct PolicyConfig {
  std::vector<std::string> assets;   // globs; '*' and '?' do not match '/'
  std::vector<std::string> exclude;  // globs
  // An asset must have all of these: metadata of an image, tags of a bucket. A value is a glob.
  std::map<std::string, std::string> labels;
  std::optional<ClaimsConfig> claims;  // what is behind these is meant as well
  bool set = false;                    // all assets of the policy at one instant, as one set
  // At most one of these three is set; with none, points are taken by hand only.
  std::optional<Duration> every;
  std::optional<Calendar> cron;      // read in `timezone`
  std::optional<Calendar> calendar;  // likewise, unless it names a zone of its own
  Zone timezone;
  Duration jitter = Duration::zero();
  ObjectiveConfig objective;
  std::optional<KeepConfig> keep;
  std::string to;  // a peer with a url, or this site itself where it has a store
  std::optional<BandwidthConfig> bandwidth;
  HooksConfig hooks;
  // Fraction of the regions called unchanged that is read and compared anyway; 0 to 1.
  double check_unchanged = 0.001;
  // True where a glob of `assets` matches and none of `exclude` does; says nothing of labels.
  bool covers(const AssetName& asset) const;
  bool operator==(const PolicyConfig&) const = default;
};

// Images that follow the points of assets in this site's store.
struct StandbyConfig {
  std::vector<std::string> assets;  // globs of <site>:<asset>
  std::string pool;
  std::string ns;  // empty for the default namespace
  bool operator==(const StandbyConfig&) const = default;
};

// What is held against an asset that a drill brought back.
struct DrillChecksConfig {
  bool content = true;  // every byte, against the point's tree
  bool fsck = false;    // of the file systems on it, in a layer of its own that is thrown away
  std::vector<std::string> mount;    // a program, run with its file system mounted; empty: none
  std::vector<std::string> command;  // a program, run against the NBD export or the bucket
  std::uint32_t sample = 0;          // objects of a bucket that are read with their metadata
  Duration timeout = std::chrono::minutes(10);  // of a program
  bool operator==(const DrillChecksConfig&) const = default;
};

struct DrillLimitsConfig {
  std::uint32_t parallel = 1;             // assets at a time
  std::optional<std::uint64_t> size;      // larger assets are not brought back
  Duration time = std::chrono::hours(6);  // for all of it; what is not done by then has failed
  double keep_free = 0.1;  // of the space that is written to: below that nothing is brought back
  bool operator==(const DrillLimitsConfig&) const = default;
};

// A recovery that is rehearsed.
struct DrillConfig {
  std::vector<std::string> assets;  // globs of <site>:<asset>
  bool set = false;                 // all of them out of one set
  std::string point = "newest";     // "newest", "random", or a time as parse_time() has it
  std::string from;                 // a peer, or this site; never empty
  enum class Method { restore, file, instant, serve, standby } method = Method::restore;
  std::string pool, ns;           // of the images that are made
  std::filesystem::path scratch;  // of files that are made; never empty
  DrillChecksConfig checks;
  DrillLimitsConfig limits;
  ObjectiveConfig objective;
  // At most one of these three is set; with none it is run by hand only.
  std::optional<Duration> every;
  std::optional<Calendar> cron, calendar;
  Zone timezone;
  Duration overdue_after = std::chrono::hours(35 * 24);  // without a success
  // True where a glob of `assets` matches.
  bool covers(std::string_view site, std::string_view asset) const;
  bool operator==(const DrillConfig&) const = default;
};

// How many backups run at the same time.
struct ConcurrencyConfig {
  std::uint32_t total = 2, per_pool = 2, per_peer = 2;
  bool operator==(const ConcurrencyConfig&) const = default;
};

// What is left on protected images.
struct SnapshotsConfig {
  std::uint32_t per_image = 4;  // ours, the one being taken included
  std::uint32_t room = 400;     // no snapshot of ours where the image has that many, of whomever
  Duration orphans_after = std::chrono::hours(24);  // then those go that no policy needs any more
  bool operator==(const SnapshotsConfig&) const = default;
};

// When a person is needed, and who is told.
struct EventsConfig {
  std::optional<HttpTarget> webhook;
  double store_used = 0.85;  // of the space, and of a peer's quota
  Duration certificate_left = std::chrono::hours(21 * 24);
  bool operator==(const EventsConfig&) const = default;
};

// How many points are shown as objects of Kubernetes: the newest of each claim, and the newest of
// all. None where either is 0.
struct RecoveryPointsConfig {
  std::uint32_t per_claim = 24, total = 1000;
  bool operator==(const RecoveryPointsConfig&) const = default;
};

// The API server of this site's cluster, and what volumes do not say of themselves.
struct KubernetesConfig {
  std::filesystem::path kubeconfig;     // empty: the service account of the pod that we run in
  std::string context;                  // empty: its current one
  bool custom_resources = false;        // the objects of tidemark.dev are carried out
  RecoveryPointsConfig recovery_points;
  std::string lease;                    // who holds it is at work; empty: there is one agent
  std::vector<std::string> namespaces;  // that may be read; empty: all
  std::map<std::string, std::string> rados_namespaces;  // by clusterID
  bool operator==(const KubernetesConfig&) const = default;
};

struct Config {
  std::string name;  // the file, as errors name it
  std::string site;
  std::optional<TlsConfig> tls;
  std::optional<ListenAddress> listen;  // nothing: this site accepts no connections
  std::filesystem::path state;
  LogConfig log;
  CephSettings ceph;
  std::optional<S3Config> s3;
  std::optional<KubernetesConfig> kubernetes;
  std::optional<StoreConfig> store;
  std::map<std::string, PeerConfig> peers;
  ConcurrencyConfig concurrency;
  SnapshotsConfig snapshots;
  EventsConfig events;
  std::map<std::string, PolicyConfig> policies;
  std::map<std::string, StandbyConfig> standby;
  std::map<std::string, DrillConfig> drills;

  // True where `site` may read the metrics: ourselves, and peers that are allowed to.
  bool may_read_metrics(std::string_view site) const;
  // True where `peer` may read what `owner` wrote of `asset`: its own, or what its `read` grants.
  bool may_read(std::string_view peer, std::string_view owner, const AssetName& asset) const;
  bool operator==(const Config&) const = default;
};

// Usable as a site's name: check_name, and no ':'.
Status check_site_name(std::string_view name);

// The configuration in a file, at most 1 MiB. Every problem found is in the error's message, one
// line each: "file:line:column: key: found X, expected Y". `invalid_argument` for all of them;
// `not_found` and `permission_denied` where the file cannot be opened.
Result<Config> load_config(const std::filesystem::path& path);
// As load_config() for a text. `name` stands for the file in messages, `base_dir` is where relative
// paths start.
Result<Config> parse_config(std::string_view text, std::string_view name,
                            const std::filesystem::path& base_dir);

// One sentence for each thing that is accepted but that this version does not act upon, or that is
// likely not meant.
std::vector<std::string> config_warnings(const Config& config);

// YAML with every default filled in, which parses to the same configuration again. Names where
// secrets are found, never a secret.
std::string show_config(const Config& config);
// JSON Schema (draft 2020-12) of the configuration file.
std::string config_schema();
// The reference page in Markdown, docs/configuration.md.
std::string config_reference();

}  // namespace tidemark
