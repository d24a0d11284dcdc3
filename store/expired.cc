#include "store/expired.h"

#include <algorithm>

#include "base/crypto.h"

namespace tidemark {
namespace {

constexpr std::string_view kMagic("TMEXPR\0\1", 8);
constexpr std::uint16_t kVersion = 1;
constexpr std::size_t kRangeBytes = 8 + 8 + Digest::kSize + Digest::kSize;
constexpr std::size_t kHeaderBytes = 8 + 2 + 6 + 8;
constexpr std::uint64_t kBlobBytesMax = 96 * kMiB;

Error damaged() { return Error(ErrorCode::corruption, "the list of dropped points is damaged"); }

bool adjoin(const ExpiredRange& a, const ExpiredRange& b) { return a.last + 1 == b.first; }

}  // namespace

Status ExpiredPoints::add(std::uint64_t sequence, const Digest& previous, const Digest& hash) {
  if (contains(sequence)) return {};
  const auto at = std::ranges::upper_bound(ranges_, sequence, {}, &ExpiredRange::first);
  const ExpiredRange added{sequence, sequence, previous, hash};
  const bool joins_left = at != ranges_.begin() && adjoin(*std::prev(at), added);
  const bool joins_right = at != ranges_.end() && adjoin(added, *at);
  if ((joins_left && std::prev(at)->hash != previous) || (joins_right && at->previous != hash))
    return Error(ErrorCode::corruption,
                 "point number " + std::to_string(sequence) + " does not link to its neighbours");
  if (joins_left && joins_right) {
    std::prev(at)->last = at->last;
    std::prev(at)->hash = at->hash;
    ranges_.erase(at);
  } else if (joins_left) {
    std::prev(at)->last = sequence;
    std::prev(at)->hash = hash;
  } else if (joins_right) {
    at->first = sequence;
    at->previous = previous;
  } else {
    ranges_.insert(at, added);
  }
  return {};
}

const ExpiredRange* ExpiredPoints::starting_at(std::uint64_t sequence) const {
  const auto at = std::ranges::lower_bound(ranges_, sequence, {}, &ExpiredRange::first);
  return at != ranges_.end() && at->first == sequence ? &*at : nullptr;
}

bool ExpiredPoints::contains(std::uint64_t sequence) const {
  const auto at = std::ranges::upper_bound(ranges_, sequence, {}, &ExpiredRange::first);
  return at != ranges_.begin() && std::prev(at)->last >= sequence;
}

Bytes encode(const ExpiredPoints& points) {
  ByteWriter w;
  w.raw(kMagic);
  w.u16(kVersion);
  w.u32(0);
  w.u16(0);
  w.u64(points.ranges().size());
  for (const ExpiredRange& range : points.ranges()) {
    w.u64(range.first);
    w.u64(range.last);
    w.raw(range.previous.view());
    w.raw(range.hash.view());
  }
  w.raw(sha256(w.bytes()).view());
  return w.take();
}

Result<ExpiredPoints> decode_expired_points(ByteView bytes) {
  ByteReader r(bytes);
  if (as_text(r.raw(kMagic.size())) != kMagic)
    return Error(ErrorCode::corruption, "not a list of dropped points");
  const std::uint16_t version = r.u16();
  if (version > kVersion)
    return Error(ErrorCode::unsupported, "the list of dropped points: made by a newer version");
  if (version == 0 || r.u32() != 0 || r.u16() != 0) return damaged();
  const std::uint64_t count = r.u64();
  if (!r.ok() || count > ExpiredPoints::kRangesMax ||
      bytes.size() != kHeaderBytes + count * kRangeBytes + Digest::kSize)
    return damaged();
  ExpiredPoints points;
  for (std::uint64_t i = 0; i < count; ++i) {
    ExpiredRange range;
    range.first = r.u64();
    range.last = r.u64();
    range.previous = Digest::read(r);
    range.hash = Digest::read(r);
    const bool ordered = range.first > 0 && range.first <= range.last &&
                         (points.ranges_.empty() || points.ranges_.back().last + 1 < range.first);
    if (!ordered) return damaged();
    points.ranges_.push_back(range);
  }
  if (Digest::read(r) != sha256(bytes.first(bytes.size() - Digest::kSize)) || !r.done())
    return damaged();
  return points;
}

Result<ExpiredPoints> read_expired_points(Backend& backend) {
  const auto bytes = read_blob(backend, ExpiredPoints::kBlobName, kBlobBytesMax);
  if (!bytes && bytes.error().code() == ErrorCode::not_found) return ExpiredPoints();
  if (!bytes) return bytes.error();
  auto points = decode_expired_points(*bytes);
  if (points || points.error().code() != ErrorCode::corruption) return points;
  return std::move(points).error().with_hint(
      "move the blob 'expired' out of the store; a rebuild then names the numbers that are gone");
}

}  // namespace tidemark
