#include "config/config.h"

#include <algorithm>

#include "base/files.h"
#include "base/text.h"
#include "config/internal/document.h"
#include "config/internal/options.h"

namespace tidemark {

bool PolicyConfig::covers(const AssetName& asset) const {
  const auto matches = [&](const std::string& glob) { return glob_match(glob, asset.text()); };
  return std::any_of(assets.begin(), assets.end(), matches) &&
         std::none_of(exclude.begin(), exclude.end(), matches);
}

bool DrillConfig::covers(std::string_view site, std::string_view asset) const {
  const std::string text = std::string(site) + ":" + std::string(asset);
  return std::any_of(assets.begin(), assets.end(),
                     [&](const std::string& glob) { return glob_match(glob, text); });
}

bool Config::may_read(std::string_view peer, std::string_view owner, const AssetName& asset) const {
  const auto found = peers.find(std::string(peer));
  if (found == peers.end()) return false;
  if (peer == owner) return true;
  const std::string text = std::string(owner) + ":" + asset.text();
  const auto& globs = found->second.read;
  return std::any_of(globs.begin(), globs.end(),
                     [&](const std::string& glob) { return glob_match(glob, text); });
}

bool Config::may_read_metrics(std::string_view reader) const {
  if (reader == site) return true;
  const auto found = peers.find(std::string(reader));
  return found != peers.end() && found->second.metrics;
}

Result<Config> parse_config(std::string_view text, std::string_view name,
                            const std::filesystem::path& base_dir) {
  std::vector<config::Problem> problems;
  config::YamlNode document;
  Config out;
  out.name = name;
  if (config::read_document(text, document, problems)) {
    config::Context context{base_dir, problems, {}};
    // An empty file lacks what is required, like any other.
    if (document.kind == config::YamlNode::Kind::nothing) document = config::YamlNode::map({1, 1});
    config::options().decode(document, "", out, context);
    config::fill_derived(out);
    config::validate(out, context);
  }
  if (problems.empty()) return out;
  return Error(ErrorCode::invalid_argument, config::render(name, std::move(problems)));
}

Result<Config> load_config(const std::filesystem::path& path) {
  const auto bytes = read_file(path, config::kFileBytesMax);
  if (!bytes) return bytes.error();
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  if (error) return errno_error(error.value(), "find the directory of " + path.string());
  return parse_config(as_text(*bytes), path.string(), absolute.parent_path());
}

}  // namespace tidemark
