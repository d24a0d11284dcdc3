// A month of a store: points by their schedules, retention, collections and the scrub, with outages
// and restarts in between, and at its end exactly what the policies promise.
#include "agent/retention/points.h"
#include "agent/schedule/due.h"
#include "agent/service/scrub.h"
#include "tests/agent/collect_support.h"
#include "tests/agent/retention_support.h"
#include "tests/base/random.h"

namespace tidemark::test {
namespace {

using std::chrono::minutes;

constexpr minutes kStep(10);
constexpr std::chrono::microseconds kGrace = hours(24), kScrubPeriod = hours(7 * 24);

struct Asset {
  std::string name;
  Schedule schedule;
  KeepConfig keep;
  std::uint64_t version = 0;
};

class Month {
 public:
  Month() {
    store_.clock().set(*parse_time("2026-10-01T00:05:00Z", {}));
    Asset hourly;
    hourly.name = "rbd/rbd/hourly";
    hourly.schedule.every = hours(1);
    hourly.schedule.jitter = minutes(20);
    hourly.keep.last = 3;
    hourly.keep.hourly = 12;
    hourly.keep.daily = 7;
    hourly.keep.weekly = 2;
    hourly.keep.locked_for = hours(30);
    Asset nightly;
    nightly.name = "s3/nightly";
    nightly.schedule.calendar = *parse_calendar("02:30 Europe/Berlin");
    nightly.keep.daily = 5;
    nightly.keep.weekly = 4;
    Asset often;
    often.name = "rbd/rbd/often";
    often.schedule.calendar = *parse_calendar("*/4:00");
    often.keep.last = often.keep.monthly = 2;
    assets_ = {hourly, nightly, often};
    open_scrubber();
  }

  // `outages`: times in which no agent runs.
  void run(bool outages) {
    const Timestamp end = store_.clock().now() + hours(30 * 24);
    for (std::size_t step = 0; store_.clock().now() < end; ++step) {
      store_.clock().advance(kStep);
      if (outages && random_.below(400) == 0)
        store_.clock().advance(minutes(random_.below(48 * 60)));
      if (outages && random_.below(300) == 0) restart();
      take_points();
      if (step % 6 == 0) apply_retention();
      if (step % 144 == 100) collect();
      must(scrubber_->step(kScrubPeriod));
    }
  }

  // With all at rest.
  void finish() {
    store_.clock().advance(hours(31));  // the locks have ended
    apply_retention();
    for (int i = 0; i < 3; ++i) {
      store_.clock().advance(kGrace);
      collect();
    }
  }

  void take_points() {
    for (Asset& asset : assets_) {
      const auto newest = must(find_newest(store_.service(), "tokyo", asset.name));
      std::optional<Timestamp> time;
      if (newest) time = newest->point.record.time;
      if (next_due(asset.schedule, asset.name, time, store_.clock().now())->now()) take(asset);
    }
  }

  void take(Asset& asset) {
    // Most of it is as it was.
    const Content content =
        make_content(store_.keys(), 25, asset.name.size() * 1000 + asset.version++, 20);
    const UploadSession session = must(store_.service().begin("tokyo", asset.name, {}));
    must(send(store_.service(), session, content));
    PointRecord record = store_.record(session, "tokyo", asset.name, content.root);
    record.labels[std::string(kKeepLabel)] = keep_text(asset.keep);
    const PointRow row = must(store_.service().commit(session, store_.sealed(std::move(record))));
    RetentionPoint point = point_at(row.point.received, row.point.sequence, asset.keep);
    point.id = row.point.record.id;
    taken_[asset.name].push_back(point);
  }

  void apply_retention() {
    for (const PlannedPoint& point :
         plan_retention(must(store_.service().points("", "")), {}, store_.clock().now()))
      if (!point.decision.keep()) must(store_.service().remove(point.row.point.record.id));
  }

  void collect() {
    CollectRequest request;
    request.grace = kGrace;
    must(store_.service().collect(request));
  }

  void restart() {
    scrubber_.reset();
    store_.reopen();
    open_scrubber();
  }

  void open_scrubber() {
    Scrubber::Options options;
    options.state_file = scratch_.path() / "scrub.json";
    options.on_damage = [](const PackId& id, const Bytes&) { ADD_FAILURE() << id.hex(); };
    scrubber_ = std::make_unique<Scrubber>(store_.service(), store_.clock(), std::move(options));
  }

  std::set<PointId> kept(const std::string& asset) {
    std::set<PointId> ids;
    for (const PointRow& row : must(store_.service().points("tokyo", asset)))
      ids.insert(row.point.record.id);
    return ids;
  }

  Random random_;
  TestService store_;
  Scratch scratch_;
  std::vector<Asset> assets_;
  std::map<std::string, std::vector<RetentionPoint>> taken_;
  std::unique_ptr<Scrubber> scrubber_;
};

void expect_what_was_promised(Month& month) {
  for (const Asset& asset : month.assets_)
    EXPECT_EQ(month.kept(asset.name), oracle(month.taken_[asset.name], asset.keep)) << asset.name;
  TestService& store = month.store_;
  expect_whole(store);
  expect_rebuilt(store);
  EXPECT_EQ(count_blobs(store, "garbage/"), 0U);
  EXPECT_EQ(count_blobs(store, "marks/"), 0U);
  CollectRequest request;
  request.grace = kGrace;
  const CollectReport report = must(store.service().collect(request));
  EXPECT_EQ(report.packs_waiting, 0U);
  EXPECT_EQ(report.packs, count_blobs(store, "packs/"));
}

TEST(MonthTest, EndsWithExactlyThePointsThatThePoliciesPromise) {
  Month month;
  month.run(false);
  // One point in each slot: 720 hours, 30 nights (clocks went back on the 25th), 180 times four
  // hours; the first of each at once.
  EXPECT_NEAR(static_cast<double>(month.taken_["rbd/rbd/hourly"].size()), 720, 1);
  EXPECT_NEAR(static_cast<double>(month.taken_["s3/nightly"].size()), 31, 1);
  EXPECT_NEAR(static_cast<double>(month.taken_["rbd/rbd/often"].size()), 181, 1);
  month.finish();
  expect_what_was_promised(month);
  EXPECT_GE(must(month.store_.service().stats()).points, 15U);
}

TEST(MonthTest, OutagesAndRestartsLeaveNoOtherPoints) {
  Month month;
  month.run(true);
  month.finish();
  expect_what_was_promised(month);
  // No slot has two, whatever was missed.
  for (const Asset& asset : month.assets_) {
    if (!asset.schedule.every) continue;
    const auto moved = jitter_of(asset.name, asset.schedule.jitter);
    std::set<std::int64_t> slots;
    for (const RetentionPoint& point : month.taken_[asset.name])
      EXPECT_TRUE(
          slots.insert((point.received.us - moved.count()) / asset.schedule.every->count()).second);
  }
}

}  // namespace
}  // namespace tidemark::test
