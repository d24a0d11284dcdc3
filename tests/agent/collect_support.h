// What the tests of garbage collection share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/service/bare_store.h"
#include "catalog/rebuild.h"
#include "tests/agent/service_support.h"

namespace tidemark::test {

inline std::size_t count_blobs(const TestService& store, std::string_view prefix) {
  std::size_t count = 0;
  must(store.backend()->list(prefix, [&](const BlobInfo&) -> Status {
    ++count;
    return {};
  }));
  return count;
}

// Everything that is listed can be read, also from the backend alone, and the catalog agrees.
inline void expect_whole(TestService& store) {
  const auto bare = must(BareStore::open(store.backend()));
  for (const PointRow& row : must(store.service().points("", ""))) {
    const auto& root = row.point.record.root;
    read_all(store.service(), store.keys(), root);
    read_all(*bare, store.keys(), root);
  }
  EXPECT_THAT(must(store.service().catalog().check()), ::testing::IsEmpty());
}

// A catalog that is made anew from the backend has nothing to complain of.
inline void expect_rebuilt(TestService& store) {
  const Scratch scratch;
  const auto backend = store.backend();
  const auto report =
      must(rebuild_catalog(*backend, scratch.path() / "catalog", store.descriptor().id, {}, {}));
  EXPECT_THAT(report.findings, ::testing::IsEmpty());
}

}  // namespace tidemark::test
