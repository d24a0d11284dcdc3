// The kinds of values that options have.
#pragma once

#include "config/config.h"
#include "config/internal/shape.h"

namespace tidemark::config {

ShapePtr<std::string> site_name();
// A name in the sense of check_name(); `what` says of what: "pool".
ShapePtr<std::string> plain_name(std::string what);
// Taken from the configuration's directory where relative.
ShapePtr<std::filesystem::path> path_of(std::string what);
ShapePtr<SecretRef> secret();
ShapePtr<ListenAddress> listen_address();
// "https://host[:port]" without anything behind; `plain_too` allows http:// as well.
ShapePtr<std::string> base_url(bool plain_too);
// "http(s)://host[:port][/path][?query]".
ShapePtr<std::string> http_url();
// Whole seconds within the bounds, which are written as parse_duration() reads them.
ShapePtr<Duration> duration(const std::string& min, const std::string& max);
// Bytes per second: "400MiB/s".
ShapePtr<std::uint64_t> rate();
// "20TiB".
ShapePtr<std::uint64_t> byte_count();
ShapePtr<double> percent();
ShapePtr<bool> boolean();
ShapePtr<std::uint32_t> count(std::uint32_t min, std::uint32_t max);
// In UTC; fill_derived() has them read in the policy's zone.
ShapePtr<Calendar> cron_line();
ShapePtr<Calendar> calendar();
ShapePtr<Zone> zone();
ShapePtr<std::vector<BandwidthWindow>> windows();
// Of a program, or of a label: any text without a zero byte.
ShapePtr<std::string> argument();
ShapePtr<std::string> asset_glob();
ShapePtr<std::string> site_asset_glob();
// "newest", "random", or a time as parse_time() has it.
ShapePtr<std::string> point_rule();

// One of a few words. `refused` maps words that are understood but not supported to the reason.
template <class E>
ShapePtr<E> choice(std::vector<std::pair<std::string, E>> words,
                   std::map<std::string, std::string> refused = {}) {
  ScalarSpec<E> spec;
  spec.label = "choice";
  Json values = Json::array();
  for (const auto& [word, value] : words) {
    spec.expected += (spec.expected.empty() ? "one of " : ", ") + word;
    values.push_back(word);
  }
  spec.label = "one of " + spec.expected.substr(7);
  spec.schema = Json{{"enum", values}};
  spec.read = [words, refused](const std::string& text, const Context&,
                               std::string& why) -> std::optional<E> {
    for (const auto& [word, value] : words)
      if (word == text) return value;
    if (const auto found = refused.find(text); found != refused.end()) why = found->second;
    return std::nullopt;
  };
  spec.write = [words](const E& value) {
    for (const auto& [word, candidate] : words)
      if (candidate == value) return word;
    return std::string();
  };
  return std::make_shared<Scalar<E>>(std::move(spec));
}

// "400MiB", "400MiB/s": with the largest unit that divides the number.
std::string format_bytes_exactly(std::uint64_t bytes);
std::string format_rate(std::uint64_t bytes_per_second);

}  // namespace tidemark::config
