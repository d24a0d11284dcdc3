// A drill from its beginning to its report.
//
//   (nothing) --lock--> locked --choose--> chosen --per asset--> reported --journal--> linked
//                                            |                      ^
//                                            v                      |
//      per asset:  noted --bring back--> usable --check--> checked --remove--> removed
//
// A note names what an asset's recovery makes before it is made, and goes when all of it is gone. A
// kill at any arrow leaves the note: the next drill, or the agent when it starts, removes what it
// names, and writes a report of the drill that was interrupted. A report that was written is linked
// to the journal by whoever comes next, where that is still to be done.
//
// Replication is not touched: a drill reads points, and makes things of its own.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "agent/drill/book.h"
#include "agent/site/access.h"

namespace tidemark {

struct DrillOptions {
  std::string trigger = "command";
  std::string id;                     // of the report; empty: a new one
  std::optional<std::uint64_t> seed;  // nothing: by chance
  std::stop_token stop;
  // The store where it is open already (the agent's own); null: it is opened.
  const StoreAccess* store = nullptr;
  std::function<void(const std::string& line)> tell;  // what happens, for people; may be empty
};

// Runs a plan. Whatever goes wrong after the plan is locked is in the report, which is written in
// any case. `not_found` for a plan that is not configured, `refused` where it runs already.
Result<DrillBook::Entry> run_drill(const Config& config, const std::string& plan, Clock& clock,
                                   const DrillOptions& options);

// Removes what drills that were killed have left, and reports them; of plans that run now nothing.
// What cannot be removed is told in the log, and tried again next time. How many were found.
Result<std::size_t> recover_drills(const Config& config, Clock& clock, const DrillOptions& options);

// Where a site's drills are kept.
DrillBook drill_book(const Config& config);

}  // namespace tidemark
