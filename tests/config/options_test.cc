// Every option: values that are accepted and how they read, values that are refused and where.
#include <gmock/gmock.h>

#include <vector>

#include "tests/config/support.h"

namespace tidemark::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kPolicy =
    "site: a\nstore: { backend: { type: file, path: /x } }\npolicies:\n  p:\n    to: a\n"
    "    assets: [ rbd/a/b ]\n    ";
const std::string kStore = "site: a\nstore:\n  ";
const std::string kPeer = "site: a\ntls: { cert: a, key: b, ca: c }\npeers:\n  b:\n    ";

struct Case {
  std::string option;  // its path in messages
  std::string before;  // up to the option's value, with its key
  std::string after;
  std::vector<std::string> good, bad;
};

const std::vector<std::string> kBadNames = {
    "\"\"",     "a/b",       "..",
    ".",        "\"a\\nb\"", "[ a ]",
    "{ a: b }", "~",         "\"" + std::string(256, 'x') + "\""};
const std::vector<std::string> kGoodNames = {
    "a", "a-b_c.d", "東京", "\"a b\"", "123", "true", std::string(255, 'x')};
const std::vector<std::string> kGoodPaths = {"a", "/a/b", "./a/../b", "\"/with space\"", "/ü"};
const std::vector<std::string> kBadPaths = {"\"\"",   "~",        "\"~/x\"",
                                            "[ /a ]", "{ a: b }", "\"${env:X}\""};
const std::vector<std::string> kGoodSecrets = {"a.key", "/etc/x", "{ file: x }", "\"${env:A_b1}\"",
                                               "{ file: 0123456789012345678901234567890 }"};
const std::vector<std::string> kBadSecrets = {"~",
                                              "\"\"",
                                              "[ x ]",
                                              "{ key: x }",
                                              "{ file: x, also: y }",
                                              "{ file: [ x ] }",
                                              "\"${env:}\"",
                                              "\"${env:1A}\"",
                                              "\"${env:A B}\"",
                                              "\"${env:A\"",
                                              "\"${file:A}\"",
                                              "\"x${env:A}\"",
                                              "{ file: \"${env:A}\" }",
                                              "wJalrXUtnFEMIK7MDENGbPx"};
const std::vector<std::string> kGoodDurations = {"1m", "90s", "1h30m",  "1.5h",
                                                 "7d", "1w",  "60000ms"};
const std::vector<std::string> kBadDurations = {"0s",   "1",       "60",   "h",      "-1h",
                                                "1 h",  "\"1h \"", "1y",   "1e3s",   "soon",
                                                "1.5.", "400000d", "1.5s", "[ 1h ]", "~"};
const std::vector<std::string> kGoodCounts = {"1", "24", "100000", "\"7\""};
const std::vector<std::string> kBadCounts = {
    "-1", "100001", "1.5", "1e3", "x", "+1", "0x10", "[ 1 ]", "~", "99999999999999999999"};
const std::vector<std::string> kGoodRates = {"1KiB/s", "400MiB/s", "1.5GiB/s",
                                             "100M/s", "1024B/s",  "1024GiB/s"};
const std::vector<std::string> kBadRates = {"0/s",    "0MiB/s",     "400MiB",  "400",
                                            "1023/s", "1025GiB/s",  "-1MiB/s", "fast",
                                            "1MiB/h", "[ 1MiB/s ]", "~",       "/s"};
const std::vector<std::string> kGoodGlobs = {"rbd/a/b", "\"rbd/*/*\"", "\"rbd/pool/ns/vm-?\"",
                                             "s3/bucket", "\"s3/*\""};
const std::vector<std::string> kBadGlobs = {
    "\"\"",     "rbd",      "rbd/a",          "\"rbd/*\"",  "rbd//b",    "rbd/a/b/c/d",
    "s3/a/b",   "s3/",      "\"*\"",          "cephfs/a/b", "a:rbd/a/b", "rbd/../b",
    "/rbd/a/b", "rbd/a/b/", "\"rbd/a/b\\n\"", "{ a: b }",   "~",         std::string(1100, 'x')};
const std::vector<std::string> kGoodSiteGlobs = {"a:rbd/a/b", "\"*:rbd/*/*\"", "\"t?kyo:s3/x\""};
const std::vector<std::string> kBadSiteGlobs = {"rbd/a/b", ":rbd/a/b",    "a:rbd/a", "a:b:rbd/x/y",
                                                "\"*\"",   "a/b:rbd/x/y", "~"};

std::vector<std::string> in_lists(const std::vector<std::string>& items) {
  std::vector<std::string> out;
  for (const auto& item : items) out.push_back("[ " + item + " ]");
  return out;
}
std::vector<std::string> with(std::vector<std::string> items, std::vector<std::string> more) {
  items.insert(items.end(), more.begin(), more.end());
  return items;
}

std::vector<Case> site_cases() {
  const std::string url_ports[] = {"0", "65536", "x"};
  std::vector<std::string> bad_urls = {"http://b",         "b:7443",
                                       "https://",         "https://u:p@b",
                                       "https://b/path",   "\"https://b?x\"",
                                       "\"https://b#x\"",  "https://b//",
                                       "\"https://b b\"",  "ftp://b",
                                       "[ https://b ]",    "~",
                                       "\"https://[::1\"", "\"https://[b]:1\"",
                                       "https://.b",       "\"https://b:\""};
  for (const auto& port : url_ports) bad_urls.push_back("\"https://b:" + port + "\"");
  return {
      {"site", "site: ", "", kGoodNames, with(kBadNames, {"a:b"})},
      {"tls.cert", "site: a\ntls: { key: k, ca: c, cert: ", " }", kGoodPaths, kBadPaths},
      {"tls.key", "site: a\ntls: { cert: k, ca: c, key: ", " }", kGoodPaths, kBadPaths},
      {"tls.ca", "site: a\ntls: { cert: k, key: c, ca: ", " }", kGoodPaths, kBadPaths},
      {"listen",
       "site: a\ntls: { cert: k, key: c, ca: d }\nlisten: ",
       "",
       {"0.0.0.0:7443", "\"[::]:1\"", "host.example:65535", "localhost:0"},
       {"7443", "0.0.0.0", "\":7443\"", "\"::1:7443\"", "a:65536", "a:-1", "a:x", "\"a:\"",
        "\"[::1]\"", "\"[]:1\"", "https://a:1", "\"a b:1\"", "[ a ]", "~", "a:000001"}},
      {"state", "site: a\nstate: ", "", kGoodPaths, kBadPaths},
      {"log.level",
       "site: a\nlog: { level: ",
       " }",
       {"debug", "info", "warn", "error", "off"},
       {"INFO", "trace", "\"\"", "~", "[ info ]", "1"}},
      {"log.format", "site: a\nlog: { format: ", " }", {"text", "json"}, {"xml", "JSON", "~"}},
      {"ceph.conf", "site: a\nceph: { conf: ", " }", kGoodPaths, kBadPaths},
      {"ceph.user", "site: a\nceph: { user: ", " }", kGoodNames, kBadNames},
      {"s3.endpoint",
       "site: a\ns3: { access_key_file: a, secret_key_file: b, endpoint: ",
       " }",
       {"http://rgw:8080", "https://rgw/", "\"http://[::1]:80\""},
       {"rgw:8080", "s3://x", "http://k:s@rgw", "http://rgw/path", "~"}},
      {"s3.access_key_file",
       "site: a\ns3: { endpoint: http://x, secret_key_file: b, access_key_file: ", " }",
       kGoodSecrets, kBadSecrets},
      {"s3.secret_key_file",
       "site: a\ns3: { endpoint: http://x, access_key_file: b, secret_key_file: ", " }",
       kGoodSecrets, kBadSecrets},
      {"peers.b.url",
       kPeer + "url: ",
       "",
       {"https://b", "https://b:7443", "https://b.example/", "\"https://[fe80::1]:7443\"",
        "https://192.0.2.1:1"},
       bad_urls},
      {"peers.b.key_file", kPeer + "key_file: ", "", kGoodSecrets, kBadSecrets},
      {"peers.b.passphrase_file", kPeer + "passphrase_file: ", "", kGoodSecrets, kBadSecrets},
      {"peers.b.read", kPeer + "read: ", "", with(in_lists(kGoodSiteGlobs), {"[]"}),
       with(in_lists(kBadSiteGlobs), {"a:rbd/a/b", "~"})},
  };
}

std::vector<Case> store_cases() {
  const std::string rados = kStore + "backend: { type: rados, pool: p, ";
  const std::string file = kStore + "backend: { type: file, path: /x }\n  ";
  return {
      {"store.backend.type",
       kStore + "backend: { path: /x, type: ",
       " }",
       {"file"},
       {"s3", "File", "rbd", "~", "\"\""}},
      {"store.backend.path", kStore + "backend: { type: file, path: ", " }", kGoodPaths, kBadPaths},
      {"store.backend.pool", kStore + "backend: { type: rados, pool: ", " }", kGoodNames,
       kBadNames},
      {"store.backend.namespace", rados + "namespace: ", " }", kGoodNames, kBadNames},
      {"store.backend.ceph_conf", rados + "ceph_conf: ", " }", kGoodPaths, kBadPaths},
      {"store.backend.ceph_user", rados + "ceph_user: ", " }", kGoodNames, kBadNames},
      {"store.key_file", file + "key_file: ", "", kGoodSecrets, kBadSecrets},
      {"store.passphrase_file", file + "passphrase_file: ", "", kGoodSecrets, kBadSecrets},
      {"store.scrub.every",
       file + "scrub: { every: ",
       " }",
       {"10s", "30d"},
       {"9s", "367d", "soon"}},
      {"store.gc.repack",
       file + "gc: { repack: ",
       " }",
       {"0%", "30%", "100%"},
       {"0.3", "101%", "~"}},
      {"store.catalog", file + "catalog: ", "", kGoodPaths, kBadPaths},
      {"standby.s.assets", file + "\nstandby: { s: { pool: p, assets: ", " } }",
       in_lists(kGoodSiteGlobs), with(in_lists(kBadSiteGlobs), {"[]", "~", "a:rbd/a/b"})},
      {"standby.s.pool", file + "\nstandby: { s: { assets: [ a:rbd/a/b ], pool: ", " } }",
       kGoodNames, kBadNames},
      {"standby.s.namespace",
       file + "\nstandby: { s: { assets: [ a:rbd/a/b ], pool: p, namespace: ", " } }", kGoodNames,
       kBadNames},
  };
}

std::vector<Case> drill_cases() {
  const std::string drill =
      "site: a\nstore: { backend: { type: file, path: /x } }\n"
      "drills: { d: { assets: [ \"a:s3/b\" ], ";
  const std::string checks = drill + "checks: { ", limits = drill + "limits: { ";
  const std::vector<std::string> truths = {"true", "false"}, no_truths = {"yes", "1", "~"};
  const std::vector<std::string> programs = {"[ /bin/true ]", "[ /bin/a, \"b c\" ]", "[]"};
  const std::vector<std::string> no_programs = {"true", "[ true ]", "~", "[ [] ]"};
  return {
      {"drills.d.point",
       drill + "point: ",
       " } }",
       {"newest", "random", "-7d", "2026-11-01", "2026-11-01T00:00:00Z"},
       {"oldest", "7d", "\"\"", "~"}},
      {"drills.d.set", drill + "set: ", " } }", truths, no_truths},
      {"drills.d.method",
       drill + "method: ",
       " } }",
       {"restore", "file", "serve", "instant"},
       {"copy", "~", "\"\""}},
      {"drills.d.scratch", drill + "scratch: ", " } }", kGoodPaths, kBadPaths},
      {"drills.d.pool", drill + "pool: ", " } }", kGoodNames, kBadNames},
      {"drills.d.checks.content", checks + "content: ", " } } }", truths, no_truths},
      {"drills.d.checks.fsck", checks + "fsck: ", " } } }", truths, no_truths},
      {"drills.d.checks.mount", checks + "mount: ", " } } }", programs, no_programs},
      {"drills.d.checks.command", checks + "command: ", " } } }", programs, no_programs},
      {"drills.d.checks.sample", checks + "sample: ", " } } }", {"0", "100"}, {"-1", "all"}},
      {"drills.d.checks.timeout", checks + "timeout: ", " } } }", kGoodDurations, kBadDurations},
      {"drills.d.limits.parallel", limits + "parallel: ", " } } }", {"1", "16"}, {"0", "17"}},
      {"drills.d.limits.size", limits + "size: ", " } } }", {"1MiB", "2TiB"}, {"0", "1KiB"}},
      {"drills.d.limits.time", limits + "time: ", " } } }", {"1s", "30d"}, {"0s", "31d"}},
      {"drills.d.limits.keep_free", limits + "keep_free: ", " } } }", {"0%", "25%"}, {"0.1", "~"}},
      {"drills.d.every", drill + "every: ", " } }", {"1m", "7d"}, {"0s", "59s", "367d"}},
      {"drills.d.overdue_after", drill + "overdue_after: ", " } }", {"1m", "35d"}, {"0s", "soon"}},
  };
}

std::vector<Case> policy_cases() {
  std::vector<Case> cases = {
      {"policies.p.assets",
       "site: a\nstore: { backend: { type: file, path: /x } }\npolicies: { p: { to: a, assets: ",
       " } }", in_lists(kGoodGlobs), with(in_lists(kBadGlobs), {"[]", "~", "rbd/a/b"})},
      {"policies.p.exclude", kPolicy + "exclude: ", "", with(in_lists(kGoodGlobs), {"[]"}),
       with(in_lists(kBadGlobs), {"~", "rbd/a/b"})},
      {"policies.p.to",
       "site: a\nstore: { backend: { type: file, path: /x } }\npolicies: { p: { assets: [ rbd/a/b "
       "], "
       "to: ",
       " } }",
       {"a"},
       {"b", "\"\"", "~", "[ a ]", "a:b"}},
      {"policies.p.every", kPolicy + "every: ", "", kGoodDurations,
       with(kBadDurations, {"0.5s", "367d"})},
      {"policies.p.cron",
       kPolicy + "cron: ",
       "",
       {"0 * * * *", "\"*/15 * * * *\"", "0 2 * * mon-fri", "0 2 1,15 jan-jun *"},
       {"0 * * *", "0 * * * * *", "60 * * * *", "0 24 * * *", "0 0 0 * *", "0 0 * 13 *",
        "0 0 * * 8", "0 0 31 2 *", "\"\"", "~", "[ 0 ]", "\"@daily\"", "0 5-1 * * *"}},
      {"policies.p.calendar",
       kPolicy + "calendar: ",
       "",
       {"daily", "mon..fri 02:30", "\"*-*-01 03:30 Europe/Berlin\"", "\"*/15 * * * *\""},
       {"every day", "25:00", "\"*-02-30\"", "daily Mars/Olympus", "\"\"", "~", "[ 0 ]"}},
      {"policies.p.timezone",
       kPolicy + "timezone: ",
       "",
       {"UTC", "Europe/Berlin"},
       {"Mars/Olympus", "../etc/passwd", "\"\"", "~", "[ UTC ]"}},
      {"policies.p.jitter",
       kPolicy + "jitter: ",
       "",
       {"0s", "10m", "1d"},
       {"25h", "1", "-1h", "h", "~", "[ 1h ]"}},
      {"policies.p.objective.rpo", kPolicy + "objective: { rpo: ", " }", kGoodDurations,
       kBadDurations},
      {"policies.p.objective.rto", kPolicy + "objective: { rto: ", " }", kGoodDurations,
       kBadDurations},
      {"policies.p.keep.locked_for", kPolicy + "keep: { last: 1, locked_for: ", " }",
       kGoodDurations, kBadDurations},
      {"policies.p.bandwidth.limit", kPolicy + "bandwidth: { limit: ", " }", kGoodRates, kBadRates},
      {"policies.p.bandwidth.windows.daily 01:00-02:00",
       kPolicy + "bandwidth: { windows: { daily 01:00-02:00: ", " } }", kGoodRates, kBadRates},
      {"policies.p.bandwidth.windows",
       kPolicy + "bandwidth: { windows: ",
       " }",
       {"{ mon-fri 08:00-19:00: 1MiB/s, \"sat,sun 00:00-24:00\": 2MiB/s }"},
       {"{ mon-fri: 1MiB/s }", "{ 08:00-19:00: 1MiB/s }", "{ mon 25:00-26:00: 1MiB/s }",
        "{ xyz 08:00-09:00: 1MiB/s }", "[ mon ]", "~", "mon"}},
      {"policies.p.check_unchanged",
       kPolicy + "check_unchanged: ",
       "",
       {"0%", "0.1%", "100%", "12.5%", "1%"},
       {"0.001", "101%", "-1%", "1 %", "\"%\"", "1e1%", "nan%", "inf%", "x", "~", "[ 1% ]"}},
  };
  for (const char* limit : {"total", "per_pool", "per_peer"})
    cases.push_back({std::string("concurrency.") + limit,
                     std::string("site: a\nconcurrency: { ") + limit + ": ",
                     " }",
                     {"1", "64"},
                     {"0", "65", "-1", "1.5", "two", "~", "[ 1 ]"}});
  for (const char* count : {"last", "hourly", "daily", "weekly", "monthly", "yearly"})
    cases.push_back({std::string("policies.p.keep.") + count, kPolicy + "keep: { " + count + ": ",
                     " }", kGoodCounts, kBadCounts});
  return cases;
}

std::vector<Case> hook_cases() {
  const std::string with_store = kStore + "backend: { type: file, path: /x }\n";
  return {
      {"peers.b.metrics",
       "site: a\npeers: { b: { metrics: ",
       " } }",
       {"true", "false"},
       {"yes", "1", "~", "[ true ]", "\"\""}},
      {"peers.b.quota",
       with_store + "peers: { b: { quota: ",
       " } }",
       {"1MiB", "20TiB", "1.5GiB"},
       {"1", "0", "-1MiB", "much", "20TiB/s", "~", "[ 1MiB ]"}},
      {"peers.b.locked_for", with_store + "peers: { b: { locked_for: ", " } }", kGoodDurations,
       kBadDurations},
      {"policies.p.labels",
       kPolicy + "labels: ",
       "",
       {"{}", "{ tier: gold }", "{ tier: \"g*\", app: shop }"},
       {"gold", "[ tier ]", "{ \"\": x }", "{ tier: [ gold ] }", "{ tier: ~ }"}},
      {"policies.p.set", kPolicy + "set: ", "", {"true", "false"}, {"yes", "1", "~", "[ true ]"}},
      {"policies.p.hooks.before.http.url",
       kPolicy + "hooks: { before: { http: { url: ",
       " } } }",
       {"http://a", "\"https://a:1/b/c?d=e\"", "\"http://[::1]:9/x\""},
       {"a", "ftp://a", "http://", "http://u:p@a", "http://a:0", "\"http://a/b c\"", "~"}},
      {"events.webhook.url_file", "site: a\nevents: { webhook: { url_file: ", " } }", kGoodSecrets,
       kBadSecrets},
      {"events.webhook.token_file", "site: a\nevents: { webhook: { url: https://a, token_file: ",
       " } }", kGoodSecrets, kBadSecrets},
      {"events.webhook.ca_file", "site: a\nevents: { webhook: { url: https://a, ca_file: ", " } }",
       kGoodPaths, kBadPaths},
      {"events.store_used",
       "site: a\nevents: { store_used: ",
       " }",
       {"0%", "85%", "100%"},
       {"0.85", "101%", "~"}},
      {"events.certificate_left",
       "site: a\nevents: { certificate_left: ",
       " }",
       {"1h", "21d"},
       {"59m", "367d", "~"}},
      {"snapshots.per_image", "site: a\nsnapshots: { per_image: ", " }", {"2", "64"}, {"1", "65"}},
      {"snapshots.room", "site: a\nsnapshots: { room: ", " }", {"2", "510"}, {"1", "511"}},
      {"snapshots.orphans_after",
       "site: a\nsnapshots: { orphans_after: ",
       " }",
       {"1s", "366d"},
       {"0s", "367d"}},
      {"policies.p.hooks.before.command",
       kPolicy + "hooks: { before: { command: ",
       " } }",
       {"[ /bin/true ]", "[ /bin/sh, -c, \"echo $X\" ]"},
       {"[]", "/bin/true", "~", "[ true ]", "[ \"\" ]", "[ [ /bin/true ] ]"}},
      {"policies.p.hooks.after.timeout",
       kPolicy + "hooks: { after: { command: [ /bin/true ], timeout: ",
       " } }",
       {"1s", "1h"},
       {"0s", "2h", "soon", "~"}},
      {"policies.p.hooks.after.on_failure",
       kPolicy + "hooks: { after: { command: [ /bin/true ], on_failure: ",
       " } }",
       {"abort", "continue"},
       {"ignore", "~", "[ abort ]"}},
  };
}

std::vector<Case> all_cases() {
  auto out = site_cases();
  for (auto& more : {store_cases(), drill_cases(), policy_cases(), hook_cases()})
    out.insert(out.end(), more.begin(), more.end());
  return out;
}

TEST(EveryOption, AcceptsGoodValuesAndShowsThemAgain) {
  for (const Case& c : all_cases()) {
    for (const auto& value : c.good) {
      const std::string text = c.before + value + c.after + "\n";
      SCOPED_TRACE(text);
      const Config config = accepted(text);
      EXPECT_EQ(accepted(show_config(config)), config) << show_config(config);
    }
  }
}

TEST(EveryOption, RefusesBadValuesByNameAtTheirLine) {
  for (const Case& c : all_cases()) {
    for (const auto& value : c.bad) {
      const std::string text = c.before + value + c.after + "\n";
      SCOPED_TRACE(text);
      const auto line = std::count(c.before.begin(), c.before.end(), '\n') + 1;
      const std::string problems = problems_of(text);
      EXPECT_THAT(problems, StartsWith("t.yaml:" + std::to_string(line) + ":"));
      EXPECT_THAT(problems, HasSubstr(": " + c.option)) << problems;
    }
  }
}

TEST(EveryOption, RefusesAValueAtItsColumn) {
  for (const Case& c : all_cases()) {
    const auto line_start = c.before.rfind('\n') + 1;
    const auto line = std::count(c.before.begin(), c.before.end(), '\n') + 1;
    // A number is no list, and a list is nothing else.
    const bool list = c.good.front().starts_with("[");
    const bool windows = c.option.ends_with("windows");
    const std::string problems =
        problems_of(c.before + (list || windows ? "17" : "[ 17 ]") + c.after + "\n");
    EXPECT_THAT(problems, StartsWith("t.yaml:" + std::to_string(line) + ":" +
                                     std::to_string(c.before.size() - line_start + 1) + ": " +
                                     c.option + ": found "));
  }
}

}  // namespace
}  // namespace tidemark::test
