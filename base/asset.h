// Assets: what is protected, and how it is written. `rbd/<pool>[/<namespace>]/<image>` or
// `s3/<bucket>`; across sites `<site>:<asset>`.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tidemark {

struct RbdImageName {
  std::string pool;
  std::string ns;  // RADOS namespace; empty for the default one
  std::string image;
  auto operator<=>(const RbdImageName&) const = default;
  // "pool/image" or "pool/ns/image", as the rbd command writes it.
  std::string text() const;
};

// Parses "pool/image" or "pool/namespace/image".
Result<RbdImageName> parse_rbd_image(std::string_view text);

// An asset's name, checked: every part is a usable name.
class AssetName {
 public:
  enum class Kind { rbd, s3 };

  static Result<AssetName> parse(std::string_view text);

  Kind kind() const { return kind_; }
  const std::string& text() const { return text_; }
  // REQUIRES: kind() == Kind::rbd.
  const RbdImageName& rbd() const { return rbd_; }
  // REQUIRES: kind() == Kind::s3.
  const std::string& bucket() const { return bucket_; }
  auto operator<=>(const AssetName& other) const { return text_ <=> other.text_; }
  bool operator==(const AssetName& other) const { return text_ == other.text_; }

 private:
  Kind kind_ = Kind::rbd;
  std::string text_;
  RbdImageName rbd_;
  std::string bucket_;
};

// `[<site>:]<asset>`.
struct SiteAsset {
  std::string site;  // empty where none was written
  AssetName asset;
};
Result<SiteAsset> parse_site_asset(std::string_view text);

}  // namespace tidemark
