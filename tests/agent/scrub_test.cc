// The scrub: everything is read within its period, damage is found and set aside, and nothing else.
#include "agent/service/scrub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/agent/service_support.h"
#include "tests/base/random.h"

namespace tidemark::test {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr microseconds kPeriod = hours(24);

class ScrubTest : public ::testing::Test {
 protected:
  ScrubTest() {
    for (std::uint64_t seed = 1; seed <= 6; ++seed)
      contents_.push_back(make_content(store_.keys(), 60, seed));
    for (const Content& content : contents_) store_.add_point("tokyo", "rbd/rbd/vm", content);
    start();
  }

  std::filesystem::path state() const { return scratch_.path() / "scrub.json"; }
  // As a restart of the process.
  void start(bool deep = false) {
    Scrubber::Options options;
    options.state_file = state();
    if (deep) options.keys = std::make_shared<const StoreKeys>(store_.keys().clone());
    options.on_damage = [this](const PackId& id, const Bytes&) { damaged_.push_back(id); };
    scrubber_ = std::make_unique<Scrubber>(store_.service(), store_.clock(), std::move(options));
  }
  void run(microseconds time, microseconds step = minutes(1)) {
    for (microseconds passed{0}; passed < time; passed += step) {
      must(scrubber_->step(kPeriod));
      store_.clock().advance(step);
    }
  }
  std::uint64_t all_bytes() { return must(store_.service().stats()).pack_bytes; }
  const PackId& some_pack() {
    const Content& content = contents_[random_.below(contents_.size())];
    return content.packs[random_.below(content.packs.size())].id;
  }

  Random random_;
  TestService store_;
  Scratch scratch_;
  std::vector<Content> contents_;
  std::vector<PackId> damaged_;
  std::unique_ptr<Scrubber> scrubber_;
};

TEST_F(ScrubTest, EverythingIsReadWithinThePeriodAndEvenly) {
  const Timestamp began = store_.clock().now();
  run(kPeriod / 2);
  EXPECT_NEAR(scrubber_->status().progress(), 0.55, 0.15);
  EXPECT_EQ(scrubber_->status().completed, began);
  run(kPeriod / 2);
  const ScrubStatus status = scrubber_->status();
  EXPECT_EQ(status.total_read_bytes, all_bytes());
  EXPECT_GT(status.completed, began + kPeriod / 2);
  EXPECT_LE(status.completed, began + kPeriod);
  EXPECT_EQ(status.unreadable_packs, 0U);
  EXPECT_THAT(damaged_, IsEmpty());
  run(kPeriod);
  EXPECT_EQ(scrubber_->status().total_read_bytes, 2 * all_bytes());
}

TEST_F(ScrubTest, ARoundGoesOnAfterARestartAndCatchesUp) {
  run(kPeriod / 2);
  const std::uint64_t first = scrubber_->status().bytes_read;
  EXPECT_GT(first, 0U);
  store_.clock().advance(kPeriod);  // nothing ran
  start();
  const Timestamp again = store_.clock().now();
  while (scrubber_->status().completed < again) run(minutes(1));
  EXPECT_LE(store_.clock().now(), again + kPeriod / 5);
  // What was read since the state was written is read again: a minute's worth, less than a pack.
  EXPECT_LE(scrubber_->status().total_read_bytes, all_bytes() - first + all_bytes() / 4);
}

TEST_F(ScrubTest, DamageIsSetAsideAndNothingElse) {
  for (int round = 0; round < 8; ++round) {
    const PackId id = some_pack();
    if (must(store_.service().catalog().find_pack(id))->damaged) continue;
    const std::string name = pack_blob_name(id);
    const std::uint64_t size = must(store_.backend()->size(name));
    switch (round % 3) {
      case 0:
        store_.medium().flip(name, random_.below(size));
        break;
      case 1:
        store_.medium().truncate(name, random_.below(size));
        break;
      default:
        must(store_.backend()->remove(name));
    }
    damaged_.clear();
    run(2 * kPeriod);  // it may have been read in this round already
    EXPECT_THAT(damaged_, ElementsAre(id));
    EXPECT_TRUE(must(store_.service().catalog().find_pack(id))->damaged);
  }
  EXPECT_EQ(scrubber_->status().unreadable_packs, 0U);
}

// Figure 14: what was lost is sent again with the next backup of the same content, and never taken
// for present.
TEST_F(ScrubTest, WhatWasDamagedIsWantedAgain) {
  for (int round = 0; round < 20; ++round) {
    const Content& content = contents_[random_.below(contents_.size())];
    const PackWriter::Pack& pack = content.packs[random_.below(content.packs.size())];
    store_.medium().flip(pack_blob_name(pack.id), random_.below(pack.bytes.size()));
    run(2 * kPeriod);
    // An increment that sends nothing, for nothing has changed, is not believed.
    UploadSession session = must(store_.service().begin("tokyo", "rbd/rbd/vm", {}));
    const auto record = [&] {
      return store_.sealed(store_.record(session, "tokyo", "rbd/rbd/vm", content.root));
    };
    EXPECT_EQ(code_of(store_.service().commit(session, record())), ErrorCode::corruption);
    must(store_.service().abandon(session));
    // A full one is asked for what is missing.
    store_.add_point("tokyo", "rbd/rbd/vm", content);
    read_all(store_.service(), store_.keys(), content.root);
  }
  EXPECT_EQ(damaged_.size(), 20U);
  EXPECT_EQ(store_.service().catalog().damaged_packs(), 0U);
}

// A pack as a source with a fault would have sent it: its name is that of its bytes, and one blob
// is not what its id says.
PackWriter::Pack pack_with_wrong_blob(const StoreKeys& keys, BlobKind kind) {
  PackWriter writer(keys);
  const auto add = [&](const char* text, const char* said) {
    auto blob = must(encode_blob(keys.chunk_id(as_bytes(said)), kind, as_bytes(text), 0, 1));
    writer.add(blob);
  };
  if (kind == BlobKind::chunk) {
    add("whole", "whole");
    add("one thing", "another");
  } else {
    add("no node at all", "no node at all");
  }
  return writer.finish();
}

TEST_F(ScrubTest, WithTheKeyWrongContentUnderARightNameIsDamage) {
  for (const BlobKind kind : {BlobKind::chunk, BlobKind::node}) {
    const PackWriter::Pack wrong = pack_with_wrong_blob(store_.keys(), kind);
    must(store_.service().add_saved(wrong.id, wrong.bytes, wrong.entries));
    damaged_.clear();
    start();
    EXPECT_FALSE(scrubber_->status().deep);
    run(2 * kPeriod);
    EXPECT_THAT(damaged_, IsEmpty());  // its bytes are as they were sent
    start(true);
    EXPECT_TRUE(scrubber_->status().deep);
    run(2 * kPeriod);
    EXPECT_THAT(damaged_, ElementsAre(wrong.id));
    EXPECT_TRUE(must(store_.service().catalog().find_pack(wrong.id))->damaged);
    EXPECT_EQ(scrubber_->status().unreadable_packs, 0U);
  }
}

TEST_F(ScrubTest, ADeepScrubFindsNothingInWhatIsWhole) {
  start(true);
  run(2 * kPeriod);
  EXPECT_GE(scrubber_->status().total_read_bytes, all_bytes());
  EXPECT_THAT(damaged_, IsEmpty());
  EXPECT_EQ(store_.service().catalog().damaged_packs(), 0U);
}

TEST_F(ScrubTest, WhatCannotBeReadIsCountedAndLeft) {
  Fault fault;
  fault.op = BackendOp::read;
  fault.kind = FaultKind::error;
  fault.calls = 1'000'000;
  store_.faults().add(fault);
  run(kPeriod);
  EXPECT_THAT(damaged_, IsEmpty());
  EXPECT_EQ(scrubber_->status().unreadable_packs, must(store_.service().stats()).packs);
  EXPECT_EQ(store_.service().catalog().damaged_packs(), 0U);
}

TEST_F(ScrubTest, PacksThatGoMeanwhileAreNoDamage) {
  run(hours(1));
  for (const PointRow& row : must(store_.service().points("", "")))
    must(store_.service().remove(row.point.record.id));
  store_.add_point("tokyo", "rbd/rbd/vm", Content{});
  CollectRequest request;
  request.grace = seconds(1);
  for (int i = 0; i < 3; ++i) {
    store_.clock().advance(seconds(1));
    must(store_.service().collect(request));
  }
  run(kPeriod);
  EXPECT_THAT(damaged_, IsEmpty());
  EXPECT_EQ(store_.service().catalog().damaged_packs(), 0U);
}

TEST_F(ScrubTest, AClockThatIsSetStopsNothing) {
  run(kPeriod + minutes(1));
  for (const microseconds jump : {microseconds(-hours(1000)), microseconds(hours(5000))}) {
    store_.clock().jump(jump);
    run(kPeriod + minutes(1));
  }
  EXPECT_GE(scrubber_->status().total_read_bytes, 3 * all_bytes());
}

TEST_F(ScrubTest, AStateThatCannotBeUnderstoodBeginsAnew) {
  for (const char* text :
       {"", "[]", "{}", "nonsense", R"({"version":2,"last":"00"})", R"({"version":1,"last":7})"}) {
    std::ofstream(state()) << text;
    start();
    run(kPeriod);
    EXPECT_EQ(scrubber_->status().total_read_bytes, all_bytes()) << text;
  }
}

// The form of the file, which an agent of another version finds.
TEST_F(ScrubTest, TheStateOfVersion1IsUnderstood) {
  const std::string last = "7f" + std::string(62, 'f');
  std::ofstream(state()) << R"({"version":1,"round_began":"2023-11-14T22:00:00Z",)"
                         << R"("completed":"2023-11-13T22:00:00Z","last":")" << last << R"(",)"
                         << R"("bytes_read":1000,"unreadable_packs":2,"round_over":0})";
  start();
  must(scrubber_->step(kPeriod));
  const ScrubStatus status = scrubber_->status();
  EXPECT_EQ(format_time(status.round_began), "2023-11-14T22:00:00Z");
  EXPECT_EQ(format_time(status.completed), "2023-11-13T22:00:00Z");
  EXPECT_EQ(status.unreadable_packs, 2U);
  EXPECT_GE(status.bytes_read, 1000U);
  std::uint64_t behind = 0;
  must(store_.service().catalog().each_pack([&](const PackRow& pack) -> Status {
    if (pack.id.hex() > last) behind += pack.size_bytes;
    return {};
  }));
  EXPECT_EQ(status.bytes_read - 1000 + status.bytes_left, behind);
}

}  // namespace
}  // namespace tidemark::test
