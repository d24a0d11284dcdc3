// Points as JSON: the keys that scripts rely on, and the form in which points cross the wire.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "agent/service/point_store.h"

namespace tidemark {

// The keys of CLI.md.
nlohmann::json point_json(const PointRow& row);

// An object's key as JSON has it: under "key", or, where it is no UTF-8, in hex under "key_hex".
void put_object_key(nlohmann::json& json, std::string_view key);

// For the wire: the record as it is stored, so that a holder of the key can check it, and the
// store's own decisions beside it.
nlohmann::json point_to_wire(const PointRow& row);
Result<PointRow> point_from_wire(const nlohmann::json& json);

// Parses JSON that came from outside: at most 64 MiB and 16 levels deep, `invalid_argument` for
// anything else.
Result<nlohmann::json> parse_json(std::string_view text);

// {"error":{"code","message","hint"}}, and back.
nlohmann::json error_json(const Error& error);
Error error_from_json(std::string_view text, const std::string& fallback);

// {"sequence","time_us","kind","text","previous","hash"}, and back.
nlohmann::json journal_entry_json(const JournalEntry& entry);
Result<JournalEntry> journal_entry_from_json(const nlohmann::json& json);

// What a collection did, and back: what is absent there is 0.
nlohmann::json collect_report_json(const CollectReport& report);
CollectReport collect_report_from_json(const nlohmann::json& json);

}  // namespace tidemark
