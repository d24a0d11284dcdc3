#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <memory>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/log_context.h"
#include "base/text.h"

namespace tidemark::log {
namespace {

std::atomic<Level> g_level{Level::info};
std::atomic<Format> g_format{Format::text};
thread_local std::string t_job;

// One sink for the life of the process; it locks around each line.
spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = std::make_shared<spdlog::logger>(
        "tidemark", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");
    made->set_level(spdlog::level::trace);
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *instance;
}

std::string_view name_of(Level level) {
  switch (level) {
    case Level::debug: return "debug";
    case Level::info: return "info";
    case Level::warn: return "warn";
    case Level::error: return "error";
    case Level::off: return "off";
  }
  return "?";
}

// Control characters (C0, DEL, C1) and bytes that are not UTF-8 become \u00xx, so that a line is
// one line on every terminal, and JSON in every parser.
std::string escape(std::string_view text, bool json) {
  std::string out;
  out.reserve(text.size());
  std::size_t valid = utf8_prefix(text);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const auto byte = static_cast<unsigned char>(c);
    const bool stray = i == valid;
    if (stray) valid = i + 1 + utf8_prefix(text.substr(i + 1));
    const bool c1 = !stray && byte == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (json && (c == '"' || c == '\\')) {
      out += '\\';
      out += c;
    } else if (c1) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(text[++i]));
    } else if (byte < 0x20 || byte == 0x7f || stray) {
      out += fmt::format("\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

void set_level(Level level) { g_level = level; }
void set_format(Format format) { g_format = format; }
bool enabled(Level level) { return level >= g_level.load() && level != Level::off; }

Result<Level> parse_level(std::string_view text) {
  for (const Level level : {Level::debug, Level::info, Level::warn, Level::error, Level::off})
    if (name_of(level) == text) return level;
  return Error(ErrorCode::invalid_argument, fmt::format("'{}' is not a log level", text))
      .with_hint("one of debug, info, warn, error, off");
}

std::string_view current_job() { return t_job; }

JobScope::JobScope(std::string job) : outer_(std::exchange(t_job, std::move(job))) {}
JobScope::~JobScope() { t_job = std::move(outer_); }

std::string new_job(std::string_view what) {
  std::array<std::uint8_t, 4> digits{};
  random_bytes(digits);
  return fmt::format("{}-{}", what, to_hex(digits));
}

void write(Level level, std::string_view message) {
  const std::string time = format_time(Clock::system().now());
  std::string job;
  if (g_format == Format::json) {
    if (!t_job.empty()) job = fmt::format(R"("job":"{}",)", escape(t_job, true));
    logger().info(fmt::format(R"({{"time":"{}","level":"{}",{}"message":"{}"}})", time,
                              name_of(level), job, escape(message, true)));
    return;
  }
  if (!t_job.empty()) job = fmt::format("[{}] ", escape(t_job, false));
  logger().info(fmt::format("{} {:5} {}{}", time, name_of(level), job, escape(message, false)));
}

}  // namespace tidemark::log
