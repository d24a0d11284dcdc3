#include "agent/restore/bucket_users.h"

#include <nlohmann/json.hpp>

#include "base/markup.h"

namespace tidemark {
namespace {

// Members keep their order: a policy is read by people, too.
using Json = nlohmann::ordered_json;

std::string arn_of(const std::string& user) {
  const auto dollar = user.find('$');
  const bool tenant = dollar != std::string::npos;
  return "arn:aws:iam::" + (tenant ? user.substr(0, dollar) : std::string()) + ":user/" +
         (tenant ? user.substr(dollar + 1) : user);
}

// Every text below `json` that is one of the keys becomes its value. True where one was.
bool replace_texts(Json& json, const UserNames& texts) {
  if (json.is_string()) {
    const auto found = texts.find(json.get<std::string>());
    if (found == texts.end()) return false;
    json = found->second;
    return true;
  }
  bool changed = false;
  if (json.is_structured())
    for (Json& item : json) changed = replace_texts(item, texts) || changed;
  return changed;
}

// The texts of all `<tag>` that are one of the keys, replaced. `users` are escaped.
std::string replace_elements(const std::string& document, const std::string& tag,
                             const UserNames& users) {
  const std::string open = "<" + tag + ">", close = "</" + tag + ">";
  std::string out;
  std::size_t done = 0;
  for (auto at = document.find(open); at != document.npos; at = document.find(open, done)) {
    const auto begin = at + open.size(), end = document.find(close, begin);
    if (end == document.npos) break;
    const auto found = users.find(document.substr(begin, end - begin));
    out += document.substr(done, begin - done);
    out += found == users.end() ? document.substr(begin, end - begin) : found->second;
    done = end;
  }
  return out + document.substr(done);
}

}  // namespace

std::string rename_principals(std::string policy, const UserNames& users) {
  UserNames arns;
  for (const auto& [from, to] : users)
    if (!from.empty()) arns.emplace(arn_of(from), arn_of(to));
  Json json = Json::parse(policy, nullptr, false);
  if (json.is_discarded() || !json.is_object() || !json.contains("Statement")) return policy;
  Json& statements = json["Statement"];
  bool changed = false;
  const auto rename_in = [&](Json& statement) {
    for (const char* const key : {"Principal", "NotPrincipal"})
      if (statement.is_object() && statement.contains(key))
        changed = replace_texts(statement[key], arns) || changed;
  };
  if (statements.is_array())
    for (Json& statement : statements) rename_in(statement);
  else
    rename_in(statements);
  return changed ? json.dump(-1, ' ', false, Json::error_handler_t::replace) : policy;
}

std::string rename_owners(std::string acl, const UserNames& users) {
  UserNames escaped;
  for (const auto& [from, to] : users)
    if (!from.empty()) escaped.emplace(escape_markup(from), escape_markup(to));
  if (escaped.empty()) return acl;
  return replace_elements(replace_elements(acl, "ID", escaped), "DisplayName", escaped);
}

}  // namespace tidemark
