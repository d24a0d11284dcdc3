#include "base/asset.h"

#include <gtest/gtest.h>

#include <vector>

namespace tidemark::test {
namespace {

TEST(Asset, ParsesImages) {
  const auto asset = AssetName::parse("rbd/pool/vm-1");
  ASSERT_TRUE(asset);
  EXPECT_EQ(asset->kind(), AssetName::Kind::rbd);
  EXPECT_EQ(asset->rbd(), (RbdImageName{"pool", "", "vm-1"}));
  EXPECT_EQ(asset->rbd().text(), "pool/vm-1");
  EXPECT_EQ(asset->text(), "rbd/pool/vm-1");
  const auto spaced = AssetName::parse("rbd/pool/ns/vm-1");
  ASSERT_TRUE(spaced);
  EXPECT_EQ(spaced->rbd(), (RbdImageName{"pool", "ns", "vm-1"}));
  EXPECT_EQ(spaced->rbd().text(), "pool/ns/vm-1");
}

TEST(Asset, ParsesBuckets) {
  const auto asset = AssetName::parse("s3/photos");
  ASSERT_TRUE(asset);
  EXPECT_EQ(asset->kind(), AssetName::Kind::s3);
  EXPECT_EQ(asset->bucket(), "photos");
}

TEST(Asset, TakesOddButUsableNames) {
  for (const char* text :
       {"rbd/a/...", "rbd/a b/c", "rbd/東京/ü", "rbd/a/b:c", "s3/.x", "rbd/rbd/rbd"})
    EXPECT_TRUE(AssetName::parse(text)) << text;
}

TEST(Asset, RefusesPartsThatAreNoNames) {
  for (const std::string& text : {std::string(),
                                  std::string("rbd"),
                                  std::string("rbd/"),
                                  std::string("rbd/a"),
                                  std::string("rbd//a"),
                                  std::string("rbd/a/"),
                                  std::string("rbd/a/b/"),
                                  std::string("rbd/a//b"),
                                  std::string("rbd/a/b/c/d"),
                                  std::string("rbd/../b"),
                                  std::string("rbd/a/.."),
                                  std::string("rbd/a/."),
                                  std::string("rbd/a/../b"),
                                  std::string("rbd/a/b@snap"),
                                  std::string("rbd/a/b\n"),
                                  std::string("rbd/a/b\0", 8),
                                  std::string("rbd/a/\x7f"),
                                  std::string("rbd/a/\xff"),
                                  std::string("RBD/a/b"),
                                  std::string("/rbd/a/b"),
                                  std::string("s3"),
                                  std::string("s3/"),
                                  std::string("s3/a/b"),
                                  std::string("s3/.."),
                                  std::string("cephfs/a"),
                                  std::string("tokyo:rbd/a/b"),
                                  "rbd/a/" + std::string(256, 'x')}) {
    const auto asset = AssetName::parse(text);
    ASSERT_FALSE(asset) << text;
    EXPECT_EQ(asset.error().code(), ErrorCode::invalid_argument);
  }
}

TEST(Asset, OrdersByItsText) {
  const auto a = *AssetName::parse("rbd/a/b"), b = *AssetName::parse("rbd/a/c");
  EXPECT_LT(a, b);
  EXPECT_EQ(a, *AssetName::parse("rbd/a/b"));
  EXPECT_NE(a, b);
}

TEST(SiteAsset, TakesASiteInFront) {
  const auto with = parse_site_asset("tokyo:rbd/a/b");
  ASSERT_TRUE(with);
  EXPECT_EQ(with->site, "tokyo");
  EXPECT_EQ(with->asset.text(), "rbd/a/b");
  const auto without = parse_site_asset("rbd/a/b");
  ASSERT_TRUE(without);
  EXPECT_EQ(without->site, "");
  // A colon behind the first slash belongs to the image.
  const auto colon = parse_site_asset("rbd/a/b:c");
  ASSERT_TRUE(colon);
  EXPECT_EQ(colon->site, "");
  EXPECT_EQ(colon->asset.rbd().image, "b:c");
}

TEST(SiteAsset, RefusesBrokenSitesAndAssets) {
  for (const char* text : {":rbd/a/b", "..:rbd/a/b", "a:b:rbd/a/b", "tokyo:", "tokyo",
                           "tokyo:rbd/a", "a\n:rbd/a/b", "", ":", "tokyo:tokyo:rbd/a/b"})
    EXPECT_FALSE(parse_site_asset(text)) << text;
}

TEST(ImageName, WithoutThePrefix) {
  EXPECT_EQ(*parse_rbd_image("p/i"), (RbdImageName{"p", "", "i"}));
  EXPECT_EQ(*parse_rbd_image("p/n/i"), (RbdImageName{"p", "n", "i"}));
  for (const char* text : {"", "p", "p/", "/i", "p/n/i/x", "p/i@s", "../i", "p//i"})
    EXPECT_FALSE(parse_rbd_image(text)) << text;
}

}  // namespace
}  // namespace tidemark::test
