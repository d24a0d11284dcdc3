#include "base/log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.h"
#include "base/log_context.h"
#include "base/queue.h"
#include "tests/base/random.h"

namespace tidemark::test {
namespace {

class Log : public ::testing::Test {
 protected:
  void SetUp() override { log::set_level(log::Level::debug); }
  void TearDown() override {
    log::set_level(log::Level::info);
    log::set_format(log::Format::text);
  }
  template <class F>
  static std::string captured(F body) {
    ::testing::internal::CaptureStderr();
    body();
    return ::testing::internal::GetCapturedStderr();
  }
  static std::string line_of(std::string_view message) {
    return captured([&] { log::write(log::Level::warn, message); });
  }
};

TEST_F(Log, TextLineHasTimeLevelAndMessage) {
  const std::string line = captured([] { log::info("backup of {} done bytes={}", "rbd/a/b", 7); });
  const auto space = line.find(' ');
  EXPECT_TRUE(parse_time(line.substr(0, space), {}));
  EXPECT_EQ(line.substr(space), " info  backup of rbd/a/b done bytes=7\n");
}

TEST_F(Log, JsonLineIsADocument) {
  log::set_format(log::Format::json);
  const auto json = nlohmann::json::parse(line_of("a \"b\" \\ c"));
  EXPECT_EQ(json.at("level"), "warn");
  EXPECT_EQ(json.at("message"), "a \"b\" \\ c");
  EXPECT_TRUE(parse_time(json.at("time").get<std::string>(), {}));
}

TEST_F(Log, LinesOfAJobCarryItsName) {
  const std::string text = captured([] {
    const log::JobScope outer("backup-1");
    {
      const log::JobScope inner("hook-2");
      log::info("a");
    }
    log::info("b");
  });
  EXPECT_NE(text.find(" info  [hook-2] a\n"), std::string::npos) << text;
  EXPECT_NE(text.find(" info  [backup-1] b\n"), std::string::npos) << text;
  EXPECT_EQ(line_of("c").find('['), std::string::npos);

  log::set_format(log::Format::json);
  const log::JobScope scope("backup-\"3");
  EXPECT_EQ(nlohmann::json::parse(line_of("d")).at("job"), "backup-\"3");
}

TEST_F(Log, ThreadsOfAGroupWorkAtTheJobOfWhoeverStartsThem) {
  std::string inside, outside;
  {
    const log::JobScope scope("backup-4");
    ThreadGroup group([] {});
    group.start("worker", [&]() -> Status {
      inside = log::current_job();
      return {};
    });
    std::thread([&] { outside = log::current_job(); }).join();
    ASSERT_TRUE(group.join());
  }
  EXPECT_EQ(inside, "backup-4");
  EXPECT_EQ(outside, "");
}

TEST_F(Log, JobsAreToldApart) {
  const std::string job = log::new_job("backup");
  EXPECT_TRUE(job.starts_with("backup-"));
  EXPECT_EQ(job.size(), std::string("backup-").size() + 8);
  EXPECT_NE(job, log::new_job("backup"));
}

TEST_F(Log, LevelsBelowTheOneSetAreSilent) {
  log::set_level(log::Level::warn);
  EXPECT_EQ(captured([] {
              log::debug("x");
              log::info("x");
            }),
            "");
  EXPECT_NE(captured([] { log::warn("x"); }), "");
  EXPECT_NE(captured([] { log::error("x"); }), "");
  log::set_level(log::Level::off);
  EXPECT_EQ(captured([] { log::error("x"); }), "");
}

TEST_F(Log, LevelsHaveNames) {
  EXPECT_EQ(*log::parse_level("debug"), log::Level::debug);
  EXPECT_EQ(*log::parse_level("off"), log::Level::off);
  EXPECT_FALSE(log::parse_level("INFO"));
  EXPECT_FALSE(log::parse_level(""));
}

TEST_F(Log, ControlCharactersCannotForgeALine) {
  const std::string line =
      line_of("name\n2026-11-22T09:30:00Z error forged\r\x1b[31m\x7f\xc2\x9b\xc2\x85");
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  EXPECT_TRUE(line.ends_with(
      "name\\u000a2026-11-22T09:30:00Z error forged\\u000d\\u001b[31m\\u007f\\u009b\\u0085\n"));
}

TEST_F(Log, TextThatIsUtf8StaysAsItIs) {
  EXPECT_TRUE(line_of("東京 ü 😀").ends_with(" 東京 ü 😀\n"));
}

TEST_F(Log, BytesThatAreNotUtf8AreEscaped) {
  EXPECT_TRUE(line_of("a\xff"
                      "b\xc3")
                  .ends_with(" a\\u00ffb\\u00c3\n"));
}

// Whatever the message: one line, which JSON and UTF-8 readers take.
TEST_F(Log, AnyBytesMakeOneValidLine) {
  Random random;
  for (const auto format : {log::Format::text, log::Format::json}) {
    log::set_format(format);
    for (int i = 0; i < 500; ++i) {
      const Bytes message = random.bytes(random.below(60));
      const std::string line = line_of(as_text(message));
      ASSERT_EQ(line.find('\n'), line.size() - 1);
      for (const char c : line.substr(0, line.size() - 1))
        ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
      ASSERT_TRUE(format == log::Format::text || nlohmann::json::accept(line)) << line;
    }
  }
}

TEST_F(Log, LinesOfSeveralThreadsDoNotMix) {
  const std::string all = captured([] {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([t] {
        for (int i = 0; i < 200; ++i) log::info("{}", std::string(50, static_cast<char>('a' + t)));
      });
    for (auto& thread : threads) thread.join();
  });
  std::size_t lines = 0;
  for (std::size_t at = 0; at < all.size(); ++lines) {
    const auto end = all.find('\n', at);
    ASSERT_NE(end, std::string::npos);
    const std::string message = all.substr(end - 50, 50);
    ASSERT_EQ(message, std::string(50, message[0]));
    at = end + 1;
  }
  EXPECT_EQ(lines, 800U);
}

}  // namespace
}  // namespace tidemark::test
