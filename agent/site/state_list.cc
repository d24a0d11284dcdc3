#include "agent/site/state_list.h"

#include "agent/service/point_json.h"
#include "base/files.h"

namespace tidemark {

using nlohmann::json;

Result<json> read_state_list(const std::filesystem::path& file, const char* key, int version,
                             std::uint64_t bytes_max) {
  const auto bytes = read_file(file, bytes_max);
  if (!bytes && bytes.error().code() == ErrorCode::not_found) return json::array();
  if (!bytes) return bytes.error();
  auto document = parse_json(as_text(*bytes));
  const bool known = document && document->is_object() &&
                     document->value("version", json()) == version &&
                     document->value(key, json()).is_array();
  if (!known) return Error(ErrorCode::corruption, file.string() + " cannot be understood");
  return std::move((*document)[key]);
}

std::string format_state_list(const char* key, int version, json items) {
  const json document = {{"version", version}, {key, std::move(items)}};
  return document.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace tidemark
