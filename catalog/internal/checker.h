// Reads every row of one snapshot of the catalog and holds the indexes against each other.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "catalog/internal/rocks_catalog.h"

namespace tidemark::catalog {

// Used once, by one thread. Memory: some 150 bytes for each pack and each point; keys and hashes
// are remembered by 8 bytes of them, which is enough against accidents.
class Checker {
 public:
  explicit Checker(Database& database) : database_(database), snapshot_(database.snapshot()) {}

  Result<std::vector<std::string>> run();

 private:
  using RowCheck = Status (Checker::*)(std::string_view key, std::string_view value);
  struct Pack {
    PackId id;
    StoredPack row;
  };
  struct Point {
    std::uint64_t sequence = 0;
    std::uint64_t time_key = 0;
    bool timed = false, ordered = false;  // seen in the index of times, of sequence numbers
  };
  // A point's place in the chain of records.
  struct ChainLink {
    std::uint64_t sequence = 0, hash = 0, previous = 0;
  };

  Status scan(Table table, std::string_view prefix, RowCheck check);
  void find(std::string finding);

  // One per kind of row. An error they return is a finding about that row.
  Status check_identity(std::string_view key, std::string_view value);
  Status check_state(std::string_view key, std::string_view value);
  Status check_damaged(std::string_view key, std::string_view value);
  Status check_fence(std::string_view key, std::string_view value);
  Status check_journal(std::string_view key, std::string_view value);
  Status check_pin(std::string_view key, std::string_view value);
  Status check_pack_number(std::string_view key, std::string_view value);
  Status check_pack(std::string_view key, std::string_view value);
  Status check_sequence(std::string_view key, std::string_view value);
  Status check_point(std::string_view key, std::string_view value);
  Status check_session(std::string_view key, std::string_view value);
  Status check_time(std::string_view key, std::string_view value);
  Status check_chunk(std::string_view key, std::string_view value);
  Status check_unknown(std::string_view key, std::string_view value);

  void check_pack_links();
  void check_point_links();
  void check_chain();
  void check_counts();

  Database& database_;
  const Database::Snapshot snapshot_;
  std::vector<std::string> findings_;
  std::uint64_t findings_total_ = 0;

  std::optional<Identity> identity_;
  std::optional<State> state_;
  CatalogStats counted_;
  std::unordered_map<std::uint64_t, Pack> packs_;  // by number
  std::unordered_map<std::uint64_t, PackId> pack_numbers_;
  std::unordered_set<std::uint64_t> damaged_;
  std::unordered_map<PointId, Point, IdHash> points_;
  std::vector<ChainLink> chain_;
  std::unordered_map<std::string, std::uint64_t> fences_;  // by key
  std::unordered_set<SessionId, IdHash> sessions_;
  std::uint64_t journal_sequence_ = 0;
  Digest journal_hash_;
};

}  // namespace tidemark::catalog
