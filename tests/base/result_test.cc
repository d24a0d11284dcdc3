#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <set>

#include "base/assert.h"

namespace tidemark::test {
namespace {

constexpr ErrorCode kAll[] = {
    ErrorCode::invalid_argument,   ErrorCode::not_found,         ErrorCode::already_exists,
    ErrorCode::permission_denied,  ErrorCode::refused,           ErrorCode::corruption,
    ErrorCode::unavailable,        ErrorCode::deadline_exceeded, ErrorCode::cancelled,
    ErrorCode::resource_exhausted, ErrorCode::unsupported,       ErrorCode::internal};

TEST(Codes, TextsAreStableAndReadBack) {
  std::set<std::string_view> texts;
  for (const ErrorCode code : kAll) {
    EXPECT_EQ(error_code_from(to_string(code)), code);
    texts.insert(to_string(code));
  }
  EXPECT_EQ(texts.size(), std::size(kAll));
  EXPECT_EQ(to_string(ErrorCode::not_found), "not_found");
  EXPECT_EQ(error_code_from("no such code"), ErrorCode::internal);
  EXPECT_EQ(error_code_from(""), ErrorCode::internal);
}

TEST(Errors, GatherContextAndKeepCodeAndHint) {
  const Error error = Error(ErrorCode::not_found, "no such image").with_hint("look again");
  const Error with = error.context("open image rbd/vm");
  EXPECT_EQ(with.message(), "open image rbd/vm: no such image");
  EXPECT_EQ(with.code(), ErrorCode::not_found);
  EXPECT_EQ(with.hint(), "look again");
  EXPECT_EQ(with.describe(), "open image rbd/vm: no such image (look again)");
  EXPECT_EQ(error.message(), "no such image");
  EXPECT_EQ(Error(ErrorCode::internal, "x").describe(), "x");
}

TEST(Errors, OnlyTransientOnesAreRetried) {
  for (const ErrorCode code : kAll)
    EXPECT_EQ(Error(code, "").retryable(),
              code == ErrorCode::unavailable || code == ErrorCode::deadline_exceeded);
}

TEST(Errors, ErrnosSayWhatTheCallerMayDo) {
  const auto code = [](int errnum) { return errno_error(errnum, "try").code(); };
  EXPECT_EQ(code(ENOENT), ErrorCode::not_found);
  EXPECT_EQ(code(EEXIST), ErrorCode::already_exists);
  EXPECT_EQ(code(EACCES), ErrorCode::permission_denied);
  EXPECT_EQ(code(EINVAL), ErrorCode::invalid_argument);
  EXPECT_EQ(code(ENOTDIR), ErrorCode::invalid_argument);
  EXPECT_EQ(code(EISDIR), ErrorCode::invalid_argument);
  EXPECT_EQ(code(ENOSPC), ErrorCode::resource_exhausted);
  EXPECT_EQ(code(EDQUOT), ErrorCode::resource_exhausted);
  EXPECT_EQ(code(ENFILE), ErrorCode::resource_exhausted);
  EXPECT_EQ(code(ETIMEDOUT), ErrorCode::deadline_exceeded);
  EXPECT_EQ(code(ECONNRESET), ErrorCode::unavailable);
  EXPECT_EQ(code(ECONNABORTED), ErrorCode::unavailable);
  EXPECT_EQ(code(ECANCELED), ErrorCode::cancelled);
  EXPECT_EQ(code(EBADMSG), ErrorCode::corruption);
  EXPECT_EQ(code(EROFS), ErrorCode::refused);
  EXPECT_EQ(code(EOPNOTSUPP), ErrorCode::unsupported);
  EXPECT_EQ(code(EIO), ErrorCode::internal);
  EXPECT_EQ(errno_error(ENOENT, "open /x").message(), "open /x: No such file or directory");
}

Result<std::unique_ptr<int>> make(int value) {
  if (value < 0) return Error(ErrorCode::invalid_argument, "negative");
  return std::make_unique<int>(value);
}
Status check(int value) {
  if (value > 10) return Error(ErrorCode::refused, "too large");
  return {};
}
Result<int> twice(int value) {
  TM_TRY(const auto made, make(value));
  TM_DO(check(*made));
  if (value == 5) TM_DO(check(50));
  TM_TRY(const auto again, make(value));
  return *made + *again;
}

TEST(Macros, PassValuesOnAndErrorsUp) {
  EXPECT_EQ(*twice(3), 6);
  EXPECT_EQ(twice(-1).error().message(), "negative");
  EXPECT_EQ(twice(11).error().code(), ErrorCode::refused);
  EXPECT_EQ(twice(5).error().code(), ErrorCode::refused);
}

TEST(Results, AreTestedAndIgnoredByName) {
  EXPECT_TRUE(check(1));
  EXPECT_FALSE(check(11));
  ignore_error(check(11), "the test says so");
  Result<int> value = 4;
  EXPECT_EQ(value.value_or(0), 4);
  value = Error(ErrorCode::internal, "x");
  EXPECT_EQ(value.value_or(0), 0);
}

TEST(ChecksDeathTest, NameThePlaceAndTheExpression) {
  const int one = 1;
  TM_CHECK(one == 1);
  EXPECT_DEATH(TM_CHECK(one == 2), "result_test.cc:[0-9]+: invariant broken: one == 2");
}

}  // namespace
}  // namespace tidemark::test
