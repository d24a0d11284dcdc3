// Reads fields of JSON that came from outside.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace tidemark {

// The text under `key`; empty where `json` is no object or has no text there.
inline std::string text_at(const nlohmann::json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}

}  // namespace tidemark
