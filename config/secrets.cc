#include <algorithm>
#include <cstdlib>

#include "base/files.h"
#include "config/config.h"
#include "config/internal/values.h"

namespace tidemark {

namespace {
constexpr std::uint64_t kSecretBytesMax = 64 * kKiB;
}

Result<std::string> read_secret(const SecretRef& ref) {
  std::string secret;
  if (ref.from == SecretRef::From::file) {
    TM_TRY(const Bytes bytes, read_file(ref.file, kSecretBytesMax));
    secret = as_text(bytes);
    if (secret.ends_with('\n')) secret.pop_back();
    if (secret.ends_with('\r')) secret.pop_back();
  } else if (ref.from == SecretRef::From::environment) {
    const char* const value = std::getenv(ref.variable.c_str());
    if (value == nullptr)
      return Error(ErrorCode::not_found, "environment variable " + ref.variable + " is not set");
    secret = value;
    if (secret.size() > kSecretBytesMax)
      return Error(ErrorCode::invalid_argument,
                   "environment variable " + ref.variable + " is longer than 64 KiB");
  } else {
    return Error(ErrorCode::invalid_argument, "no secret is configured");
  }
  if (!secret.empty()) return secret;
  return Error(ErrorCode::invalid_argument,
               (ref.from == SecretRef::From::file ? ref.file.string() : ref.variable) +
                   ": the secret is empty");
}

namespace config {
namespace {

constexpr std::string_view kExpected =
    "a path, { file: PATH } or ${env:NAME}; a secret itself never stands in this file";

bool is_variable_name(std::string_view name) {
  const auto word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  return !name.empty() && !(name.front() >= '0' && name.front() <= '9') &&
         std::all_of(name.begin(), name.end(), word);
}

// A long run of characters with neither '/' nor '.' is a secret in the wrong place, not a path.
bool looks_like_a_secret(std::string_view text) {
  static constexpr std::size_t kSuspicious = 20;
  return text.size() >= kSuspicious && text.find_first_of("/.") == std::string_view::npos;
}

class Secret final : public Shape<SecretRef> {
 public:
  void decode(const YamlNode& node, const std::string& path, SecretRef& out,
              Context& context) const override {
    const YamlNode* file = &node;
    if (node.kind == YamlNode::Kind::map && node.entries.size() == 1 &&
        node.entries.front().key == "file")
      file = &node.entries.front().value;
    const bool in_map = file != &node;
    if (file->kind != YamlNode::Kind::scalar) return context.mismatch(*file, path, kExpected, true);
    const std::string& text = file->text;
    if (!in_map && text.starts_with("${env:") && text.ends_with("}")) {
      out.variable = text.substr(6, text.size() - 7);
      out.from = SecretRef::From::environment;
      if (!is_variable_name(out.variable)) context.mismatch(node, path, kExpected, true);
      return;
    }
    if (text.find("${") != std::string::npos || (!in_map && looks_like_a_secret(text)))
      return context.mismatch(*file, path, kExpected, true);
    out.from = SecretRef::From::file;
    path_of("a secret's file")->decode(*file, path, out.file, context);
  }
  YamlNode show(const SecretRef& ref) const override {
    if (ref.from == SecretRef::From::environment)
      return YamlNode::scalar("${env:" + ref.variable + "}");
    YamlNode node = YamlNode::map();
    node.entries.push_back({"file", {}, YamlNode::scalar(ref.file.string())});
    return node;
  }
  bool empty(const SecretRef& ref) const override { return !ref; }
  Json schema() const override {
    const Json text{{"type", "string"}, {"minLength", 1}};
    return {{"oneOf", Json::array({text, Json{{"type", "object"},
                                              {"additionalProperties", false},
                                              {"properties", {{"file", text}}},
                                              {"required", Json::array({"file"})}}})}};
  }
  std::string label() const override { return "reference to a secret"; }
};

}  // namespace

ShapePtr<SecretRef> secret() { return std::make_shared<Secret>(); }

}  // namespace config
}  // namespace tidemark
