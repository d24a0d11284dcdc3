// What the tests of config/ share.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "base/files.h"
#include "config/config.h"
#include "tests/base/source_path.h"

namespace tidemark::test {

inline constexpr const char* kBase = "/etc/tidemark";

inline std::string source_file(const std::string& path) {
  const auto bytes = read_file(source_path(path), 1 << 20);
  EXPECT_TRUE(bytes) << path;
  return bytes ? std::string(as_text(*bytes)) : "";
}

inline Result<Config> parse(std::string_view text) { return parse_config(text, "t.yaml", kBase); }

// Every problem's line, or "accepted".
inline std::string problems_of(std::string_view text) {
  const auto config = parse(text);
  if (config) return "accepted";
  EXPECT_EQ(config.error().code(), ErrorCode::invalid_argument);
  return config.error().message();
}

// The configuration, which must be accepted.
inline Config accepted(std::string_view text) {
  auto config = parse(text);
  if (config) return *std::move(config);
  ADD_FAILURE() << config.error().describe();
  return {};
}

// Compares with the file `path` of the source tree; writes it where TM_UPDATE_GOLDEN is set.
inline void expect_golden(const std::string& path, const std::string& actual) {
  if (std::getenv("TM_UPDATE_GOLDEN") != nullptr) {
    const auto file = source_path(path);
    ASSERT_TRUE(write_file_durably(file, as_bytes(actual), 0644)) << file;
  }
  EXPECT_EQ(source_file(path), actual) << "run with TM_UPDATE_GOLDEN=1 to accept the new " << path;
}

}  // namespace tidemark::test
