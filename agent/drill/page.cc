#include "agent/drill/page.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/markup.h"
#include "base/text.h"

namespace tidemark {
namespace {

constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--ink:#1c2733;--soft:#5b6b7b;--line:#d5dde5;--paper:#fff;
--good:#1d7f4e;--bad:#b3261e;--mid:#8a6d00;--bar:#4a83b8}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa8b5;--line:#33404d;--paper:#12181f;
--good:#56c489;--bad:#ff8a80;--mid:#e2c044;--bar:#6ba6dc}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:64rem;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem;overflow-wrap:anywhere}
.passed{color:var(--good)}.failed{color:var(--bad)}.interrupted,.skipped{color:var(--mid)}
.soft{color:var(--soft)}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid var(--line);
vertical-align:top;overflow-wrap:anywhere}th{font-weight:600;color:var(--soft)}
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}svg{width:100%;height:auto}
svg text{fill:currentColor;font:12px system-ui,sans-serif}.bar{fill:var(--bar)}
.over{fill:var(--bad)}.goal{stroke:var(--ink);stroke-width:2}
pre{white-space:pre-wrap;margin:0;font:13px ui-monospace,monospace})";

// Widths of the charts, in units of their view box.
constexpr double kLabel = 250, kWide = 600, kRow = 24;

std::string safe(std::string_view text) { return escape_markup(text); }
std::string shown(const std::optional<Duration>& duration) {
  return duration ? safe(format_duration(*duration)) : std::string("\xE2\x80\x93");
}
std::string name_of_asset(const DrillAsset& asset) { return asset.site + ":" + asset.asset; }

// "<b class=passed>passed</b>".
std::string verdict(std::string_view word) {
  return fmt::format("<b class=\"{0}\">{0}</b>", safe(word));
}

std::string row(std::string_view name, const std::string& markup) {
  return fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", name, markup);
}

std::string code(std::string_view text) {
  return text.empty() ? std::string("\xE2\x80\x93") : "<code>" + safe(text) + "</code>";
}

std::string measured(const DrillMeasure& measure) {
  std::string out = shown(measure.measured);
  if (measure.objective)
    out += fmt::format(" <span class=\"soft\">of {}</span> {}", shown(measure.objective),
                       verdict(measure.met() ? "passed" : "failed"));
  return out;
}

struct Bar {
  std::string label, text;
  Duration began{}, took{};
  std::optional<Duration> goal;
};

// Bars on one scale of time, with a line where a goal is.
std::string chart(const std::vector<Bar>& bars, const char* title) {
  Duration end{1};
  for (const Bar& bar : bars)
    end = std::max({end, bar.began + bar.took, bar.goal.value_or(Duration::zero())});
  const auto x = [&](Duration at) {
    return kLabel + kWide * static_cast<double>(at.count()) / static_cast<double>(end.count());
  };
  std::string out =
      fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">\n",
                  kLabel + kWide + 110, kRow * static_cast<double>(bars.size()) + 4, title);
  double top = 2;
  for (const Bar& bar : bars) {
    const double left = x(bar.began), right = x(bar.began + bar.took);
    const bool over = bar.goal && bar.took > *bar.goal;
    out += fmt::format(
        "<text x=\"0\" y=\"{:.1f}\">{}</text><rect class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" "
        "width=\"{:.1f}\" height=\"{:.1f}\"/><text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>",
        top + 15, safe(bar.label), over ? "over" : "bar", left, top + 4,
        std::max(1.0, right - left), kRow - 8, right + 6, top + 15, safe(bar.text));
    if (bar.goal)
      out += fmt::format(
          "<line class=\"goal\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\"/>",
          x(*bar.goal), top + 1, top + kRow - 1);
    out += "\n";
    top += kRow;
  }
  return out + "</svg>\n";
}

std::string shortened(const std::string& name) {
  static constexpr std::size_t kMost = 36;
  if (name.size() <= kMost) return name;
  const std::string_view front = std::string_view(name).substr(0, kMost - 1);
  return std::string(front.substr(0, utf8_prefix(front))) + "\xE2\x80\xA6";
}

std::string recovery_chart(const DrillReport& report) {
  std::vector<Bar> bars;
  for (const DrillAsset& asset : report.assets)
    if (asset.rto.measured)
      bars.push_back({shortened(name_of_asset(asset)),
                      format_duration(*asset.rto.measured),
                      {},
                      *asset.rto.measured,
                      asset.rto.objective});
  if (bars.empty()) return {};
  return "<h2>Time until the data could be used</h2>\n<p class=\"soft\">The line is the objective."
         "</p>\n" +
         chart(bars, "time until the data could be used, of each asset");
}

std::string steps_chart(const DrillAsset& asset) {
  std::vector<Bar> bars;
  const Duration from = asset.steps.empty() ? Duration::zero() : asset.steps.front().began;
  for (const DrillStep& step : asset.steps)
    bars.push_back({shortened(step.name), format_duration(step.took), step.began - from, step.took,
                    std::nullopt});
  return bars.empty() ? std::string() : chart(bars, "steps, one after the other");
}

std::string checks_table(const DrillAsset& asset) {
  if (asset.checks.empty()) return "<p class=\"failed\">Nothing was checked.</p>\n";
  std::string out =
      "<table><tr><th>check</th><th>result</th><th>time</th><th>read</th><th>found"
      "</th></tr>\n";
  for (const DrillCheck& check : asset.checks)
    out +=
        fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td><pre>{}</pre></td></tr>\n",
                    safe(check.name), verdict(name_of(check.result)), shown(check.took),
                    safe(format_bytes(check.bytes)), safe(check.message));
  return out + "</table>\n";
}

std::string asset_section(const DrillAsset& asset) {
  std::string out =
      "<h2>" + safe(name_of_asset(asset)) + " " + verdict(name_of(asset.result)) + "</h2>\n";
  if (!asset.problem.empty()) out += "<p class=\"failed\">" + safe(asset.problem) + "</p>\n";
  for (const std::string& left : asset.left)
    out += "<p class=\"failed\">not removed: " + safe(left) + "</p>\n";
  out += "<table>\n";
  out += row("method", safe(asset.method) + " &#8594; " + code(asset.target));
  if (!asset.point.empty()) {
    out += row("point", code(asset.point) + " of " + safe(format_time(asset.point_time)) + ", " +
                            safe(format_bytes(asset.size_bytes)));
    if (!asset.set.empty()) out += row("set", code(asset.set));
    out += row("root", code(asset.root));
    out += row("record", code(asset.record_hash));
  }
  out += row("newest point's age (RPO)", measured(asset.rpo));
  out += row("time to use (RTO)", measured(asset.rto));
  if (asset.predicted)
    out += row("predicted", shown(asset.predicted) + " <span class=\"soft\">from " +
                                safe(asset.predicted_from) + "</span>");
  out += row("written, fetched", safe(format_bytes(asset.written_bytes)) + ", " +
                                     safe(format_bytes(asset.fetched_bytes)));
  return out + "</table>\n" + steps_chart(asset) + checks_table(asset);
}

std::string evidence(const DrillReport& report, const DrillProof& proof) {
  std::string out = "<h2>Evidence</h2>\n<table>\n";
  out += row("report's SHA-256", code(proof.hash.hex()));
  out += row("report before it", report.previous.empty()
                                     ? std::string("none: it is the first one of this site")
                                     : code(report.previous));
  if (proof.link) {
    out += row("journal entry", fmt::format("{}", proof.link->sequence));
    out += row("its hash", code(proof.link->hash));
    out += row("entry before it", code(proof.link->previous));
  } else {
    out += row("journal entry", "<b class=\"failed\">none</b>: the store was not told");
  }
  out += row("store", code(report.store));
  out += row("versions", safe("tidemark " + report.version +
                              (report.ceph.empty() ? "" : ", ceph " + report.ceph)));
  return out + "</table>\n";
}

}  // namespace

std::string page_of(const DrillReport& report, const DrillProof& proof) {
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width\"/>\n<title>Drill " +
      safe(report.plan + " " + report.id) + "</title>\n<style>" + std::string(kStyle) +
      "</style>\n</head>\n<body>\n";
  out += "<h1>Recovery drill " + safe(report.plan) + ": " + verdict(name_of(report.result)) +
         "</h1>\n<p class=\"soft\">" + safe(report.id) + ", at site " + safe(report.site) +
         ", by " + safe(report.trigger) + ", " + safe(format_time(report.started)) + " to " +
         safe(format_time(report.ended)) + ", points: " + safe(report.rule) +
         (report.seed ? ", drawn with seed " + std::to_string(*report.seed) : std::string()) +
         "</p>\n";
  out += "<p>" + safe(summary(report)) + "</p>\n";
  out += recovery_chart(report);
  for (const DrillAsset& asset : report.assets) out += asset_section(asset);
  return out + evidence(report, proof) + "</body>\n</html>\n";
}

}  // namespace tidemark
