// Windows of the week, addresses, secrets, and what a configuration decides: covers(), may_read().
#include "config/internal/values.h"

#include "config/internal/document.h"
#include "tests/config/support.h"

namespace tidemark::test {
namespace {

TEST(Window, ReadsDaysAndHours) {
  const auto window = [](const char* text) {
    return parse_window(text).value_or(BandwidthWindow{});
  };
  EXPECT_EQ(window("mon-fri 08:00-19:00"),
            (BandwidthWindow{"mon-fri 08:00-19:00", 0x1f, 480, 1140, 0}));
  EXPECT_EQ(window("sat,sun 00:00-24:00"),
            (BandwidthWindow{"sat,sun 00:00-24:00", 0x60, 0, 1440, 0}));
  EXPECT_EQ(window("daily 22:30-06:00").weekdays, 0x7f);
  EXPECT_EQ(window("daily 22:30-06:00").from_minute, 1350);
  EXPECT_EQ(window("daily 22:30-06:00").to_minute, 360);
  EXPECT_EQ(window("fri-mon 01:00-02:00").weekdays, 0x71);
  EXPECT_EQ(window("mon 00:00-00:01").weekdays, 0x01);
}

TEST(Window, RefusesWhatIsNoPartOfTheWeek) {
  for (const char* text : {"",
                           " ",
                           "mon",
                           "mon ",
                           "08:00-09:00",
                           "mon 8:00-9:00",
                           "mon 08:00",
                           "mon 08:00-08:00",
                           "mon 24:00-01:00",
                           "mon 08:60-09:00",
                           "mon 24:01-25:00",
                           "mon  08:00-09:00",
                           "mon 08:00-09:00 ",
                           "Mon 08:00-09:00",
                           "mon- 08:00-09:00",
                           "mon, 08:00-09:00",
                           "mon-tue-wed 08:00-09:00",
                           "mon 0800-0900",
                           "mon 08:00_09:00",
                           "mo 08:00-09:00",
                           "mon 0x:00-09:00"})
    EXPECT_FALSE(parse_window(text)) << text;
}

TEST(Listen, SplitsHostAndPort) {
  EXPECT_EQ(*parse_listen("0.0.0.0:7443"), (ListenAddress{"0.0.0.0", 7443}));
  EXPECT_EQ(*parse_listen("[fe80::1]:1"), (ListenAddress{"fe80::1", 1}));
  EXPECT_EQ(*parse_listen("host:0"), (ListenAddress{"host", 0}));
  for (const char* text : {"0.0.0.0:7443", "[::]:80", "a.b-c_d:65535"})
    EXPECT_EQ(parse_listen(text)->text(), text);
  for (const char* text : {"", ":", ":1", "a", "a:", "a:b", "::1:1", "[::1]1", "[::1]:", "[a]:1",
                           "[::1:1", "a:65536", "a:-1", "a: 1", "a:1 ", " a:1", "a/b:1", ".a:1"})
    EXPECT_FALSE(parse_listen(text)) << text;
}

TEST(SiteName, HoldsNoColon) {
  EXPECT_TRUE(check_site_name("tokyo-1"));
  EXPECT_FALSE(check_site_name("a:b"));
  EXPECT_FALSE(check_site_name(""));
  EXPECT_FALSE(check_site_name("a/b"));
}

class SecretFile : public ::testing::Test {
 protected:
  SecretRef holding(std::string_view bytes) {
    EXPECT_TRUE(write_file_durably(path_, as_bytes(bytes)));
    return {SecretRef::From::file, path_, ""};
  }
  void TearDown() override { std::filesystem::remove(path_); }
  const std::filesystem::path path_ =
      std::filesystem::path(::testing::TempDir()) / "tidemark-secret-test";
};

TEST_F(SecretFile, LosesOneLineEnd) {
  EXPECT_EQ(*read_secret(holding("s3cret")), "s3cret");
  EXPECT_EQ(*read_secret(holding("s3cret\n")), "s3cret");
  EXPECT_EQ(*read_secret(holding("s3cret\r\n")), "s3cret");
  EXPECT_EQ(*read_secret(holding(" a\n\n")), " a\n");
}

TEST_F(SecretFile, IsRefusedEmptyLargeOrAbsent) {
  EXPECT_EQ(read_secret(holding("")).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(read_secret(holding("\n")).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(read_secret(holding(std::string(65'537, 'x'))).error().code(),
            ErrorCode::invalid_argument);
  EXPECT_EQ(read_secret(holding(std::string(65'536, 'x')))->size(), 65'536U);
  const SecretRef gone{SecretRef::From::file, path_ / "gone", ""};
  EXPECT_FALSE(read_secret(gone));
  EXPECT_EQ(read_secret(SecretRef{}).error().code(), ErrorCode::invalid_argument);
}

TEST(SecretVariable, IsReadWhenAsked) {
  const SecretRef ref{SecretRef::From::environment, "", "TM_TEST_VARIABLE"};
  ASSERT_EQ(::unsetenv("TM_TEST_VARIABLE"), 0);
  EXPECT_EQ(read_secret(ref).error().code(), ErrorCode::not_found);
  ASSERT_EQ(::setenv("TM_TEST_VARIABLE", "", 1), 0);
  EXPECT_EQ(read_secret(ref).error().code(), ErrorCode::invalid_argument);
  ASSERT_EQ(::setenv("TM_TEST_VARIABLE", "v\n", 1), 0);
  EXPECT_EQ(*read_secret(ref), "v\n");
}

TEST(Policy, CoversWhatIsNamedAndNotExcluded) {
  PolicyConfig policy;
  policy.assets = {"rbd/rbd/vol-*", "rbd/p/n/*"};
  policy.exclude = {"rbd/rbd/vol-tmp-*"};
  const auto covers = [&](const char* asset) { return policy.covers(*AssetName::parse(asset)); };
  EXPECT_TRUE(covers("rbd/rbd/vol-1"));
  EXPECT_TRUE(covers("rbd/p/n/x"));
  EXPECT_FALSE(covers("rbd/rbd/vol-tmp-1"));
  EXPECT_FALSE(covers("rbd/rbd/other"));
  EXPECT_FALSE(covers("rbd/rbd/ns/vol-1"));
  EXPECT_FALSE(covers("s3/vol-1"));
}

TEST(MayRead, OnlyItsOwnAndWhatIsGranted) {
  Config config;
  config.site = "osaka";
  config.peers["tokyo"].read = {"nagoya:rbd/rbd/shared-*"};
  config.peers["nagoya"];
  const auto may = [&](const char* peer, const char* owner, const char* asset) {
    return config.may_read(peer, owner, *AssetName::parse(asset));
  };
  EXPECT_TRUE(may("tokyo", "tokyo", "rbd/rbd/a"));
  EXPECT_TRUE(may("tokyo", "nagoya", "rbd/rbd/shared-1"));
  EXPECT_FALSE(may("tokyo", "nagoya", "rbd/rbd/a"));
  EXPECT_FALSE(may("tokyo", "osaka", "rbd/rbd/shared-1"));
  EXPECT_FALSE(may("nagoya", "tokyo", "rbd/rbd/a"));
  // A certificate of our authority is not enough: the site has to be configured.
  EXPECT_FALSE(may("kyoto", "kyoto", "rbd/rbd/a"));
}

TEST(Rate, IsWrittenWithTheLargestUnitThatFits) {
  EXPECT_EQ(config::format_rate(400 * kMiB), "400MiB/s");
  EXPECT_EQ(config::format_rate(1025), "1025B/s");
  EXPECT_EQ(config::format_rate(1024 * kGiB), "1024GiB/s");
  EXPECT_EQ(config::format_rate(1536 * kKiB), "1536KiB/s");
}

TEST(NearMiss, FindsSlipsAndNothingElse) {
  const std::vector<std::string> known = {"every", "exclude", "passphrase_file", "to"};
  const auto near = [&](const char* key) { return config::near_miss(key, known); };
  EXPECT_EQ(near("evry"), " (did you mean 'every'?)");
  EXPECT_EQ(near("eveyr"), " (did you mean 'every'?)");
  EXPECT_EQ(near("EVERY"), " (did you mean 'every'?)");
  EXPECT_EQ(near("passphrase"), " (did you mean 'passphrase_file'?)");
  EXPECT_EQ(near("t"), " (did you mean 'to'?)");
  EXPECT_EQ(near("cron"), "");
  EXPECT_EQ(near(""), "");
}

config::YamlNode random_tree(std::uint64_t& state, int depth) {
  const auto next = [&] {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<unsigned>(state >> 33);
  };
  const auto text = [&] {
    static const std::string_view kParts[] = {
        "a", ":", " ", "#", "-", "'", "\"",  "\\",  "\n", "null", "~",        "{", "[", "*", "&",
        "!", "%", "@", ",", "?", "ü", "...", "---", "0",  "\x1b", "\xc2\x85", "|", ">", "=", "`"};
    std::string out;
    for (unsigned n = next() % 5; n > 0; --n) out += kParts[next() % std::size(kParts)];
    return out;
  };
  const unsigned kind = depth > 3 ? 0 : next() % 3;
  if (kind == 0) return config::YamlNode::scalar(text());
  config::YamlNode node = kind == 1 ? config::YamlNode::list() : config::YamlNode::map();
  for (unsigned n = next() % 4; n > 0; --n) {
    if (kind == 1)
      node.items.push_back(random_tree(state, depth + 1));
    else
      node.entries.push_back({std::to_string(n) + text(), {}, random_tree(state, depth + 1)});
  }
  return node;
}

bool same_tree(const config::YamlNode& a, const config::YamlNode& b) {
  if (a.kind != b.kind || a.text != b.text || a.items.size() != b.items.size() ||
      a.entries.size() != b.entries.size())
    return false;
  for (std::size_t i = 0; i < a.items.size(); ++i)
    if (!same_tree(a.items[i], b.items[i])) return false;
  for (std::size_t i = 0; i < a.entries.size(); ++i)
    if (a.entries[i].key != b.entries[i].key || !same_tree(a.entries[i].value, b.entries[i].value))
      return false;
  return true;
}

TEST(Emit, EveryTreeReadsBackAsItself) {
  std::uint64_t state = 20'261'122;
  for (int i = 0; i < 5000; ++i) {
    const config::YamlNode tree = random_tree(state, 0);
    const std::string text = config::emit(tree);
    config::YamlNode back;
    std::vector<config::Problem> problems;
    ASSERT_TRUE(config::read_document(text, back, problems)) << text << "\n"
                                                             << config::render("t", problems);
    ASSERT_TRUE(same_tree(tree, back)) << text << "\n---\n" << config::emit(back);
  }
}

}  // namespace
}  // namespace tidemark::test
