// Every way in which a configuration can be wrong, with the exact place and words of the answer.
#include <gmock/gmock.h>

#include <ctime>

#include "tests/config/support.h"

namespace tidemark::test {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string with_policy(const std::string& options) {
  return "site: a\nstore: { backend: { type: file, path: /x } }\n"
         "policies:\n  p:\n    assets: [ rbd/a/b ]\n    to: a\n    " +
         options + "\n";
}

TEST(Errors, UnknownKeyIsNamedWithTheNearestKnownOne) {
  EXPECT_EQ(
      problems_of("site: a\npolices: {}\n"),
      "t.yaml:2:1: polices: unknown key, expected one of site, tls, listen, state, log, ceph, "
      "s3, kubernetes, store, peers, concurrency, snapshots, events, policies, standby, drills "
      "(did "
      "you mean "
      "'policies'?)");
  EXPECT_EQ(problems_of("site: a\npeers:\n  osaka:\n    ulr: https://x\n"),
            "t.yaml:4:5: peers.osaka.ulr: unknown key, expected one of url, key_file, "
            "passphrase_file, read, metrics, quota, locked_for (did you mean 'url'?)");
  EXPECT_THAT(problems_of("SITE: a\nsite: b\n"), EndsWith("(did you mean 'site'?)"));
}

TEST(Errors, AHookIsACommandOrARequest) {
  for (const std::string hook :
       {"{ timeout: 3s }", "{ command: [ /bin/true ], http: { url: http://a } }"})
    EXPECT_THAT(problems_of(with_policy("hooks: { before: " + hook + " }")),
                HasSubstr("hooks.before: expected one of 'command' and 'http'"));
  EXPECT_THAT(problems_of("site: a\nevents: { webhook: { ca_file: x } }\n"),
              HasSubstr("events.webhook: expected one of 'url' and 'url_file'"));
  EXPECT_THAT(problems_of("site: a\nevents: { webhook: { url: http://a, token_file: x } }\n"),
              HasSubstr("needs https"));
}

TEST(Errors, AQuotaIsOfTheStoreHere) {
  EXPECT_THAT(problems_of("site: a\npeers: { b: { quota: 1TiB } }\n"),
              HasSubstr("peers.b.quota: needs 'store'"));
}

TEST(Errors, NothingIsSuggestedWhereNothingIsNear) {
  EXPECT_THAT(problems_of("site: a\nwhatever: 1\n"), ::testing::Not(HasSubstr("did you mean")));
}

TEST(Errors, ASecretInThePlaceOfAReferenceIsNotRepeated) {
  const std::string named = problems_of("site: a\npeers: { b: { passphrase: hunter2 } }\n");
  EXPECT_THAT(named, HasSubstr("(did you mean 'passphrase_file'?)"));
  EXPECT_THAT(named, ::testing::Not(HasSubstr("hunter2")));
  const std::string pasted =
      problems_of("site: a\npeers: { b: { key_file: 0123456789abcdef0123456789abcdef } }\n");
  EXPECT_EQ(
      pasted,
      "t.yaml:2:25: peers.b.key_file: found something else, expected a path, { file: PATH } or "
      "${env:NAME}; a secret itself never stands in this file");
  EXPECT_THAT(problems_of("site: a\npeers: { b: { key_file: [ hunter2 ] } }\n"),
              ::testing::Not(HasSubstr("hunter2")));
  EXPECT_THAT(problems_of("site: a\npeers: { b: { key_file: { key: hunter2 } } }\n"),
              ::testing::Not(HasSubstr("hunter2")));
  EXPECT_THAT(problems_of("site: a\npeers: { b: { key_file: \"${env:hunter 2}\" } }\n"),
              ::testing::Not(HasSubstr("hunter")));
}

TEST(Errors, DuplicateKeyNamesThePlaceOfBoth) {
  EXPECT_EQ(problems_of("site: a\nstate: /x\nsite: b\n"),
            "t.yaml:3:1: site: given twice; first in line 1");
  EXPECT_EQ(problems_of("site: a\npeers:\n  b: {}\n  b: {}\n"),
            "t.yaml:4:3: peers.b: given twice; first in line 3");
}

TEST(Errors, WrongTypesSayWhatWasFoundAndExpected) {
  EXPECT_EQ(problems_of("site: [ a ]\n"),
            "t.yaml:1:7: site: found a list, expected the name of a site");
  EXPECT_EQ(problems_of("site: { a: b }\n"),
            "t.yaml:1:7: site: found a map, expected the name of a site");
  EXPECT_EQ(problems_of("site: a\npeers: osaka\n"),
            "t.yaml:2:8: peers: found 'osaka', expected a map by site");
  EXPECT_EQ(problems_of("site: a\npeers:\n  osaka:\n"),
            "t.yaml:3:3: peers.osaka: found nothing, expected a map");
  EXPECT_EQ(problems_of("site: a\nlog: ~\n"), "t.yaml:2:1: log: found nothing, expected a map");
  EXPECT_EQ(problems_of("- site: a\n"), "t.yaml:1:1: found a list, expected a map");
  EXPECT_EQ(problems_of("site\n"), "t.yaml:1:1: found 'site', expected a map");
  EXPECT_EQ(problems_of("site: a\nstore: { backend: { type: file, path: /x } }\n"
                        "standby: { x: { pool: p, assets: a:rbd/p/i } }\n"),
            "t.yaml:3:34: standby.x.assets: found 'a:rbd/p/i', expected a list of one or more "
            "site:asset globs");
  EXPECT_EQ(problems_of("site: a\nstore: { backend: { type: file, path: /x } }\n"
                        "standby: { x: { pool: p, assets: [] } }\n"),
            "t.yaml:3:34: standby.x.assets: found an empty list, expected a list of one or more "
            "site:asset globs");
}

TEST(Errors, MissingOptionsAreNamedAtTheirSection) {
  EXPECT_EQ(
      problems_of(""),
      "t.yaml:1:1: site: missing: This site's name, as its certificate and its peers know it.");
  EXPECT_EQ(problems_of("# nothing\n"), problems_of(""));
  EXPECT_EQ(problems_of("site: a\ntls:\n  cert: x\n  ca: y\n"),
            "t.yaml:3:3: tls.key: missing: The certificate's private key, in PEM.");
  EXPECT_EQ(problems_of("site: a\nstore:\n  backend: { type: rados }\n"),
            "t.yaml:3:12: store.backend.pool: missing: type rados needs it");
  EXPECT_EQ(problems_of("site: a\nstore:\n  backend: { type: file }\n"),
            "t.yaml:3:12: store.backend.path: missing: type file needs it");
}

TEST(Errors, S3StoresAreRefusedAsUnsupported) {
  EXPECT_EQ(
      problems_of("site: a\nstore: { backend: { type: s3, pool: x } }\n"),
      "t.yaml:2:27: store.backend.type: found 's3', expected one of file, rados: a store on S3 "
      "is not supported by this build");
}

TEST(Errors, OptionsOfTheOtherBackendAreRefused) {
  EXPECT_EQ(problems_of("site: a\nstore:\n  backend:\n    type: file\n    path: /x\n    pool: p\n"
                        "    ceph_user: u\n"),
            "t.yaml:6:11: store.backend.pool: has no meaning for type file\n"
            "t.yaml:7:16: store.backend.ceph_user: has no meaning for type file");
  EXPECT_EQ(problems_of("site: a\nstore:\n  backend: { type: rados, pool: p, path: /x }\n"),
            "t.yaml:3:42: store.backend.path: has no meaning for type rados");
}

TEST(Errors, OnlyOneSecretPerStore) {
  const std::string tail = "passphrase_file: found beside 'key_file', expected only one of them";
  EXPECT_EQ(problems_of("site: a\npeers:\n  b:\n    key_file: x\n    passphrase_file: y\n"),
            "t.yaml:5:22: peers.b." + tail);
  EXPECT_EQ(problems_of("site: a\nstore:\n  backend: { type: file, path: /x }\n  key_file: x\n"
                        "  passphrase_file: y\n"),
            "t.yaml:5:20: store." + tail);
}

TEST(Errors, MutualTlsIsNeededToListenAndToReachPeers) {
  EXPECT_EQ(problems_of("site: a\nlisten: 0.0.0.0:1\npeers:\n  b: { url: https://b }\n"),
            "t.yaml:2:9: listen: needs 'tls': connections are accepted over mutual TLS only\n"
            "t.yaml:4:13: peers.b.url: needs 'tls': peers are reached over mutual TLS only");
}

TEST(Errors, APolicyGoesToAKnownPeerWithAUrl) {
  const std::string head =
      "site: tokyo\ntls: { cert: a, key: b, ca: c }\npeers:\n"
      "  osaka: { url: https://osaka }\n  nagoya: {}\n"
      "policies: { p: { assets: [ rbd/a/b ], to: ";
  EXPECT_EQ(problems_of(head + "osaka } }\n"), "accepted");
  EXPECT_EQ(
      problems_of(head + "oska } }\n"),
      "t.yaml:6:43: policies.p.to: found 'oska', expected one of 'peers' or this site (did you "
      "mean 'osaka'?)");
  EXPECT_EQ(problems_of(head + "nagoya } }\n"),
            "t.yaml:6:43: policies.p.to: peer 'nagoya' has no 'url'");
  EXPECT_EQ(problems_of(head + "tokyo } }\n"),
            "t.yaml:6:43: policies.p.to: is this site itself, which has no 'store'");
}

TEST(Errors, ASiteIsNotItsOwnPeer) {
  EXPECT_EQ(problems_of("site: tokyo\npeers:\n  tokyo: {}\n"),
            "t.yaml:3:3: peers.tokyo: is this site itself, expected another one");
}

TEST(Errors, EveryAndCronExcludeEachOther) {
  EXPECT_EQ(problems_of("site: a\nstore: { backend: { type: file, path: /x } }\npolicies:\n  p:\n"
                        "    assets: [ rbd/a/b ]\n    to: a\n    every: 1h\n    cron: 0 * * * *\n"),
            "t.yaml:8:11: policies.p.cron: found beside 'every', expected only one of them");
}

TEST(Errors, ACalendarStandsAloneAndJitterFitsIntoATurn) {
  EXPECT_EQ(problems_of(with_policy("cron: 0 * * * *\n    calendar: daily")),
            "t.yaml:8:15: policies.p.calendar: found beside 'cron', expected only one of them");
  EXPECT_EQ(problems_of(with_policy("every: 1h\n    jitter: 61m")),
            "t.yaml:8:13: policies.p.jitter: found 1h1m, expected no more than every: 1h");
}

TEST(Errors, AnObjectiveShorterThanTheScheduleCannotBeMet) {
  EXPECT_EQ(problems_of(with_policy("every: 2h\n    objective: { rpo: 1h }")),
            "t.yaml:8:23: policies.p.objective.rpo: found 1h, expected no less than every: 2h");
  EXPECT_EQ(problems_of(with_policy("every: 2h\n    objective: { rpo: 2h }")), "accepted");
}

TEST(Errors, KeepThatKeepsNothingIsRefused) {
  const std::string text = "keeps no point at all, expected at least one number above 0";
  EXPECT_EQ(problems_of(with_policy("keep: { last: 0 }")), "t.yaml:7:11: policies.p.keep: " + text);
  EXPECT_EQ(problems_of(with_policy("keep: { locked_for: 7d }")),
            "t.yaml:7:11: policies.p.keep: " + text);
  EXPECT_EQ(problems_of(with_policy("keep: { yearly: 1 }")), "accepted");
}

TEST(Errors, EmptyBandwidthIsRefused) {
  EXPECT_EQ(
      problems_of(with_policy("bandwidth: {}")),
      "t.yaml:7:16: policies.p.bandwidth: found nothing in it, expected 'limit', 'windows' or "
      "both");
}

TEST(Errors, OverlappingWindowsAreRefused) {
  EXPECT_EQ(
      problems_of(with_policy("bandwidth:\n      windows:\n        mon-fri 08:00-19:00: 1MiB/s\n"
                              "        fri 18:59-20:00: 2MiB/s")),
      "t.yaml:10:9: policies.p.bandwidth.windows.fri 18:59-20:00: overlaps with a window "
      "before it");
  EXPECT_EQ(
      problems_of(with_policy("bandwidth:\n      windows:\n        mon-fri 08:00-19:00: 1MiB/s\n"
                              "        fri 19:00-20:00: 2MiB/s")),
      "accepted");
  // Sunday night reaches into Monday.
  EXPECT_THAT(
      problems_of(with_policy("bandwidth:\n      windows:\n        sun 22:00-06:00: 1MiB/s\n"
                              "        mon 05:00-07:00: 2MiB/s")),
      EndsWith("overlaps with a window before it"));
}

TEST(Errors, StandbyNeedsAStore) {
  EXPECT_EQ(
      problems_of("site: a\nstandby: { x: { assets: [ \"b:rbd/p/i\" ], pool: p } }\n"),
      "t.yaml:2:10: standby: needs 'store': standby images follow the points of the store here");
}

TEST(Errors, StoreAndStateDoNotShareADirectory) {
  EXPECT_EQ(
      problems_of("site: a\nstate: /x/y\nstore: { backend: { type: file, path: /x/./y/ } }\n"),
      "t.yaml:3:39: store.backend.path: is the directory of 'state', expected one of its own");
}

TEST(Errors, ADrillNeedsAPoolAStoreAndOneSchedule) {
  const std::string store = "site: a\nstore: { backend: { type: file, path: /x } }\n";
  EXPECT_THAT(problems_of(store + "drills: { d: { assets: [ \"b:rbd/p/i\" ] } }\n"),
              HasSubstr("drills.d.pool: missing: images are made"));
  EXPECT_EQ(problems_of(store + "drills: { d: { assets: [ \"b:s3/p\" ] } }\n"), "accepted");
  EXPECT_EQ(problems_of(store + "drills: { d: { assets: [ \"b:rbd/p/i\" ], method: file } }\n"),
            "accepted");
  EXPECT_THAT(problems_of("site: a\ndrills: { d: { assets: [ \"b:s3/p\" ] } }\n"),
              HasSubstr("drills.d: expected 'from', as there is no store here"));
  EXPECT_THAT(
      problems_of(store +
                  "drills: { d: { assets: [ \"b:s3/p\" ], every: 1d, cron: \"0 0 * * *\" } }"),
      HasSubstr("drills.d.cron: found beside 'every'"));
  EXPECT_THAT(
      problems_of(store + "drills: { d: { assets: [ \"b:rbd/p/i\" ], pool: p, method: standby } }"),
      HasSubstr("no standby images are kept here"));
  EXPECT_THAT(
      problems_of(store +
                  "drills: { d: { assets: [ \"b:s3/p\" ], checks: { command: [ probe ] } } }"),
      HasSubstr("drills.d.checks.command: found 'probe', expected the absolute path"));
  EXPECT_THAT(problems_of(store + "drills: { d: { assets: [ \"b:s3/p\" ], from: c } }"),
              HasSubstr("drills.d.from: found 'c', expected one of 'peers' or this site"));
}

TEST(Errors, SeveralAreReportedTogetherInTheOrderOfTheFile) {
  EXPECT_EQ(
      problems_of("stat: /x\nsite: a:b\nlog: { level: loud, format: xml }\n"
                  "policies:\n  p: { every: soon }\n"),
      "t.yaml:1:1: stat: unknown key, expected one of site, tls, listen, state, log, ceph, s3, "
      "kubernetes, store, peers, concurrency, snapshots, events, policies, standby, drills (did "
      "you mean "
      "'state'?)\n"
      "t.yaml:2:7: site: found 'a:b', expected the name of a site: a site's name cannot hold "
      "':'\n"
      "t.yaml:3:15: log.level: found 'loud', expected one of debug, info, warn, error, off\n"
      "t.yaml:3:29: log.format: found 'xml', expected one of text, json\n"
      "t.yaml:5:3: policies.p.assets: missing: what is protected; 'assets', 'claims' or both\n"
      "t.yaml:5:6: policies.p.to: missing: The peer whose store takes the points, or this site "
      "for its own store.\n"
      "t.yaml:5:15: policies.p.every: found 'soon', expected a duration in whole seconds from "
      "1s to 366d, such as 15m, 2h or 7d");
}

TEST(Errors, ALongListOfProblemsIsCut) {
  std::string text = "site: a\n";
  for (int i = 0; i < 80; ++i) text += "zz" + std::to_string(i) + ": 1\n";
  const std::string problems = problems_of(text);
  EXPECT_THAT(problems, EndsWith("\nand 30 more problems"));
  EXPECT_EQ(std::count(problems.begin(), problems.end(), '\n'), 50);
}

TEST(Errors, EnvironmentReferencesAreForSecretsOnly) {
  EXPECT_EQ(problems_of("site: \"${env:SITE}\"\n"),
            "t.yaml:1:7: site: found '${env:SITE}', expected the name of a site: references to the "
            "environment stand for secrets only");
}

TEST(Errors, FoundTextIsEscapedAndCut) {
  const std::string problems = problems_of("site: \"a/\\e[31m\\n" + std::string(100, 'x') + "\"\n");
  EXPECT_THAT(problems, StartsWith("t.yaml:1:7: site: found 'a/\\x1b[31m\\x0axxx"));
  EXPECT_THAT(problems, HasSubstr("x…'"));
  EXPECT_EQ(problems.find('\n'), std::string::npos);
  // A cut never falls into a character.
  const std::string wide = problems_of("site: \"/" + std::string(58, 'x') + "üüü\"\n");
  EXPECT_THAT(wide, HasSubstr("x…'"));
}

TEST(Errors, KeysAreEscapedInTheirPath) {
  const std::string problems = problems_of("site: a\n\"x\\e\\ny\": 1\n");
  EXPECT_EQ(problems.find('\n'), std::string::npos) << problems;
  EXPECT_EQ(problems.find('\x1b'), std::string::npos) << problems;
}

// What is refused before or while the text is read as YAML.

TEST(Document, TabsAreRefusedWhereTheyStand) {
  EXPECT_EQ(problems_of("site: a\npeers:\n\tosaka: {}\n"),
            "t.yaml:3:1: found a tab; YAML is indented with spaces");
  EXPECT_EQ(problems_of("site: a\t# here\n"),
            "t.yaml:1:8: found a tab; YAML is indented with spaces");
}

TEST(Document, ControlCharactersAreRefused) {
  EXPECT_EQ(problems_of(std::string_view("site: a\0b\n", 10)),
            "t.yaml:1:8: found a control character");
  EXPECT_EQ(problems_of("site: a\x7f\n"), "t.yaml:1:8: found a control character");
}

TEST(Document, TextThatIsNotUtf8IsRefusedWhereItBegins) {
  for (const char* bytes : {"\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80"})
    EXPECT_EQ(problems_of("site: a\nstate: /x" + std::string(bytes) + "\n"),
              "t.yaml:2:10: not UTF-8 text");
  EXPECT_EQ(problems_of("site: 東京\n"), "accepted");
}

TEST(Document, AByteOrderMarkAndWindowsLineEndsAreAccepted) {
  EXPECT_EQ(accepted("\xef\xbb\xbfsite: a\r\nlog: { level: debug }\r\n").log.level,
            log::Level::debug);
  EXPECT_THAT(problems_of(std::string_view("\xff\xfes\0i\0", 6)), HasSubstr("not UTF-8 text"));
}

TEST(Document, AnchorsAliasesAndTagsAreRefused) {
  const std::string text =
      "anchors and aliases are not used here; put quotes around a value that begins with '*' or "
      "'&'";
  EXPECT_EQ(problems_of("site: &x a\n"), "t.yaml:1:7: " + text);
  EXPECT_EQ(problems_of("site: a\nlog: &x { level: info }\n"), "t.yaml:2:6: " + text);
  EXPECT_THAT(problems_of("site: *x\n"), EndsWith(text));
  EXPECT_THAT(problems_of("site: a\npolicies: { p: { cron: * * * * * } }\n"), EndsWith(text));
  EXPECT_THAT(problems_of("site: &x a\nstate: *x\n"), EndsWith(text));
  EXPECT_EQ(problems_of("site: !!str a\n"),
            "t.yaml:1:7: tags are not used here; found 'tag:yaml.org,2002:str'");
  EXPECT_EQ(problems_of("site: a\npeers: !mine {}\n"),
            "t.yaml:2:8: tags are not used here; found '!mine'");
}

TEST(Document, ASecondDocumentIsRefused) {
  EXPECT_EQ(problems_of("site: a\n---\nsite: b\n"),
            "t.yaml:2:1: a second document begins; expected only one");
  EXPECT_EQ(problems_of("---\nsite: a\n...\n"), "accepted");
}

TEST(Document, KeysAreText) {
  EXPECT_EQ(problems_of("site: a\n? [ x ]\n: 1\n"),
            "t.yaml:2:3: a key must be text; found a list or a map");
  EXPECT_EQ(problems_of("site: a\n~: 1\n"), "t.yaml:2:1: a key must be text; found nothing");
}

TEST(Document, BrokenYamlIsNamedWithItsPlace) {
  EXPECT_EQ(problems_of("site: a\npeers: { b: {\n"),
            "t.yaml:3:1: not valid YAML: the file ends too early");
  EXPECT_THAT(problems_of("site: a\n  b: c\n"), StartsWith("t.yaml:2:4: not valid YAML: "));
}

// A file that was cut within quotes.
TEST(Document, QuotesAreClosed) {
  for (const char* text : {"site: \"a\n", "site: \"a", "site: 'a\n", "site: 'a", "site: \""})
    EXPECT_THAT(problems_of(text), EndsWith("not valid YAML: the file ends too early")) << text;
  EXPECT_THAT(problems_of("site: \"a\n"), StartsWith("t.yaml:2:1: "));
}

TEST(Document, NestingIsBounded) {
  const auto nested = [](int depth) {
    return "site: a\nx: " + std::string(static_cast<std::size_t>(depth), '[') +
           std::string(static_cast<std::size_t>(depth), ']') + "\n";
  };
  EXPECT_THAT(problems_of(nested(31)), HasSubstr("x: unknown key"));
  EXPECT_EQ(problems_of(nested(32)), "t.yaml:2:35: nested deeper than 32 levels");
  EXPECT_EQ(problems_of(nested(4000)), "t.yaml:2:35: nested deeper than 32 levels");
}

TEST(Document, NumberOfValuesIsBounded) {
  std::string text = "site: a\nx: [";
  for (int i = 0; i < 20'000; ++i) text += "a,\n";
  EXPECT_THAT(problems_of(text + "]\n"), EndsWith("more than 20000 keys and values"));
}

TEST(Document, SizeIsBounded) {
  const std::string small = "site: a\n#" + std::string((1 << 20) - 9, 'x');
  EXPECT_EQ(problems_of(small), "accepted");
  EXPECT_EQ(problems_of(small + "x"), "t.yaml: larger than 1 MiB");
}

// Of this thread: a busy machine does not make a text slow.
std::chrono::microseconds cpu_time() {
  ::timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_nsec / 1000);
}

// Texts of the largest size that make a naive reader slow, deep or large.
TEST(Document, HostileTextsAreRefusedQuickly) {
  const std::size_t size = (1 << 20) - 16;
  const auto repeated = [&](const std::string& unit) {
    std::string text = "site: a\nx:\n";
    while (text.size() + unit.size() < size) text += unit;
    return text;
  };
  std::string bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n";
  for (char c = 'b'; c < 'z'; ++c) {
    bomb += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 9; ++i)
      bomb += std::string(i > 0 ? "," : "") + "*" + std::string(1, char(c - 1));
    bomb += "]\n";
  }
  std::vector<std::string> texts = {bomb};
  for (const char* unit :
       {"[", "{",  "[[]", "{a: ", "- ",   "? ",     ": ",    "! ", "&a ", "*a ", "%a\n", "---\n",
        "'", "\"", "\\",  "|\n",  ">\n ", "a: b\n", "  a\n", ",",  "-\n", "#",   "\n",   " "})
    texts.push_back(repeated(unit));
  std::string stairs = "site: a\n";
  for (std::size_t i = 0; stairs.size() < size - 2000; ++i) stairs += std::string(i, ' ') + "a:\n";
  texts.push_back(stairs);
  std::string keys = "site: a\n";
  for (std::size_t i = 0; keys.size() < size; ++i) keys += "k" + std::to_string(i) + ": 1\n";
  texts.push_back(keys);
  for (const std::string& text : texts) {
    const auto start = cpu_time();
    EXPECT_FALSE(parse(text)) << text.substr(0, 40);
    EXPECT_LT(cpu_time() - start, std::chrono::seconds(10)) << text.substr(0, 40);
  }
}

TEST(Errors, AboutClaims) {
  const std::string head = "site: a\nkubernetes: {}\npeers: { b: { url: \"https://b:1\" } }\n";
  const std::string tls = "tls: { cert: c, key: k, ca: a }\n";
  EXPECT_EQ(problems_of(head + tls + "policies: { p: { claims: {}, to: b } }\n"), "accepted");
  EXPECT_THAT(problems_of(head + tls + "policies: { p: { to: b } }\n"),
              HasSubstr("policies.p.assets: missing: what is protected"));
  EXPECT_THAT(problems_of("site: a\n" + tls + "peers: { b: { url: \"https://b:1\" } }\n" +
                          "policies: { p: { claims: {}, to: b } }\n"),
              HasSubstr("policies.p.claims: needs 'kubernetes'"));
  EXPECT_THAT(problems_of(head + tls + "policies: { p: { claims: { labels: \"a b\" }, to: b } }\n"),
              HasSubstr("'a b' is not a label requirement"));
  EXPECT_THAT(
      problems_of(head + tls +
                  "policies: { p: { claims: { volumes: false, buckets: false }, to: b } }\n"),
      HasSubstr("found neither volumes nor buckets"));
  EXPECT_THAT(problems_of(head + tls +
                          "policies: { p: { assets: [ rbd/a/b ], hooks: { pods: {} }, to: b } }\n"),
              HasSubstr("policies.p.hooks.pods: needs 'claims'"));
}

}  // namespace
}  // namespace tidemark::test
