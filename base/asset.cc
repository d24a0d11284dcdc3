#include "base/asset.h"

#include "base/text.h"

namespace tidemark {

std::string RbdImageName::text() const {
  return ns.empty() ? pool + "/" + image : pool + "/" + ns + "/" + image;
}

Result<RbdImageName> parse_rbd_image(std::string_view text) {
  const auto parts = split(text, '/');
  if (parts.size() != 2 && parts.size() != 3)
    return Error(ErrorCode::invalid_argument, "'" + std::string(text) + "' is not an image")
        .with_hint("write pool/image or pool/namespace/image");
  RbdImageName name{parts.front(), parts.size() == 3 ? parts[1] : "", parts.back()};
  TM_DO(check_name(name.pool, "pool"));
  if (parts.size() == 3) TM_DO(check_name(name.ns, "namespace"));
  TM_DO(check_name(name.image, "image"));
  if (name.image.find('@') != std::string::npos)
    return Error(ErrorCode::invalid_argument, "an image's name cannot hold '@'");
  return name;
}

Result<AssetName> AssetName::parse(std::string_view text) {
  AssetName asset;
  asset.text_ = std::string(text);
  if (text.starts_with("rbd/")) {
    TM_TRY(asset.rbd_, parse_rbd_image(text.substr(4)));
    return asset;
  }
  if (text.starts_with("s3/")) {
    asset.kind_ = Kind::s3;
    asset.bucket_ = std::string(text.substr(3));
    TM_DO(check_name(asset.bucket_, "bucket"));
    return asset;
  }
  return Error(ErrorCode::invalid_argument, "'" + std::string(text) + "' is not an asset")
      .with_hint("write rbd/<pool>[/<namespace>]/<image> or s3/<bucket>");
}

Result<SiteAsset> parse_site_asset(std::string_view text) {
  SiteAsset out;
  const auto colon = text.find(':');
  if (colon != std::string_view::npos && colon < text.find('/')) {
    out.site = std::string(text.substr(0, colon));
    TM_DO(check_name(out.site, "site"));
    text.remove_prefix(colon + 1);
  }
  TM_TRY(out.asset, AssetName::parse(text));
  return out;
}

}  // namespace tidemark
