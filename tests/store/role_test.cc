// Where an asset is in use.
#include "store/role.h"

#include "tests/store/support.h"

namespace tidemark {
namespace {

using test::check_golden;

AssetRole sample() {
  AssetRole role;
  role.site = "tokyo";
  role.asset = "rbd/rbd/vm-1";
  role.token = 3;
  role.holder = "osaka";
  role.image = "dr/vm-1";
  for (std::size_t i = 0; i < role.point.bytes.size(); ++i)
    role.point.bytes[i] = static_cast<std::uint8_t>(i);
  role.since = Timestamp{1'700'000'000'000'001};
  return role;
}

TEST(RoleTest, ReadsBackAsWritten) {
  EXPECT_EQ(decode_asset_role(encode(sample())), sample());
  AssetRole nobody = sample();
  nobody.holder.clear();
  EXPECT_EQ(decode_asset_role(encode(nobody)), nobody);
}

TEST(RoleTest, Golden) { check_golden("role", encode(sample())); }

TEST(RoleTest, AnyFlippedBitAndAnyCutShow) {
  const Bytes good = encode(sample());
  for (std::size_t i = 0; i < 8 * good.size(); ++i) {
    Bytes bad = good;
    bad[i / 8] = static_cast<std::uint8_t>(bad[i / 8] ^ (1U << (i % 8)));
    EXPECT_FALSE(decode_asset_role(bad)) << i;
  }
  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(decode_asset_role(ByteView(good).first(size))) << size;
}

TEST(RoleTest, ALaterVersionIsSaidToBeOne) {
  Bytes later = encode(sample());
  later[8] = 2;  // the version's low byte
  const ByteView body = ByteView(later).first(later.size() - Digest::kSize);
  const Digest digest = sha256(body);
  std::ranges::copy(digest.bytes, later.end() - Digest::kSize);
  const auto decoded = decode_asset_role(later);
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code(), ErrorCode::unsupported);
}

TEST(RoleTest, EachAssetHasABlobOfItsOwn) {
  EXPECT_TRUE(check_blob_name(role_blob_name("tokyo", "rbd/rbd/vm-1")));
  EXPECT_NE(role_blob_name("tokyo", "rbd/rbd/vm-1"), role_blob_name("tokyo", "rbd/rbd/vm-2"));
  EXPECT_NE(role_blob_name("tokyo", "rbd/rbd/vm-1"), role_blob_name("kyoto", "rbd/rbd/vm-1"));
}

}  // namespace
}  // namespace tidemark
