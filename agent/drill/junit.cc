#include "agent/drill/junit.h"

#include <fmt/core.h>

#include <vector>

#include "base/markup.h"

namespace tidemark {
namespace {

struct Case {
  std::string name;
  Duration took{};
  enum class End : std::uint8_t { passed, failed, skipped } end = End::passed;
  std::string message;
};

std::string attribute(std::string_view name, std::string_view value) {
  return fmt::format(" {}=\"{}\"", name, escape_markup(value));
}

std::string seconds(Duration took) {
  return fmt::format("{:.6f}", static_cast<double>(took.count()) / 1e6);
}

Case::End end_of(bool good) { return good ? Case::End::passed : Case::End::failed; }

Case objective_case(const char* name, const DrillMeasure& measure) {
  Case out{name, measure.measured.value_or(Duration::zero()), end_of(measure.met()), ""};
  if (!measure.met())
    out.message =
        fmt::format("the objective is {}, measured was {}", format_duration(*measure.objective),
                    measure.measured ? format_duration(*measure.measured) : std::string("nothing"));
  return out;
}

std::vector<Case> cases_of(const DrillAsset& asset) {
  std::vector<Case> out;
  const Case::End recovery = end_of(asset.problem.empty());
  out.push_back(
      {"recovery", asset.rto.measured.value_or(Duration::zero()), recovery, asset.problem});
  if (asset.rpo.objective) out.push_back(objective_case("rpo", asset.rpo));
  if (asset.rto.objective) out.push_back(objective_case("rto", asset.rto));
  for (const DrillCheck& check : asset.checks) {
    const auto end = check.result == DrillCheck::Result::skipped
                         ? Case::End::skipped
                         : end_of(check.result == DrillCheck::Result::passed);
    out.push_back({"check " + check.name, check.took, end, check.message});
  }
  std::string left;
  for (const std::string& thing : asset.left) left += (left.empty() ? "" : "; ") + thing;
  out.push_back({"clean up", {}, end_of(left.empty()), left});
  return out;
}

std::string case_text(const Case& one, const std::string& suite) {
  std::string out = "    <testcase" + attribute("classname", suite) + attribute("name", one.name) +
                    attribute("time", seconds(one.took));
  if (one.end == Case::End::passed) return out + "/>\n";
  const char* const element = one.end == Case::End::failed ? "failure" : "skipped";
  return out + ">\n      <" + element + attribute("message", one.message) + "/>\n    </testcase>\n";
}

std::string suite_text(const std::string& name, const std::vector<Case>& cases) {
  std::size_t failures = 0, skipped = 0;
  Duration took{};
  std::string text;
  for (const Case& one : cases) {
    failures += one.end == Case::End::failed ? 1 : 0;
    skipped += one.end == Case::End::skipped ? 1 : 0;
    took += one.took;
    text += case_text(one, name);
  }
  return "  <testsuite" + attribute("name", name) +
         fmt::format(" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\"", cases.size(),
                     failures, skipped) +
         attribute("time", seconds(took)) + ">\n" + text + "  </testsuite>\n";
}

}  // namespace

std::string junit_of(const DrillReport& report) {
  std::string suites;
  for (const DrillAsset& asset : report.assets)
    suites += suite_text(asset.site + ":" + asset.asset, cases_of(asset));
  // What failed as a whole must not look as if there had been nothing to fail.
  if (!report.problem.empty() || report.assets.empty())
    suites += suite_text("drill", {{"drill", report.ended - report.started,
                                    end_of(report.result == DrillResult::passed), report.problem}});
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites" +
         attribute("name", report.plan + " " + report.id) +
         attribute("time", seconds(report.ended - report.started)) + ">\n" + suites +
         "</testsuites>\n";
}

}  // namespace tidemark
