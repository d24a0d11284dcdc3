// Reads every pack of a store again and again, so that damage is found while it can be mended.
//
// A round reads all packs, in the order of their ids, evenly over its period; what was missed while
// no agent ran is caught up on. How far a round has come outlives the process. A pack whose bytes
// are not what its name says is set aside: what it holds counts as absent, so that the next backups
// of the assets concerned send it again. A pack that could not be read, for whatever reason but
// damage, is left as it is and counted.
//
// With the store's key the scrub is deep: every blob of a pack is opened as well and held against
// its id, and nodes are decoded, so that a pack that was wrong before it was named is found too.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <vector>

#include "agent/service/store_service.h"

namespace tidemark {

struct ScrubStatus {
  Timestamp round_began;
  // When the last complete round ended; before the first one: when that began.
  Timestamp completed;
  std::uint64_t bytes_read = 0, bytes_left = 0;  // in this round
  std::uint64_t total_read_bytes = 0;            // by this process
  std::uint64_t unreadable_packs = 0;            // in this round
  bool deep = false;                             // blobs are opened, too
  double progress() const;                       // 0 to 1
};

class Scrubber {
 public:
  struct Options {
    std::filesystem::path state_file;
    std::shared_ptr<const StoreKeys> keys;  // the store's; null: packs are not opened
    // Called for each pack that was just set aside, with what could be read of it. May be empty.
    std::function<void(const PackId&, const Bytes&)> on_damage;
    std::stop_token stop;
  };

  // `store` and `clock` must outlive it.
  Scrubber(StoreService& store, Clock& clock, Options options)
      : store_(store), clock_(clock), options_(std::move(options)) {
    status_.deep = options_.keys != nullptr;
  }

  // Reads what is due by now; to be called every second or so, by one thread. Errors are those of
  // the catalog and of the state's file.
  Status step(std::chrono::microseconds period);
  // Safe from any thread.
  ScrubStatus status() const;

 private:
  struct Left {
    PackId id;
    std::uint64_t size_bytes = 0;
  };

  Status open();
  Status begin_round();
  // What is left of the round: packs behind `last_`.
  Status list_left();
  // When the round is to end, by uptime: what was missed is spread over a part of the period.
  void set_deadline(std::chrono::microseconds period);
  double rate() const;  // bytes per microsecond
  Status check(const Left& pack);
  // What is wrong with a pack's bytes.
  Status check_bytes(const PackId& id, ByteView bytes) const;
  Status save();

  StoreService& store_;
  Clock& clock_;
  const Options options_;
  bool open_ = false;
  PackId last_;  // read in this round, as were all before it
  bool round_over_ = false;
  std::vector<Left> left_;  // the next one last
  double credit_bytes_ = 0;
  std::chrono::microseconds period_{}, deadline_{};  // zero: not set yet
  std::chrono::microseconds stepped_{}, saved_{};
  mutable std::mutex mutex_;
  ScrubStatus status_;  // guarded by mutex_; written by step()'s thread only
};

}  // namespace tidemark
