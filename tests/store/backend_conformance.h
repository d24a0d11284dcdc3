// The conformance suite of Backend (store/backend.h): every implementation passes it, and so does
// the fake that other tests are built on. A program instantiates it with a factory:
//
//   INSTANTIATE_TEST_SUITE_P(Memory, BackendConformance, ::testing::Values(memory_medium()), ...);
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "store/backend.h"
#include "tests/store/backend_support.h"

namespace tidemark {

// A fresh, empty place for blobs, gone with this object. Handles on it end before it does.
class TestMedium {
 public:
  virtual ~TestMedium() = default;
  // Another handle on the same blobs, as another process would have it.
  virtual std::unique_ptr<Backend> open() = 0;
  // How backend_tool opens it; empty where no other process can.
  virtual std::vector<std::string> tool_arguments() const { return {}; }
};

struct ConformanceCase {
  std::string name;
  std::function<std::unique_ptr<TestMedium>()> make_medium;
  // Within which the lock of a killed process can be taken by another.
  std::chrono::seconds lock_release{0};
};
inline void PrintTo(const ConformanceCase& c, std::ostream* out) { *out << c.name; }

class BackendConformance : public ::testing::TestWithParam<ConformanceCase> {
 protected:
  void SetUp() override;
  void TearDown() override;

  Backend& backend() { return *backend_; }
  TestMedium& medium() { return *medium_; }
  std::vector<std::string> names(std::string_view prefix = "");
  std::vector<std::string> names(Backend& backend, std::string_view prefix);

 private:
  std::unique_ptr<TestMedium> medium_;
  std::unique_ptr<Backend> backend_;
};

}  // namespace tidemark
