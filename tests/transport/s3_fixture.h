// A client with options for tests, and a server to go with it: the fake one, or a real one that the
// environment names.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/fakes/s3_server.h"
#include "transport/s3/client.h"

namespace tidemark::testing {

// Short waits, quick retries.
s3::ClientOptions s3_options(const std::string& endpoint, const s3::Credentials& credentials);
std::unique_ptr<s3::Client> s3_client(s3::ClientOptions options);

// A bucket of this process's own: "tm-<random>-<what>".
std::string unique_bucket(const std::string& what);
// Removes all versions of all objects, all uploads, and the bucket.
void remove_whole_bucket(s3::Client& client, const std::string& bucket);

Bytes patterned(std::size_t size, unsigned seed = 1);
// All of an object.
Result<Bytes> read_object(s3::ObjectReader& reader);

#define TM_ASSERT_OK(expression)                                         \
  do {                                                                   \
    const auto& tm_outcome = (expression);                               \
    ASSERT_TRUE(tm_outcome.has_value()) << tm_outcome.error().message(); \
  } while (false)
#define TM_EXPECT_ERROR(expected, expression)                              \
  do {                                                                     \
    const auto& tm_outcome = (expression);                                 \
    if (tm_outcome.has_value()) {                                          \
      ADD_FAILURE() << "succeeded: " #expression;                          \
    } else {                                                               \
      EXPECT_EQ(to_string(tm_outcome.error().code()), to_string(expected)) \
          << tm_outcome.error().message();                                 \
    }                                                                      \
  } while (false)

}  // namespace tidemark::testing
