// The `rados` backend against a real cluster: TM_TEST_CEPH_CONF_B names its ceph.conf,
// TM_TEST_CEPH_USER the user ("admin" where unset), who may create pools.
#include <rados/librados.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "base/crypto.h"
#include "base/ids.h"
#include "store/backend/rados_backend.h"
#include "store/backend/rados_lock.h"
#include "store/backend/rados_pool.h"
#include "tests/store/backend_conformance.h"

namespace tidemark {
namespace {

std::string text_of_environment(const char* name, const char* otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? text : otherwise;
}
std::string ceph_conf() { return text_of_environment("TM_TEST_CEPH_CONF_B", ""); }
std::string ceph_user() { return text_of_environment("TM_TEST_CEPH_USER", "admin"); }

class NeedsCluster final : public ::testing::Environment {
  void SetUp() override {
    if (ceph_conf().empty()) GTEST_SKIP() << "TM_TEST_CEPH_CONF_B is not set";
  }
};
const auto* const kNeedsCluster = ::testing::AddGlobalTestEnvironment(new NeedsCluster);

// A pool of the tests' own, gone at the end; pools are dear, so that all tests share it and each
// has its own namespace.
class TestPool {
 public:
  TestPool() {
    const std::string client = "client." + ceph_user();
    EXPECT_EQ(rados_create2(&cluster_, "ceph", client.c_str(), 0), 0);
    EXPECT_EQ(rados_conf_read_file(cluster_, ceph_conf().c_str()), 0);
    rados_conf_set(cluster_, "client_mount_timeout", "30");
    EXPECT_EQ(rados_connect(cluster_), 0);
    name_ = "tm-backend-test-" + random_id<SessionId>().hex();
    EXPECT_EQ(rados_pool_create(cluster_, name_.c_str()), 0);
  }
  ~TestPool() {
    rados_pool_delete(cluster_, name_.c_str());
    rados_shutdown(cluster_);
  }
  TestPool(const TestPool&) = delete;
  TestPool& operator=(const TestPool&) = delete;

  const std::string& name() const { return name_; }
  void remove() { EXPECT_EQ(rados_pool_delete(cluster_, name_.c_str()), 0); }

  void command(const std::string& json) {
    const char* text = json.c_str();
    char *out = nullptr, *status = nullptr;
    std::size_t out_size = 0, status_size = 0;
    EXPECT_EQ(rados_mon_command(cluster_, &text, 1, "", 0, &out, &out_size, &status, &status_size),
              0)
        << json << ": " << std::string(status, status_size);
    rados_buffer_free(out);
    rados_buffer_free(status);
  }
  void set_quota(std::uint64_t bytes) {
    command(R"({"prefix":"osd pool set-quota","pool":")" + name_ +
            R"(","field":"max_bytes","val":")" + std::to_string(bytes) + R"("})");
  }

 private:
  rados_t cluster_ = nullptr;
  std::string name_;
};

TestPool& shared_pool() {
  static TestPool pool;
  return pool;
}

BackendConfig config_of(const TestPool& pool, const std::string& ns) {
  BackendConfig config;
  config.type = BackendConfig::Type::rados;
  config.ceph_conf = ceph_conf();
  config.ceph_user = ceph_user();
  config.pool = pool.name();
  config.ns = ns;
  return config;
}

std::string random_namespace() { return random_id<SessionId>().hex(); }

class RadosTestMedium final : public TestMedium {
 public:
  std::unique_ptr<Backend> open() override {
    auto backend = open_rados_backend(config_of(shared_pool(), ns_));
    if (!backend) ADD_FAILURE() << backend.error().describe();
    return backend ? std::move(*backend) : nullptr;
  }
  std::vector<std::string> tool_arguments() const override {
    return {"rados:" + shared_pool().name() + "/" + ns_, ceph_conf(), ceph_user()};
  }

 private:
  const std::string ns_ = random_namespace();
};

INSTANTIATE_TEST_SUITE_P(Cluster, BackendConformance,
                         ::testing::Values(ConformanceCase{
                             .name = "Rados",
                             .make_medium = [] { return std::make_unique<RadosTestMedium>(); },
                             .lock_release = std::chrono::seconds(45)}),
                         [](const auto& c) { return c.param.name; });

TEST(RadosBackend, SaysThatThePoolIsMissing) {
  auto config = config_of(shared_pool(), "");
  config.pool = "no-such-pool";
  const auto backend = open_rados_backend(config);
  ASSERT_FALSE(backend);
  EXPECT_EQ(backend.error().code(), ErrorCode::not_found);
}

TEST(RadosBackend, NamespacesDoNotSeeEachOther) {
  auto one = open_rados_backend(config_of(shared_pool(), random_namespace()));
  auto two = open_rados_backend(config_of(shared_pool(), random_namespace()));
  ASSERT_TRUE(one && two);
  ASSERT_TRUE((*one)->create("a", as_bytes("x")));
  EXPECT_FALSE((*two)->size("a"));
  const auto lock_one = (*one)->lock_writer("one"), lock_two = (*two)->lock_writer("two");
  EXPECT_TRUE(lock_one && lock_two);
}

// Goal: neither a write nor the making of room hangs on a full pool, and the lock works all along.
TEST(RadosBackend, AFullPoolIsAnErrorAndLetsRoomBeMade) {
  TestPool pool;
  auto backend = open_rados_backend(config_of(pool, "full"));
  ASSERT_TRUE(backend) << backend.error().describe();
  { ASSERT_TRUE((*backend)->lock_writer("first")); }
  const Bytes data = patterned_bytes(1, 4 * kMiB);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE((*backend)->create("b/" + std::to_string(i), data));
  pool.set_quota(8 * kMiB);
  // The monitors notice by and by.
  Status status;
  int written = 4;
  for (int i = 0; i < 60 && status; ++i) {
    status = (*backend)->create("b/" + std::to_string(written), data);
    if (status) ++written;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
  ASSERT_FALSE(status) << "the quota never took hold";
  EXPECT_EQ(status.error().code(), ErrorCode::resource_exhausted) << status.error().describe();
  auto writer = (*backend)->writer("b/streamed");
  ASSERT_TRUE(writer && (*writer)->append(data));
  const auto committed = (*writer)->commit();
  ASSERT_FALSE(committed);
  EXPECT_EQ(committed.error().code(), ErrorCode::resource_exhausted);
  EXPECT_FALSE((*backend)->size("b/streamed"));
  EXPECT_TRUE((*backend)->read("b/0", 0, data.size()));

  const auto lock = (*backend)->lock_writer("prune");
  ASSERT_TRUE(lock) << lock.error().describe();
  const auto space = (*backend)->space();
  ASSERT_TRUE(space && *space);
  EXPECT_EQ((*space)->free_bytes, 0U);
  for (int i = 0; i < written; ++i) ASSERT_TRUE((*backend)->remove("b/" + std::to_string(i)));
  bool works = false;
  for (int i = 0; i < 60 && !works; ++i) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    works = (*backend)->create("after/" + std::to_string(i), as_bytes("x")).has_value();
  }
  EXPECT_TRUE(works) << "removing made no room";
  EXPECT_TRUE((*lock)->held());
}

TEST(RadosBackend, APoolDeletedUnderAListingIsNotAnEmptyOne) {
  TestPool pool;
  auto backend = open_rados_backend(config_of(pool, "gone"));
  ASSERT_TRUE(backend);
  for (int i = 0; i < 500; ++i) ASSERT_TRUE((*backend)->create("b/" + std::to_string(i), {}));
  bool deleted = false;
  const auto cut = (*backend)->list("", [&](const BlobInfo&) -> Status {
    if (!std::exchange(deleted, true)) pool.remove();
    return {};
  });
  ASSERT_TRUE(deleted);
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code(), ErrorCode::unavailable) << cut.error().describe();
  const auto after = (*backend)->list("", [](const BlobInfo&) -> Status { return {}; });
  EXPECT_FALSE(after);
  const auto size = (*backend)->size("b/1");
  ASSERT_FALSE(size);
  EXPECT_EQ(size.error().code(), ErrorCode::unavailable);
}

TEST(RadosBackend, TheLockOutlivesItsLeaseByRenewal) {
  auto one = open_rados_backend(config_of(shared_pool(), random_namespace()));
  ASSERT_TRUE(one);
  const auto lock = (*one)->lock_writer("one");
  ASSERT_TRUE(lock);
  std::this_thread::sleep_for(RadosLock::kLease + std::chrono::seconds(5));
  EXPECT_TRUE((*lock)->held());
  const auto second = (*one)->lock_writer("two");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::refused);
}

// Goal: a holder whose lock somebody broke knows it within one renewal, and does not take it back.
TEST(RadosBackend, ABrokenLockIsNoLongerHeld) {
  const auto config = config_of(shared_pool(), random_namespace());
  auto pool = RadosPool::connect(config);
  auto backend = open_rados_backend(config);
  ASSERT_TRUE(pool && backend);
  const auto lock = (*backend)->lock_writer("victim");
  ASSERT_TRUE(lock);
  int exclusive = 0;
  std::array<char, 1000> tag{}, clients{}, cookies{}, addresses{};
  std::size_t tag_size = 1000, clients_size = 1000, cookies_size = 1000, addresses_size = 1000;
  ASSERT_EQ(rados_list_lockers((*pool)->io(), "tidemark.lock", "writer", &exclusive, tag.data(),
                               &tag_size, clients.data(), &clients_size, cookies.data(),
                               &cookies_size, addresses.data(), &addresses_size),
            1);
  ASSERT_EQ(
      rados_break_lock((*pool)->io(), "tidemark.lock", "writer", clients.data(), cookies.data()),
      0);
  const auto until =
      std::chrono::steady_clock::now() + RadosLock::kRenewEvery + std::chrono::seconds(5);
  while ((*lock)->held() && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_FALSE((*lock)->held());
  const auto next = (*backend)->lock_writer("next");
  ASSERT_TRUE(next);
  std::this_thread::sleep_for(RadosLock::kRenewEvery + std::chrono::seconds(2));
  EXPECT_FALSE((*lock)->held());
  EXPECT_TRUE((*next)->held());
}

TEST(RadosBackend, ADeadClusterIsAnErrorWithinAMinute) {
  TestDirectory directory;
  const auto path = directory.path() / "ceph.conf";
  std::ofstream(path) << "[global]\nmon host = [v2:127.0.0.1:1/0]\nauth client required = none\n";
  auto config = config_of(shared_pool(), "");
  config.ceph_conf = path.string();
  const auto begin = std::chrono::steady_clock::now();
  const auto backend = open_rados_backend(config);
  ASSERT_FALSE(backend);
  EXPECT_TRUE(backend.error().retryable()) << backend.error().describe();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
}

}  // namespace
}  // namespace tidemark
