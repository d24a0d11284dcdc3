#include "agent/drill/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/json.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;
constexpr double kMicroseconds = 1e6;
constexpr double kSecondsMax = 1e11;

template <class E>
struct Word {
  E value;
  std::string_view text;
};
constexpr std::array kResults = {Word<DrillResult>{DrillResult::passed, "passed"},
                                 Word<DrillResult>{DrillResult::failed, "failed"},
                                 Word<DrillResult>{DrillResult::interrupted, "interrupted"},
                                 Word<DrillResult>{DrillResult::skipped, "skipped"}};
using CheckResult = DrillCheck::Result;
constexpr std::array kCheckResults = {Word<CheckResult>{CheckResult::passed, "passed"},
                                      Word<CheckResult>{CheckResult::failed, "failed"},
                                      Word<CheckResult>{CheckResult::skipped, "skipped"}};

template <class Words, class E>
std::string_view word_of(const Words& words, E value) {
  return std::ranges::find(words, value, [](const auto& word) { return word.value; })->text;
}

// --- writing

json seconds(Duration duration) { return static_cast<double>(duration.count()) / kMicroseconds; }
json seconds(const std::optional<Duration>& duration) {
  return duration ? seconds(*duration) : json(nullptr);
}

json measure_json(const DrillMeasure& measure) {
  return {{"objective_seconds", seconds(measure.objective)},
          {"measured_seconds", seconds(measure.measured)},
          {"met", measure.met()}};
}

json check_json(const DrillCheck& check) {
  return {{"name", check.name},
          {"result", name_of(check.result)},
          {"seconds", seconds(check.took)},
          {"message", check.message},
          {"bytes", check.bytes}};
}

json step_json(const DrillStep& step) {
  return {{"name", step.name}, {"began", seconds(step.began)}, {"seconds", seconds(step.took)}};
}

template <class Items, class ToJson>
json list_json(const Items& items, ToJson to_json) {
  json out = json::array();
  for (const auto& item : items) out.push_back(to_json(item));
  return out;
}

json asset_json(const DrillAsset& asset) {
  const double took =
      asset.rto.measured ? static_cast<double>(asset.rto.measured->count()) / kMicroseconds : 0.0;
  const json point = asset.point.empty() ? json(nullptr)
                                         : json{{"id", asset.point},
                                                {"time", format_time(asset.point_time)},
                                                {"set", text_or_null(asset.set)},
                                                {"root", text_or_null(asset.root)},
                                                {"record_hash", asset.record_hash},
                                                {"size_bytes", asset.size_bytes}};
  return {{"site", asset.site},
          {"asset", asset.asset},
          {"method", asset.method},
          {"target", asset.target},
          {"result", name_of(asset.result)},
          {"problem", text_or_null(asset.problem)},
          {"point", point},
          {"rpo", measure_json(asset.rpo)},
          {"rto", measure_json(asset.rto)},
          {"predicted_seconds", seconds(asset.predicted)},
          {"predicted_from", text_or_null(asset.predicted_from)},
          {"written_bytes", asset.written_bytes},
          {"fetched_bytes", asset.fetched_bytes},
          {"bytes_per_second",
           took > 0 ? json(std::floor(static_cast<double>(asset.written_bytes) / took)) : json(0)},
          {"checks", list_json(asset.checks, check_json)},
          {"steps", list_json(asset.steps, step_json)},
          {"left", asset.left}};
}

// --- reading: what is not there, or of another kind, makes `good` false

class Reader {
 public:
  Reader(const json& from, bool& good) : from_(from), good_(good) {
    if (!from.is_object()) good_ = false;
  }
  const json& at(const char* key) const {
    static const json kNothing;
    const auto found = from_.find(key);
    if (found != from_.end()) return *found;
    good_ = false;
    return kNothing;
  }
  std::string text(const char* key) const { return text_of(at(key)); }
  std::string text_or_empty(const char* key) const {
    const json& value = at(key);
    return value.is_null() ? std::string() : text_of(value);
  }
  std::uint64_t number(const char* key) const {
    const json& value = at(key);
    good_ = good_ && value.is_number_unsigned();
    return value.is_number_unsigned() ? value.get<std::uint64_t>() : 0;
  }
  std::optional<Duration> duration(const char* key) const {
    const json& value = at(key);
    if (value.is_null()) return std::nullopt;
    const double seconds = value.is_number() ? value.get<double>() : -1;
    if (!(seconds >= 0 && seconds <= kSecondsMax)) {
      good_ = false;
      return std::nullopt;
    }
    return Duration(std::llround(seconds * kMicroseconds));
  }
  Duration some_duration(const char* key) const {
    const auto found = duration(key);
    good_ = good_ && found;
    return found.value_or(Duration::zero());
  }
  Timestamp time(const char* key) const {
    const auto time = parse_time(text(key), {});
    good_ = good_ && time;
    return time ? *time : Timestamp();
  }
  template <class Words>
  auto word(const char* key, const Words& words) const {
    const std::string given = text(key);
    const auto found = std::ranges::find(words, given, [](const auto& word) { return word.text; });
    good_ = good_ && found != words.end();
    return found == words.end() ? words.front().value : found->value;
  }
  template <class T, class Read>
  std::vector<T> list(const char* key, Read read) const {
    std::vector<T> out;
    const json& items = at(key);
    good_ = good_ && items.is_array();
    if (items.is_array())
      for (const json& item : items) out.push_back(read(item));
    return out;
  }
  bool& good() const { return good_; }
  std::string text_of(const json& value) const {
    good_ = good_ && value.is_string();
    return value.is_string() ? value.get<std::string>() : std::string();
  }

 private:
  const json& from_;
  bool& good_;
};

DrillMeasure read_measure(const json& from, bool& good) {
  const Reader reader(from, good);
  return {reader.duration("objective_seconds"), reader.duration("measured_seconds")};
}

DrillCheck read_check(const json& from, bool& good) {
  const Reader reader(from, good);
  return {reader.text("name"), reader.word("result", kCheckResults),
          reader.some_duration("seconds"), reader.text("message"), reader.number("bytes")};
}

DrillStep read_step(const json& from, bool& good) {
  const Reader reader(from, good);
  return {reader.text("name"), reader.some_duration("began"), reader.some_duration("seconds")};
}

void read_point(const json& from, DrillAsset& into, bool& good) {
  const Reader reader(from, good);
  into.point = reader.text("id");
  into.point_time = reader.time("time");
  into.set = reader.text_or_empty("set");
  into.root = reader.text_or_empty("root");
  into.record_hash = reader.text("record_hash");
  into.size_bytes = reader.number("size_bytes");
}

DrillAsset read_asset(const json& from, bool& good) {
  const Reader reader(from, good);
  DrillAsset asset;
  asset.site = reader.text("site");
  asset.asset = reader.text("asset");
  asset.method = reader.text("method");
  asset.target = reader.text("target");
  asset.result = reader.word("result", kResults);
  asset.problem = reader.text_or_empty("problem");
  if (const json& point = reader.at("point"); !point.is_null()) read_point(point, asset, good);
  asset.rpo = read_measure(reader.at("rpo"), good);
  asset.rto = read_measure(reader.at("rto"), good);
  asset.predicted = reader.duration("predicted_seconds");
  asset.predicted_from = reader.text_or_empty("predicted_from");
  asset.written_bytes = reader.number("written_bytes");
  asset.fetched_bytes = reader.number("fetched_bytes");
  asset.checks =
      reader.list<DrillCheck>("checks", [&](const json& item) { return read_check(item, good); });
  asset.steps =
      reader.list<DrillStep>("steps", [&](const json& item) { return read_step(item, good); });
  asset.left =
      reader.list<std::string>("left", [&](const json& item) { return reader.text_of(item); });
  return asset;
}

}  // namespace

std::string_view name_of(DrillResult result) { return word_of(kResults, result); }
std::string_view name_of(DrillCheck::Result result) { return word_of(kCheckResults, result); }

std::string encode(const DrillReport& report) {
  const json out = {{"version", kVersion},
                    {"id", report.id},
                    {"plan", report.plan},
                    {"site", report.site},
                    {"store", report.store},
                    {"tidemark", report.version},
                    {"ceph", text_or_null(report.ceph)},
                    {"trigger", report.trigger},
                    {"rule", report.rule},
                    {"seed", report.seed ? json(*report.seed) : json(nullptr)},
                    {"started", format_time(report.started)},
                    {"ended", format_time(report.ended)},
                    {"result", name_of(report.result)},
                    {"problem", text_or_null(report.problem)},
                    {"assets", list_json(report.assets, asset_json)},
                    {"previous", text_or_null(report.previous)}};
  return out.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<DrillReport> decode_drill_report(std::string_view text) {
  const Error bad(ErrorCode::corruption, "the drill report cannot be understood");
  const json from = json::parse(text, nullptr, false);
  if (!from.is_object()) return bad;
  const json version = from.value("version", json());
  if (!version.is_number_unsigned()) return bad;
  if (version != kVersion)
    return Error(ErrorCode::unsupported, "the drill report is of a later version");
  bool good = true;
  const Reader reader(from, good);
  DrillReport report;
  report.id = reader.text("id");
  report.plan = reader.text("plan");
  report.site = reader.text("site");
  report.store = reader.text("store");
  report.version = reader.text("tidemark");
  report.ceph = reader.text_or_empty("ceph");
  report.trigger = reader.text("trigger");
  report.rule = reader.text("rule");
  if (!reader.at("seed").is_null()) report.seed = reader.number("seed");
  report.started = reader.time("started");
  report.ended = reader.time("ended");
  report.result = reader.word("result", kResults);
  report.problem = reader.text_or_empty("problem");
  report.assets =
      reader.list<DrillAsset>("assets", [&](const json& item) { return read_asset(item, good); });
  report.previous = reader.text_or_empty("previous");
  if (!good || report.id.empty()) return bad;
  return report;
}

std::string summary(const DrillReport& report) {
  const auto passed = std::ranges::count(report.assets, DrillResult::passed, &DrillAsset::result);
  std::string text =
      fmt::format("{}: {} of {} assets in {}", name_of(report.result), passed, report.assets.size(),
                  format_duration(report.ended - report.started));
  if (!report.problem.empty()) text += "; " + report.problem;
  return text;
}

}  // namespace tidemark
