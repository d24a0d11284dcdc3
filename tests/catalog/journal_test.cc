#include "support.h"

namespace tidemark {
namespace {

class JournalTest : public ::testing::Test {
 protected:
  void reopen() {
    catalog_.reset();
    catalog_ = open_catalog(directory_.path() / "catalog");
  }
  TempDir directory_;
  std::unique_ptr<Catalog> catalog_ = open_catalog(directory_.path() / "catalog");
};

TEST_F(JournalTest, EntriesAreLinkedAndContinueAfterReopening) {
  EXPECT_TRUE(journal(*catalog_).empty());
  for (int i = 0; i < 6; ++i) {
    must(catalog_->append_journal("note", "{\"i\":" + std::to_string(i) + "}", Timestamp{i}));
    reopen();
  }
  const auto entries = journal(*catalog_);
  ASSERT_EQ(entries.size(), 6U);
  EXPECT_TRUE(entries[0].previous.is_null());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    EXPECT_EQ(entries[i].sequence, i + 1);
    EXPECT_EQ(entries[i].time.us, static_cast<std::int64_t>(i));
    EXPECT_EQ(entries[i].kind, "note");
    EXPECT_EQ(entries[i].text, "{\"i\":" + std::to_string(i) + "}");
    if (i > 0) {
      EXPECT_EQ(entries[i].previous, entries[i - 1].hash);
    }
  }
}

// Evidence is linked to an entry by what the append says of it.
TEST_F(JournalTest, TheEntryThatWasWrittenIsTold) {
  must(catalog_->append_journal("note", "first", {7}));
  const JournalEntry told = must(catalog_->append_journal("drill", "{}", {8}));
  reopen();
  const auto entries = journal(*catalog_);
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[1].sequence, told.sequence);
  EXPECT_EQ(entries[1].time.us, told.time.us);
  EXPECT_EQ(entries[1].kind, told.kind);
  EXPECT_EQ(entries[1].text, told.text);
  EXPECT_EQ(entries[1].previous, told.previous);
  EXPECT_EQ(entries[1].hash, told.hash);
  EXPECT_EQ(told.previous, entries[0].hash);
}

TEST_F(JournalTest, StartsWhereAsked) {
  for (int i = 0; i < 4; ++i) must(catalog_->append_journal("note", "", Timestamp{i}));
  EXPECT_EQ(journal(*catalog_, 0).size(), 4U);
  EXPECT_EQ(journal(*catalog_, 3).front().sequence, 3U);
  EXPECT_EQ(journal(*catalog_, 4).size(), 1U);
  EXPECT_TRUE(journal(*catalog_, 5).empty());
  EXPECT_TRUE(journal(*catalog_, 50).empty());
}

TEST_F(JournalTest, RefusesWhatItCannotHold) {
  EXPECT_EQ(code_of(catalog_->append_journal("", "{}", {1})), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(catalog_->append_journal(std::string(65, 'k'), "{}", {1})),
            ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(catalog_->append_journal("k", std::string((1 << 20) + 1, 't'), {1})),
            ErrorCode::invalid_argument);
  must(catalog_->append_journal(std::string(64, 'k'), std::string(1 << 20, 't'), {1}));
  reopen();
  EXPECT_EQ(journal(*catalog_).size(), 1U);
}

}  // namespace
}  // namespace tidemark
