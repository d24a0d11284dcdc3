#include "store/role.h"

#include "base/crypto.h"

namespace tidemark {
namespace {

constexpr std::string_view kMagic = "TMROLE01";
constexpr std::uint16_t kVersion = 1;
constexpr std::size_t kTextBytesMax = 4 * kKiB;

}  // namespace

std::string role_blob_name(std::string_view site, std::string_view asset) {
  const std::string name = std::string(site) + ":" + std::string(asset);
  return "roles/" + sha256(as_bytes(name)).hex();
}

Bytes encode(const AssetRole& role) {
  ByteWriter out;
  out.raw(kMagic);
  out.u16(kVersion);
  out.sized(as_bytes(role.site));
  out.sized(as_bytes(role.asset));
  out.u64(role.token);
  out.sized(as_bytes(role.holder));
  out.sized(as_bytes(role.image));
  out.raw(role.point.view());
  out.u64(static_cast<std::uint64_t>(role.since.us));
  Bytes bytes = out.take();
  append(bytes, sha256(bytes).view());
  return bytes;
}

Result<AssetRole> decode_asset_role(ByteView bytes) {
  const Error bad(ErrorCode::corruption, "the role of an asset is damaged");
  if (bytes.size() < kMagic.size() + Digest::kSize) return bad;
  const ByteView body = bytes.first(bytes.size() - Digest::kSize);
  ByteReader reader(body);
  if (as_text(reader.raw(kMagic.size())) != kMagic) return bad;
  if (sha256(body) != Digest::from(bytes.last(Digest::kSize))) return bad;
  if (reader.u16() != kVersion)
    return Error(ErrorCode::unsupported, "the role of an asset is of a later version");
  AssetRole role;
  role.site = reader.sized_text(kTextBytesMax);
  role.asset = reader.sized_text(kTextBytesMax);
  role.token = reader.u64();
  role.holder = reader.sized_text(kTextBytesMax);
  role.image = reader.sized_text(kTextBytesMax);
  role.point = PointId::read(reader);
  role.since.us = static_cast<std::int64_t>(reader.u64());
  if (!reader.done()) return bad;
  return role;
}

}  // namespace tidemark
