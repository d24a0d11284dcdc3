// What a drill found out: the evidence that recovery works, and how long it takes.
//
// A report is written once and never changed. It names the one before it by its hash, and the
// catalog's journal names it by its hash (JournalLink): neither can be changed, or left out,
// without that being seen. Format: docs/format/drill.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace tidemark {

using Duration = std::chrono::microseconds;

enum class DrillResult : std::uint8_t {
  passed,       // everything was brought back, every check passed, every objective was met
  failed,       // something was not
  interrupted,  // it was stopped, or its process was killed, before the end
  skipped,      // of an asset: the plan's limits leave it out
};
std::string_view name_of(DrillResult result);

// One thing that was held against what was brought back.
struct DrillCheck {
  std::string name;  // "content", "fsck", "mount", "command", "sample"
  enum class Result : std::uint8_t { passed, failed, skipped } result = Result::skipped;
  Duration took{};
  std::string message;      // what was found, or why it was skipped; one line or a few
  std::uint64_t bytes = 0;  // that were read and held against the point
  bool operator==(const DrillCheck&) const = default;
};
std::string_view name_of(DrillCheck::Result result);

// A part of the time that an asset took, in order: "find", "restore", "check content", "clean up".
struct DrillStep {
  std::string name;
  Duration began{};  // since the drill's start
  Duration took{};
  bool operator==(const DrillStep&) const = default;
};

// An objective, and what was measured. Without an objective it is met.
struct DrillMeasure {
  std::optional<Duration> objective;
  std::optional<Duration> measured;  // nothing: it never came to that
  bool met() const { return !objective || (measured && *measured <= *objective); }
  bool operator==(const DrillMeasure&) const = default;
};

struct DrillAsset {
  std::string site, asset;
  std::string method;  // "restore", "file", "instant", "serve", "standby"
  std::string target;  // what it was brought back as: "rbd/dr/tidemark-drill.…"
  DrillResult result = DrillResult::failed;
  std::string problem;  // why it failed, where no check says so; empty otherwise

  // The point, as the store has it; the rest is empty where none was found.
  std::string point;        // id in hex
  Timestamp point_time;     // the instant captured
  std::string set;          // empty: taken alone
  std::string root;         // the tree's root in hex; empty: an empty tree
  std::string record_hash;  // SHA-256 of the record in hex
  std::uint64_t size_bytes = 0;

  DrillMeasure rpo;  // the age of the newest point when the drill began
  DrillMeasure rto;  // from the start of this asset's recovery until its data could be used
  std::optional<Duration> predicted;  // what that was expected to take
  std::string predicted_from;         // "asset", "others", "assumed"; empty with `predicted`

  std::uint64_t written_bytes = 0;  // to the target, before the checks
  std::uint64_t fetched_bytes = 0;  // from the store, likewise
  std::vector<DrillCheck> checks;
  std::vector<DrillStep> steps;
  std::vector<std::string> left;  // what could not be removed; empty: all is clean
  bool operator==(const DrillAsset&) const = default;
};

struct DrillReport {
  std::string id;  // "20261124T120000Z-1f0c": sorts by time
  std::string plan, site;
  std::string store;    // its id in hex
  std::string version;  // of Tidemark
  std::string ceph;     // of the librbd that was used; empty where none was
  std::string trigger;  // "schedule", "command", "object" (of Kubernetes, without a schedule),
                        // "recovery" (found after a crash, and cleaned up)
  std::string rule;     // which points: "newest", "random", "as-of 2026-11-01T00:00:00Z"
  std::optional<std::uint64_t> seed;  // what chance was drawn from, with "random"
  Timestamp started, ended;
  DrillResult result = DrillResult::failed;
  std::string problem;  // of the drill as a whole; empty otherwise
  std::vector<DrillAsset> assets;
  std::string previous;  // SHA-256 of the report before, in hex; empty: the first one here
  bool operator==(const DrillReport&) const = default;
};

// Where the catalog's journal names a report.
struct JournalLink {
  std::uint64_t sequence = 0;
  std::string hash;      // of the entry, in hex
  std::string previous;  // of the entry before
  bool operator==(const JournalLink&) const = default;
};

// JSON, version 1: what is hashed, byte for byte. Durations are seconds, with six decimals.
std::string encode(const DrillReport& report);
// `corruption` for anything that is none, `unsupported` for a later version.
Result<DrillReport> decode_drill_report(std::string_view text);

// "passed: 3 of 3 assets in 2m10s".
std::string summary(const DrillReport& report);

}  // namespace tidemark
