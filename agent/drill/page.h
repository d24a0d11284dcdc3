// A drill's report as one page of HTML that needs nothing beside it: no script, no font, no picture
// from elsewhere. For people, auditors among them; what is hashed is the report itself.
#pragma once

#include <optional>
#include <string>

#include "agent/drill/report.h"
#include "base/ids.h"

namespace tidemark {

// What makes the page evidence: the hash of the report's bytes, and where the journal names it.
struct DrillProof {
  Digest hash;
  std::optional<JournalLink> link;
};

// Well-formed XHTML-like HTML 5, whatever the report's texts hold.
std::string page_of(const DrillReport& report, const DrillProof& proof);

}  // namespace tidemark
