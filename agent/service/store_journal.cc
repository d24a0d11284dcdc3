// What of the store's service writes evidence into its journal, and reads it.

#include "agent/service/store_service.h"

namespace tidemark {

Result<JournalEntry> StoreService::record_drill(std::string_view text) {
  TM_DO(still_owner());
  return catalog_->append_journal("drill", text, clock_.now());
}

Result<JournalEntry> StoreService::journal_entry(std::uint64_t sequence) {
  std::optional<JournalEntry> found;
  const Error enough(ErrorCode::cancelled, "found");
  const auto walked =
      catalog_->each_journal_entry(sequence, [&](const JournalEntry& entry) -> Status {
        found = entry;
        return enough;
      });
  if (!walked && !found) return walked.error();
  if (!found || found->sequence != sequence)
    return Error(ErrorCode::not_found, "the journal has no entry " + std::to_string(sequence));
  return *std::move(found);
}

}  // namespace tidemark
