// The journal: what was decided about the store, each entry linked to the one before by its hash.

#include "catalog/internal/rocks_catalog.h"

namespace tidemark::catalog {

Status RocksCatalog::add_journal(Change& change, std::string_view kind, std::string_view text,
                                 Timestamp now) {
  if (kind.empty() || kind.size() > kJournalKindBytesMax || text.size() > kJournalTextBytesMax)
    return Error(ErrorCode::invalid_argument, "a journal entry's kind or text is too long");
  JournalEntry entry;
  entry.sequence = change.journal.sequence + 1;
  entry.time = now;
  entry.kind = kind;
  entry.text = text;
  entry.previous = change.journal.hash;
  entry.hash = journal_hash(entry);
  const std::string key = number_key(RowKind::journal, entry.sequence);
  put(change, key, encode_journal(key, entry));
  change.journal = {entry.sequence, entry.hash};
  return {};
}

Result<JournalEntry> RocksCatalog::append_journal(std::string_view kind, std::string_view text,
                                                  Timestamp now) {
  std::lock_guard lock(write_mutex_);
  Change change = begin();
  JournalEntry entry;
  entry.previous = change.journal.hash;
  TM_DO(add_journal(change, kind, text, now));
  TM_DO(apply(change, true));
  entry.sequence = change.journal.sequence;
  entry.time = now;
  entry.kind = kind;
  entry.text = text;
  entry.hash = change.journal.hash;
  return entry;
}

Status RocksCatalog::each_journal_entry(std::uint64_t first,
                                        const std::function<Status(const JournalEntry&)>& each) {
  if (first == 0) first = 1;
  // One entry earlier, for the hash that the first one must refer to.
  const std::uint64_t start = first > 1 ? first - 1 : 1;
  const std::string begin = number_key(RowKind::journal, start);
  Cursor cursor = database_->cursor(Table::rows, begin, prefix_end(kind_key(RowKind::journal)));
  Link last;
  std::uint64_t expected = start;
  for (cursor.first(); cursor.valid(); cursor.next(), ++expected) {
    TM_TRY(const JournalEntry entry, decode_journal(cursor.key(), cursor.value()));
    const bool linked = expected == start && start > 1 ? true : entry.previous == last.hash;
    if (entry.sequence != expected || !linked)
      return Error(ErrorCode::corruption,
                   "the journal is broken at entry " + std::to_string(expected));
    last = {entry.sequence, entry.hash};
    if (entry.sequence >= first) TM_DO(each(entry));
  }
  return cursor.status();
}

}  // namespace tidemark::catalog
