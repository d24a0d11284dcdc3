// Names of backends, and the conformance suite on the fake and on the `file` backend.
#include <filesystem>

#include "store/backend/file_backend.h"
#include "tests/fakes/memory_backend.h"
#include "tests/store/backend_conformance.h"

namespace tidemark {
namespace {

class MemoryTestMedium final : public TestMedium {
 public:
  std::unique_ptr<Backend> open() override { return std::make_unique<MemoryBackend>(medium_); }

 private:
  const std::shared_ptr<MemoryMedium> medium_ = std::make_shared<MemoryMedium>();
};

class FileTestMedium final : public TestMedium {
 public:
  std::unique_ptr<Backend> open() override {
    auto backend = open_file_backend(directory_.path() / "store", true);
    if (!backend) ADD_FAILURE() << backend.error().describe();
    return backend ? std::move(*backend) : nullptr;
  }
  std::vector<std::string> tool_arguments() const override {
    return {"file:" + (directory_.path() / "store").string()};
  }

 private:
  TestDirectory directory_;
};

// As on a kernel without openat2.
class WalkingFileTestMedium final : public TestMedium {
 public:
  std::unique_ptr<Backend> open() override {
    auto tree = DirectoryTree::open(directory_.path(), true);
    if (!tree) return nullptr;
    (*tree)->use_walk_for_tests();
    return std::make_unique<FileBackend>(directory_.path().string(), std::move(*tree));
  }

 private:
  TestDirectory directory_{fast_directory()};
};

template <class Medium>
ConformanceCase conformance_case(std::string name) {
  return {.name = std::move(name), .make_medium = [] { return std::make_unique<Medium>(); }};
}

INSTANTIATE_TEST_SUITE_P(Backends, BackendConformance,
                         ::testing::Values(conformance_case<MemoryTestMedium>("Memory"),
                                           conformance_case<FileTestMedium>("File"),
                                           conformance_case<WalkingFileTestMedium>("FileWalking")),
                         [](const auto& c) { return c.param.name; });

TEST(BackendUrl, NamesADirectory) {
  for (const auto* url : {"file:/srv/tidemark", "/srv/tidemark", "file:///srv/tidemark"}) {
    const auto config = parse_backend_url(url, "c", "u");
    ASSERT_TRUE(config) << url;
    EXPECT_EQ(config->type, BackendConfig::Type::file);
    EXPECT_EQ(config->path, "/srv/tidemark");
  }
  EXPECT_EQ(parse_backend_url("some/where:else", "", "")->path, "some/where:else");
}

TEST(BackendUrl, NamesAPoolAndNamespace) {
  const auto config = parse_backend_url("rados:backups/tokyo", "/etc/ceph/ceph.conf", "tidemark");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->type, BackendConfig::Type::rados);
  EXPECT_EQ(config->pool, "backups");
  EXPECT_EQ(config->ns, "tokyo");
  EXPECT_EQ(config->ceph_conf, "/etc/ceph/ceph.conf");
  EXPECT_EQ(config->ceph_user, "tidemark");
  EXPECT_EQ(parse_backend_url("rados:backups", "c", "u")->ns, "");
}

TEST(BackendUrl, RefusesWhatItDoesNotKnow) {
  for (const auto* url : {"", "file:", "rados:", "rados:/ns", "rados:pool/", "rados:pool/a/b",
                          "s3:bucket", "http://x/y", ":x", "file://host/path", "/a\nb"})
    EXPECT_FALSE(parse_backend_url(url, "c", "u")) << url;
}

}  // namespace
}  // namespace tidemark
