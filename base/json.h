// Fields of JSON: those of what came from outside, and those of what is told.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace tidemark {

// The text under `key`; empty where `json` is no object or has no text there.
inline std::string text_at(const nlohmann::json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}

// null for "".
inline nlohmann::json text_or_null(std::string_view text) {
  return text.empty() ? nlohmann::json() : nlohmann::json(text);
}

}  // namespace tidemark
