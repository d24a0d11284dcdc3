// Answers of a real API server (tests/golden/kube/).
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "tests/base/source_path.h"

namespace tidemark::test {

// The body of a recorded answer, whose length was stated or which came in chunks.
inline nlohmann::json recorded_body(const std::string& exchange) {
  std::ifstream file(source_path("tests/golden/kube/" + exchange + ".response.txt"),
                     std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  const std::string all = text.str();
  const auto end = all.find("\r\n\r\n");
  if (end == std::string::npos) return nullptr;
  std::string body = all.substr(end + 4);
  if (all.substr(0, end).find("Transfer-Encoding: chunked") != std::string::npos) {
    std::string joined;
    for (std::size_t at = 0; at < body.size();) {
      const std::size_t size = std::stoul(body.substr(at), nullptr, 16);
      if (size == 0) break;
      at = body.find("\r\n", at) + 2;
      joined += body.substr(at, size);
      at += size + 2;
    }
    body = joined;
  }
  return nlohmann::json::parse(body, nullptr, false);
}

}  // namespace tidemark::test
