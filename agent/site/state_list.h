// What the agent remembers between runs, as files of its state directory: a JSON object with a
// version and one list.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"

namespace tidemark {

// The list `key` of the file; an empty one where there is no file. `corruption` where the file is
// not of that form and version; other errors are those of reading it.
Result<nlohmann::json> read_state_list(const std::filesystem::path& file, const char* key,
                                       int version, std::uint64_t bytes_max);
// The file's text with these items. Bytes that are no UTF-8 are replaced.
std::string format_state_list(const char* key, int version, nlohmann::json items);

}  // namespace tidemark
