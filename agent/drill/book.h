// The drills of a site: their reports, where the journal names them, and notes of what a drill that
// runs has made, so that whoever comes after a crash can take it away.
//
//   <directory>/<id>.running        the note; gone once all it names is
//   <directory>/<id>.json           the report, never changed (agent/drill/report.h)
//   <directory>/<id>.link           where the store's journal names it
//   <directory>/lock.<plan>         held while the plan runs
//   <directory>/reports.lock        held while a report is written
//
// Formats: docs/format/drill.md. Functions keep no state and may be called from any thread; of two
// processes that run the same plan one is `refused`.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "agent/drill/report.h"
#include "base/files.h"

namespace tidemark {

// Something that a drill makes.
struct DrillThing {
  enum class Kind : std::uint8_t { image, directory, bucket } kind = Kind::image;
  std::string name;   // "pool[/namespace]/image", a path, or the bucket's name
  std::string point;  // id in hex: an instant restore is given up with it
  bool operator==(const DrillThing&) const = default;
};

struct DrillNote {
  std::string id, plan;
  Timestamp started;
  bool reported = false;  // the report is there: only removing is left to do
  std::vector<DrillThing> things;
  bool operator==(const DrillNote&) const = default;
};
// JSON, version 1.
std::string encode(const DrillNote& note);
Result<DrillNote> decode_drill_note(std::string_view text);

class DrillBook {
 public:
  explicit DrillBook(std::filesystem::path directory) : directory_(std::move(directory)) {}

  // `refused` where the plan runs already. Held until it is destroyed.
  Result<Fd> lock_plan(const std::string& plan) const;

  // Durable before it returns.
  Status write_note(const DrillNote& note) const;
  // Success where there is none.
  Status remove_note(const std::string& id) const;
  // Those that cannot be understood are left out, and told in the log.
  Result<std::vector<DrillNote>> notes() const;

  // Fills in `previous` with the report that was written last, by whichever plan, and keeps the
  // report; durable before it returns. The hash of its bytes.
  Result<Digest> add(DrillReport& report) const;
  // `corruption` unless the reports are one chain: each but the first names another one that is
  // there, and no two the same.
  Status verify_chain() const;
  Status add_link(const std::string& id, const JournalLink& link) const;

  struct Entry {
    DrillReport report;
    std::string text;  // what is hashed
    Digest hash;
    std::optional<JournalLink> link;
  };
  // By its id, or how one begins. `not_found`, `invalid_argument` where several do.
  Result<Entry> find(const std::string& id) const;
  // Oldest first. What cannot be read is left out, and told in the log.
  Result<std::vector<Entry>> all() const;

 private:
  Result<std::vector<std::string>> ids(const std::string& suffix) const;
  Result<Entry> read(const std::string& id) const;
  Result<Fd> lock_reports() const;
  std::filesystem::path file(const std::string& id, const char* suffix) const {
    return directory_ / (id + suffix);
  }
  const std::filesystem::path directory_;
};

// "20261124T120000Z-1f0c": of that second, told from others by chance.
std::string new_drill_id(Timestamp now);

}  // namespace tidemark
