#include <gmock/gmock.h>

#include <algorithm>

#include "tests/config/support.h"

namespace tidemark::test {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

Config example() { return accepted(source_file("docs/example/tidemark.yaml")); }

TEST(Example, DecodesEverySiteOption) {
  const Config config = example();
  EXPECT_EQ(config.site, "tokyo");
  EXPECT_EQ(config.tls, (TlsConfig{"/etc/tidemark/tokyo.crt", "/etc/tidemark/tokyo.key",
                                   "/etc/tidemark/ca.crt"}));
  EXPECT_EQ(config.listen, (ListenAddress{"0.0.0.0", 7443}));
  EXPECT_EQ(config.state, "/var/lib/tidemark");
  EXPECT_EQ(config.log, (LogConfig{log::Level::info, log::Format::json}));
  EXPECT_EQ(config.ceph, (CephSettings{"/etc/ceph/ceph.conf", "tidemark"}));
  ASSERT_TRUE(config.s3);
  EXPECT_EQ(config.s3->endpoint, "http://rgw:8080");
  EXPECT_EQ(config.s3->access_key.file, "/etc/tidemark/s3-access");
  EXPECT_EQ(config.s3->secret_key.file, "/etc/tidemark/s3-secret");
  EXPECT_EQ(config.s3->ca_file, "/etc/tidemark/rgw-ca.crt");
  EXPECT_EQ(config.s3->region, "eu-central-1");
  EXPECT_EQ(config.s3->addressing, S3Config::Addressing::virtual_host);
  EXPECT_EQ(config.s3->list_every, hours(72));
}

TEST(Example, DecodesStoreAndPeers) {
  const Config config = example();
  ASSERT_TRUE(config.store);
  const StoreBackendConfig& backend = config.store->backend;
  EXPECT_EQ(backend.type, StoreBackendConfig::Type::rados);
  EXPECT_EQ(backend.pool, "tidemark");
  EXPECT_EQ(backend.ns, "osaka");
  EXPECT_EQ(backend.ceph_conf, "/etc/ceph/ceph.conf");
  EXPECT_EQ(backend.ceph_user, "tidemark");
  EXPECT_EQ(config.store->key.file, "/etc/tidemark/store.key");
  EXPECT_EQ(config.store->catalog, "/var/lib/tidemark/catalog");
  ASSERT_EQ(config.peers.size(), 3U);
  const PeerConfig& osaka = config.peers.at("osaka");
  EXPECT_EQ(osaka.url, "https://osaka:7443");
  EXPECT_EQ(osaka.key.file, "/etc/tidemark/osaka.key");
  EXPECT_EQ(osaka.read, std::vector<std::string>{"tokyo:rbd/rbd/vol-*"});
  PeerConfig nagoya;
  nagoya.quota_bytes = 20 * 1024 * kGiB;
  nagoya.locked_for = hours(14 * 24);
  EXPECT_EQ(config.peers.at("nagoya"), nagoya);
  EXPECT_TRUE(config.may_read_metrics("monitoring"));
  EXPECT_TRUE(config.may_read_metrics("tokyo"));
  for (const char* site : {"osaka", "nagoya", "nobody"})
    EXPECT_FALSE(config.may_read_metrics(site));
}

TEST(Example, DecodesSnapshotsAndEvents) {
  const Config config = example();
  EXPECT_EQ(config.snapshots, (SnapshotsConfig{3, 300, hours(48)}));
  ASSERT_TRUE(config.events.webhook);
  EXPECT_EQ(config.events.webhook->url, "https://alerts:8443/tidemark");
  EXPECT_EQ(config.events.webhook->token.file, "/etc/tidemark/webhook-token");
  EXPECT_EQ(config.events.store_used, 0.8);
  EXPECT_EQ(config.events.certificate_left, hours(30 * 24));
  const PolicyConfig& shop = config.policies.at("shop");
  EXPECT_TRUE(shop.set);
  EXPECT_EQ(shop.labels, (std::map<std::string, std::string>{{"tier", "gold"}}));
  EXPECT_EQ(shop.hooks.after->http->url, "http://127.0.0.1:9000/thaw");
}

TEST(Example, DecodesKubernetes) {
  const Config config = example();
  ASSERT_TRUE(config.kubernetes);
  EXPECT_EQ(config.kubernetes->kubeconfig, "/etc/tidemark/kubeconfig");
  EXPECT_EQ(config.kubernetes->context, "tokyo");
  EXPECT_TRUE(config.kubernetes->custom_resources);
  EXPECT_EQ(config.kubernetes->recovery_points, (RecoveryPointsConfig{48, 2000}));
  EXPECT_EQ(config.kubernetes->lease, "tidemark-agent");
  EXPECT_EQ(config.kubernetes->namespaces, (std::vector<std::string>{"shop", "billing"}));
  EXPECT_EQ(config.kubernetes->rados_namespaces.at("0123456789abcdef0123456789abcdef"), "tenant-a");
  const PolicyConfig& databases = config.policies.at("databases");
  ASSERT_TRUE(databases.claims);
  EXPECT_EQ(databases.claims->namespaces, (std::vector<std::string>{"shop", "team-*"}));
  EXPECT_EQ(databases.claims->labels, "app in (db, queue), tier!=scratch");
  EXPECT_TRUE(databases.claims->volumes && !databases.claims->buckets);
  EXPECT_TRUE(databases.claims->annotated);
  EXPECT_TRUE(databases.assets.empty());
  ASSERT_TRUE(databases.hooks.pods);
  EXPECT_EQ(databases.hooks.pods->container, "db");
  EXPECT_EQ(databases.hooks.pods->on_failure, HookConfig::OnFailure::go_on);
}

TEST(Example, DecodesPolicies) {
  const Config config = example();
  ASSERT_EQ(config.policies.size(), 4U);
  const PolicyConfig& hourly = config.policies.at("hourly");
  EXPECT_EQ(hourly.assets, (std::vector<std::string>{"rbd/rbd/vol-*", "s3/photos"}));
  EXPECT_EQ(hourly.exclude, std::vector<std::string>{"rbd/rbd/vol-scratch-*"});
  EXPECT_EQ(hourly.every, hours(1));
  EXPECT_FALSE(hourly.cron);
  EXPECT_EQ(hourly.objective, (ObjectiveConfig{hours(2), minutes(30)}));
  EXPECT_EQ(hourly.keep, (KeepConfig{6, 24, 14, 8, 12, 3, hours(7 * 24)}));
  EXPECT_EQ(hourly.to, "osaka");
  ASSERT_TRUE(hourly.bandwidth);
  EXPECT_EQ(hourly.bandwidth->bytes_per_second, 400 * kMiB);
  ASSERT_EQ(hourly.bandwidth->windows.size(), 1U);
  EXPECT_EQ(hourly.bandwidth->windows[0],
            (BandwidthWindow{"mon-fri 08:00-19:00", 0x1f, 480, 1140, 50 * kMiB}));
  EXPECT_DOUBLE_EQ(hourly.check_unchanged, 0.001);
  const PolicyConfig& nightly = config.policies.at("nightly");
  EXPECT_EQ(nightly.to, "tokyo");
  ASSERT_TRUE(nightly.cron);
  EXPECT_EQ(nightly.cron->times.text, "30 2 * * *");
  EXPECT_EQ(nightly.cron->zone.name(), "Asia/Tokyo");
  EXPECT_EQ(nightly.jitter, minutes(10));
  EXPECT_FALSE(nightly.keep);
  EXPECT_EQ(config.concurrency, (ConcurrencyConfig{4, 2, 4}));
  EXPECT_EQ(config.standby.at("databases"),
            (StandbyConfig{{"osaka:rbd/rbd/vol-db-*"}, "dr", "osaka"}));
}

TEST(Example, WarnsOnceForEachThingThatIsNotActedUpon) {
  const auto warnings = config_warnings(example());
  EXPECT_TRUE(warnings.empty()) << warnings[0];
  Config by_hand = example();
  by_hand.drills.at("monthly").calendar.reset();
  const auto warned_by_hand = config_warnings(by_hand);
  ASSERT_EQ(warned_by_hand.size(), 1U);
  EXPECT_TRUE(warned_by_hand[0].starts_with("drills.monthly ")) << warned_by_hand[0];
  Config without_drills = example();
  without_drills.drills.clear();
  const auto warned = config_warnings(without_drills);
  ASSERT_EQ(warned.size(), 1U);
  EXPECT_TRUE(warned[0].starts_with("policies.hourly.objective.rto ")) << warned[0];
}

TEST(Example, DecodesDrills) {
  const DrillConfig drill = example().drills.at("monthly");
  EXPECT_EQ(drill.assets, (std::vector<std::string>{"osaka:rbd/rbd/vol-*", "osaka:s3/photos"}));
  EXPECT_EQ(drill.point, "random");
  EXPECT_EQ(drill.from, "tokyo") << "this site's own store, unless it is said";
  EXPECT_EQ(drill.method, DrillConfig::Method::restore);
  EXPECT_EQ(drill.pool, "drill");
  EXPECT_EQ(drill.scratch, "/var/lib/tidemark/drills/scratch");
  EXPECT_TRUE(drill.checks.content && drill.checks.fsck);
  EXPECT_EQ(drill.checks.mount, (std::vector<std::string>{"/usr/local/bin/probe", "--deep"}));
  EXPECT_EQ(drill.checks.sample, 100U);
  EXPECT_EQ(drill.limits, (DrillLimitsConfig{2, 2048 * kGiB, hours(6), 0.2}));
  EXPECT_EQ(drill.objective.rto, minutes(30));
  ASSERT_TRUE(drill.calendar);
  EXPECT_EQ(drill.calendar->zone.name(), "Europe/Berlin");
  EXPECT_TRUE(drill.covers("osaka", "rbd/rbd/vol-db"));
  EXPECT_FALSE(drill.covers("tokyo", "rbd/rbd/vol-db"));
}

TEST(Warnings, NothingIsSaidOfWhatIsActedUpon) {
  EXPECT_THAT(config_warnings(accepted(R"(
site: tokyo
tls: { cert: a, key: b, ca: c }
listen: 0.0.0.0:7443
store: { backend: { type: file, path: /srv/t } }
peers: { osaka: { url: "https://osaka:7443" } }
policies: { p: { assets: [ rbd/rbd/a ], every: 1h, to: osaka } }
)")),
              ::testing::IsEmpty());
}

TEST(Warnings, NameAPolicyWithoutScheduleAndAStoreThatNobodyReaches) {
  const auto warnings = config_warnings(accepted(R"(
site: tokyo
store: { backend: { type: file, path: /srv/t } }
policies: { p: { assets: [ rbd/rbd/a ], to: tokyo } }
)"));
  ASSERT_EQ(warnings.size(), 2U);
  EXPECT_TRUE(warnings[0].starts_with("store ")) << warnings[0];
  EXPECT_TRUE(warnings[1].starts_with("policies.p ")) << warnings[1];
}

TEST(Documented, TheConfigurationOfTheCommandLinePageIsAccepted) {
  const Config config = accepted(R"(
site: tokyo
tls: { cert: tokyo.crt, key: tokyo.key, ca: ca.crt }   # reread when they change
listen: 0.0.0.0:7443          # API, uploads, /metrics, /healthz, /readyz, dashboard
state: /var/lib/tidemark      # this site's own RocksDB
ceph: { conf: /etc/ceph/ceph.conf, user: tidemark }
s3:   { endpoint: http://rgw:8080, access_key_file: a, secret_key_file: b }
store:                        # a store served here
  backend: { type: file, path: /srv/tidemark }
peers:
  osaka: { url: https://osaka:7443 }
policies:
  hourly:
    assets: [ "rbd/rbd/vol-*", "s3/photos" ]
    every: 1h                 # or cron: "0 * * * *"
    objective: { rpo: 2h, rto: 30m }
    keep: { last: 6, hourly: 24, daily: 14, weekly: 8, monthly: 12, yearly: 3, locked_for: 7d }
    to: osaka
    bandwidth: { limit: 400MiB/s, windows: { "mon-fri 08:00-19:00": 50MiB/s } }
)");
  EXPECT_EQ(config.peers.at("osaka").url, "https://osaka:7443");
  EXPECT_EQ(config.store->catalog, "/var/lib/tidemark/catalog");
}

TEST(Defaults, AreFilledIn) {
  const Config config = accepted("site: tokyo\n");
  EXPECT_EQ(config.state, "/var/lib/tidemark");
  EXPECT_EQ(config.log, (LogConfig{log::Level::info, log::Format::text}));
  EXPECT_EQ(config.ceph, (CephSettings{"/etc/ceph/ceph.conf", "tidemark"}));
  EXPECT_FALSE(config.tls || config.listen || config.s3 || config.store);
  EXPECT_TRUE(config.peers.empty() && config.policies.empty() && config.standby.empty());
}

TEST(Defaults, OfAStoreFollowFromTheSite) {
  const Config config = accepted(R"(
site: tokyo
state: here
ceph: { conf: my.conf, user: me }
store: { backend: { type: rados, pool: p } }
policies: { p: { assets: [ rbd/a/b ], to: tokyo } }
)");
  EXPECT_EQ(config.state, "/etc/tidemark/here");
  EXPECT_EQ(config.store->catalog, "/etc/tidemark/here/catalog");
  EXPECT_EQ(config.store->backend.ceph_conf, "/etc/tidemark/my.conf");
  EXPECT_EQ(config.store->backend.ceph_user, "me");
  EXPECT_DOUBLE_EQ(config.policies.at("p").check_unchanged, 0.001);
}

TEST(Load, ReadsAFileAndStartsRelativePathsBesideIt) {
  const std::string dir = ::testing::TempDir();
  const std::filesystem::path path = std::filesystem::path(dir) / "tm-config-test.yaml";
  ASSERT_TRUE(write_file_durably(path, as_bytes("site: x\nstate: st/../down/\n")));
  const auto config = load_config(path);
  ASSERT_TRUE(config) << config.error().describe();
  EXPECT_EQ(config->state, (std::filesystem::path(dir) / "down").lexically_normal());
  EXPECT_EQ(config->name, path.string());
  std::filesystem::remove(path);
  const auto gone = load_config(path);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code(), ErrorCode::not_found);
}

}  // namespace
}  // namespace tidemark::test
