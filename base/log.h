// Structured log lines on stderr: time, level, message, then key=value. Secrets have no formatter
// and cannot be logged. Safe from any thread.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

#include "base/result.h"

namespace tidemark::log {

enum class Level { debug, info, warn, error, off };
enum class Format { text, json };

void set_level(Level level);
void set_format(Format format);
bool enabled(Level level);
Result<Level> parse_level(std::string_view text);

// Writes one line; control characters in `message` are escaped, so that no input can forge a line.
void write(Level level, std::string_view message);

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::debug)) write(Level::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::info)) write(Level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::warn)) write(Level::warn, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::error)) write(Level::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace tidemark::log
