#include "agent/service/collector.h"

#include <algorithm>

#include "agent/service/repacker.h"

namespace tidemark {
namespace {

constexpr std::string_view kGarbagePrefix = "garbage/";
constexpr std::size_t kNodesPerStep = 512;
constexpr std::size_t kReadThreads = 4;
// How many packs go while sessions wait.
constexpr std::size_t kPacksPerDrop = 16;
// Bounds the memory for the rows of what goes; more than that takes another look at the catalog.
constexpr std::uint64_t kRowsPerPass = 1'000'000;

std::string garbage_name(const PackId& id) { return std::string(kGarbagePrefix) + id.hex(); }

std::optional<PackId> pack_of_garbage(std::string_view name) {
  return PackId::from_hex(name.substr(kGarbagePrefix.size()));
}

}  // namespace

void ReachedSet::reserve(std::size_t count) {
  ids_.reserve(count);
  marked_.reserve(count);
}

void ReachedSet::add(const ChunkId& id) {
  Half half;
  std::copy_n(id.bytes.begin(), half.size(), half.begin());
  ids_.push_back(half);
  marked_.push_back(false);
}

std::size_t ReachedSet::find(const ChunkId& id) const {
  Half half;
  std::copy_n(id.bytes.begin(), half.size(), half.begin());
  const auto at = std::ranges::lower_bound(ids_, half);
  return at != ids_.end() && *at == half ? static_cast<std::size_t>(at - ids_.begin()) : kNone;
}

bool ReachedSet::mark(const ChunkId& id) {
  const std::size_t at = find(id);
  if (at == kNone || marked_[at]) return false;
  marked_[at] = true;
  return true;
}

Status Collector::check_stop() const {
  if (request_.on_step) request_.on_step();
  if (request_.stop.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
  return store_.still_owner();
}

Result<CollectReport> Collector::run() {
  const auto started = clock_.uptime();
  TM_DO(store_.check_clock());
  auto done = collect();
  store_.end_tracking();
  if (!done) return std::move(done).error().context("garbage collection");
  report_.duration_ms = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(clock_.uptime() - started).count());
  return report_;
}

Status Collector::collect() {
  if (!request_.dry_run) TM_DO(drop_points());
  // In this order: what a session is handed after the view was taken is noted.
  TM_DO(store_.begin_tracking());
  TM_DO(check_stop());
  TM_TRY(const auto view, store_.catalog().view());
  TM_DO(check_stop());
  TM_DO(load(*view));
  TM_DO(mark_points(*view));
  TM_DO(count_live(*view));
  TM_DO(check_stop());
  TM_DO(read_marks());
  TM_DO(check_stop());
  TM_DO(find_dead());
  TM_DO(check_stop());
  if (request_.dry_run) return repack();
  // A clock that was set while all this went on has its say here.
  TM_DO(store_.check_clock());
  TM_DO(drop_dead(*view));
  TM_DO(drop_orphans());
  TM_DO(forget_marks());
  TM_DO(forget_leftovers());
  return repack();
}

Status Collector::drop_points() {
  std::vector<PointRow> over;
  TM_TRY(const auto view, store_.catalog().view());
  TM_DO(view->each_point([&](const PointRow& row) -> Status {
    if (row.deleted && clock_.now() - *row.deleted >= request_.grace) over.push_back(row);
    return {};
  }));
  if (over.empty()) return {};
  TM_TRY(report_.points_dropped, store_.drop_points(over));
  return {};
}

Status Collector::load(CatalogView& view) {
  TM_DO(view.each_pack([&](const PackRow& row) -> Status {
    packs_[row.number] = {row.id, row.number, row.size_bytes, 0, row.entries, 0, row.damaged};
    numbers_[row.id] = row.number;
    return {};
  }));
  // A little more than there are: some come in meanwhile.
  TM_TRY(const CatalogStats stats, store_.catalog().stats());
  reached_.reserve(static_cast<std::size_t>((stats.chunks + stats.nodes) / 64 * 65 + 64));
  return view.each_chunk([&](const ChunkId& id, std::uint64_t, std::uint32_t) -> Status {
    reached_.add(id);
    return {};
  });
}

Status Collector::mark_points(CatalogView& view) {
  return view.each_point([&](const PointRow& row) -> Status {
    TM_DO(check_stop());
    auto marked = mark_tree(row.point.record);
    if (marked || marked.error().code() != ErrorCode::corruption) return marked;
    return std::move(marked)
        .error()
        .context("point " + row.point.record.id.hex())
        .with_hint("tidemark verify --repair, or delete the point; until then nothing is removed");
  });
}

// Chunks that are missing are that point's damage and hide nothing; a node that is missing hides
// all below it, which would seem to be unreached.
Status Collector::mark_tree(const PointRecord& record) {
  struct Node {
    ChunkId id;
    int level;
  };
  std::vector<Node> stack;
  const auto want = [&](const ChunkId& id, int level) -> Status {
    if (reached_.mark(id)) {
      stack.push_back({id, level});
      return {};
    }
    if (reached_.contains(id)) return {};
    return Error(ErrorCode::corruption, "tree node " + id.hex() + " is missing");
  };
  if (!record.root.id.is_null()) TM_DO(want(record.root.id, record.root.level));
  while (!stack.empty()) {
    TM_DO(check_stop());
    const std::size_t count = std::min(kNodesPerStep, stack.size());
    const std::vector<Node> step(stack.end() - static_cast<std::ptrdiff_t>(count), stack.end());
    stack.resize(stack.size() - count);
    std::vector<ChunkId> ids;
    for (const Node& node : step) ids.push_back(node.id);
    TM_TRY(const auto rows, store_.catalog().find_chunks(ids));
    std::vector<BlobLocation> nodes;
    for (std::size_t i = 0; i < count; ++i) {
      if (!rows[i])
        return Error(ErrorCode::corruption, "tree node " + ids[i].hex() + " is missing");
      nodes.push_back(rows[i]->location);
    }
    TM_TRY(const auto refs, read_node_refs(store_.backend(), nodes, kReadThreads));
    for (std::size_t i = 0; i < count; ++i) {
      if (refs[i].level != step[i].level)
        return Error(ErrorCode::corruption, "tree node " + ids[i].hex() + " is at the wrong level");
      for (const ChunkId& id : refs[i].refs) {
        if (step[i].level == 0)
          reached_.mark(id);
        else
          TM_DO(want(id, step[i].level - 1));
      }
    }
  }
  return {};
}

Status Collector::count_live(CatalogView& view) {
  std::size_t index = 0;
  return view.each_chunk(
      [&](const ChunkId&, std::uint64_t pack, std::uint32_t stored_size) -> Status {
        if (!reached_.is_marked(index++)) return {};
        const auto at = packs_.find(pack);
        if (at == packs_.end())
          return Error(ErrorCode::corruption, "the catalog has a chunk without its pack");
        at->second.live_bytes += stored_size;
        ++at->second.live_entries;
        report_.live_bytes += stored_size;
        return {};
      });
}

Status Collector::read_marks() {
  std::vector<PackId> marked;
  TM_DO(store_.backend().list(kGarbagePrefix, [&](const BlobInfo& blob) -> Status {
    if (const auto id = pack_of_garbage(blob.name)) marked.push_back(*id);
    return {};
  }));
  for (const PackId& id : marked) {
    const auto bytes = read_blob(store_.backend(), garbage_name(id), sizeof(std::int64_t));
    if (!bytes && bytes.error().retryable()) return bytes.error();
    ByteReader reader(bytes ? ByteView(*bytes) : ByteView());
    const Timestamp when{static_cast<std::int64_t>(reader.u64())};
    // Of a mark that cannot be read, or is of the future, the grace begins now.
    const bool good = reader.done() && when <= clock_.now();
    marks_[id] = good ? std::optional(when) : std::nullopt;
  }
  return {};
}

// Every pack of the backend: one that it does not have is no garbage, whatever the catalog says.
Status Collector::find_dead() {
  std::vector<BlobInfo> orphans;
  TM_DO(store_.backend().list("packs/", [&](const BlobInfo& blob) -> Status {
    const auto id = pack_of_blob_name(blob.name);
    if (!id) return {};
    ++report_.packs;
    report_.pack_bytes += blob.size_bytes;
    const auto number = numbers_.find(*id);
    if (number == numbers_.end()) {
      orphans.push_back(blob);
      return {};
    }
    Pack& pack = packs_[number->second];
    return pack.live_bytes > 0 ? Status() : consider(*id, blob.size_bytes, &pack);
  }));
  for (const BlobInfo& blob : orphans) {
    const PackId id = *pack_of_blob_name(blob.name);
    // It may have come in since the view.
    TM_TRY(const auto known, store_.catalog().find_pack(id));
    if (!known) TM_DO(consider(id, blob.size_bytes, nullptr));
  }
  return {};
}

Status Collector::consider(const PackId& id, std::uint64_t size, Pack* pack) {
  TM_DO(check_stop());
  if (store_.is_tracked(id)) return {};
  if (pack == nullptr) ++report_.orphans;
  const auto mark = marks_.find(id);
  const bool marked = mark != marks_.end() && mark->second;
  if (marked && clock_.now() - *mark->second >= request_.grace) {
    if (pack == nullptr)
      dead_orphans_.emplace_back(id, size);
    else
      dead_.push_back(pack);
    return {};
  }
  ++report_.packs_waiting;
  report_.bytes_waiting += size;
  if (!marked && !request_.dry_run) {
    ByteWriter w;
    w.u64(static_cast<std::uint64_t>(clock_.now().us));
    TM_DO(store_.backend().replace(garbage_name(id), w.bytes()));
  }
  marks_.erase(id);  // it stands, and stays
  return {};
}

Status Collector::drop_dead(CatalogView& view) {
  for (std::size_t begin = 0; begin < dead_.size();) {
    std::size_t end = begin;
    for (std::uint64_t rows = 0; end < dead_.size() && (end == begin || rows < kRowsPerPass); ++end)
      rows += dead_[end]->entries;
    TM_DO(drop_some(view, std::span(dead_).subspan(begin, end - begin)));
    begin = end;
  }
  return {};
}

Status Collector::drop_some(CatalogView& view, std::span<Pack* const> packs) {
  std::unordered_map<std::uint64_t, std::vector<ChunkId>> rows;
  for (const Pack* pack : packs) rows[pack->number];
  TM_DO(view.each_chunk([&](const ChunkId& id, std::uint64_t pack, std::uint32_t) -> Status {
    if (const auto at = rows.find(pack); at != rows.end()) at->second.push_back(id);
    return {};
  }));
  for (std::size_t at = 0; at < packs.size(); at += kPacksPerDrop) {
    TM_DO(check_stop());
    const auto some = packs.subspan(at, std::min(kPacksPerDrop, packs.size() - at));
    std::vector<PackId> ids;
    std::vector<ChunkId> chunks;
    std::unordered_map<PackId, std::uint64_t, IdHash> sizes;
    for (const Pack* pack : some) {
      ids.push_back(pack->id);
      sizes[pack->id] = pack->size_bytes;
      const auto& of_pack = rows[pack->number];
      chunks.insert(chunks.end(), of_pack.begin(), of_pack.end());
    }
    TM_TRY(const auto gone, store_.drop_packs(ids, chunks));
    report_.packs_removed += gone.size();
    for (const PackId& id : gone) report_.bytes_removed += sizes[id];
  }
  return {};
}

Status Collector::drop_orphans() {
  for (const auto& [id, size] : dead_orphans_) {
    TM_DO(check_stop());
    TM_TRY(const auto known, store_.catalog().find_pack(id));
    if (known) continue;
    TM_TRY(const auto gone, store_.drop_packs(std::span(&id, 1), {}));
    report_.packs_removed += gone.size();
    report_.bytes_removed += gone.empty() ? 0 : size;
  }
  return {};
}

// Of what went, of what is reached again, and of what is not there.
Status Collector::forget_marks() {
  for (const auto& [id, when] : marks_) {
    TM_DO(check_stop());
    TM_DO(store_.backend().remove(garbage_name(id)));
  }
  return {};
}

// Marks of points that a crash left behind when they were dropped.
Status Collector::forget_leftovers() {
  std::vector<PointId> marked;
  TM_DO(store_.backend().list("marks/", [&](const BlobInfo& blob) -> Status {
    if (const auto id = point_of_mark_name(blob.name, PointMark::deleted)) marked.push_back(*id);
    return {};
  }));
  for (const PointId& id : marked) {
    TM_DO(check_stop());
    TM_DO(store_.forget_deleted_mark(id));
  }
  return {};
}

// Last: it needs none of the others, and what it moves they would not know.
Status Collector::repack() {
  std::vector<const Pack*> packs;
  for (const auto& [number, pack] : packs_) {
    const double wanted = request_.repack * static_cast<double>(pack.size_bytes);
    // A pack of which all is reached has nothing to lose, however much of it is its index.
    if (pack.live_entries > 0 && pack.live_entries < pack.entries && !pack.damaged &&
        static_cast<double>(pack.live_bytes) < wanted)
      packs.push_back(&pack);
  }
  // In the order in which they came: what was written together is read together.
  std::ranges::sort(packs, {}, &Pack::number);
  const StoreKeys* const keys = request_.dry_run ? nullptr : request_.keys.get();
  std::optional<Repacker> repacker;
  if (keys != nullptr) repacker.emplace(store_, *keys, reached_);
  for (const Pack* const pack : packs) {
    TM_DO(check_stop());
    bool taken = false;
    if (repacker && !store_.is_tracked(pack->id)) {
      TM_TRY(taken, repacker->take(pack->id, pack->size_bytes));
    }
    ++(taken ? report_.packs_repacked : report_.packs_to_repack);
    if (taken)
      report_.bytes_repacked += pack->live_bytes;
    else
      report_.bytes_to_repack += pack->size_bytes - pack->live_bytes;
  }
  TM_DO(check_stop());
  return repacker ? repacker->finish() : Status();
}

}  // namespace tidemark
