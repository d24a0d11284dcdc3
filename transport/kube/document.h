// JSON documents from the API server.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace tidemark::kube {

inline constexpr unsigned kDocumentDepthMax = 200;

// The document; is_discarded() where it is none, or is nested deeper than kDocumentDepthMax: what
// is later copied, compared or printed goes down by recursion. Memory is bounded by the text's.
nlohmann::json parse_document(std::string_view text);

}  // namespace tidemark::kube
