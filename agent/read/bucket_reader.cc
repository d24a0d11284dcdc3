#include "agent/read/bucket_reader.h"

#include <algorithm>
#include <cstring>

namespace tidemark {

const ObjectEntry* KeyVersions::current() const {
  const ObjectEntry& newest = versions.front();
  return newest.delete_marker ? nullptr : &newest;
}

KeyCursor::KeyCursor(TreeNodes& nodes, const TreeRoot& root, BucketSelection selection)
    : cursor_(nodes, root),
      selection_(std::move(selection)),
      first_(selection_.one_key() ? selection_.key : selection_.prefix) {}

bool KeyCursor::selected(const ObjectEntry& entry) const {
  return selection_.version.empty() || entry.place.version_id == selection_.version;
}

Status KeyCursor::start() {
  started_ = true;
  return cursor_.seek(object_tree_prefix(first_));
}

Result<std::optional<KeyVersions>> KeyCursor::next() {
  if (!started_) TM_DO(start());
  KeyVersions found;
  while (cursor_.valid()) {
    TM_TRY(ObjectEntry entry, decode_object(cursor_.entry()));
    if (!entry.place.key.starts_with(first_)) break;
    if (selection_.one_key() && entry.place.key != selection_.key) break;
    if (!found.versions.empty() && entry.place.key != found.key) break;
    found.key = entry.place.key;
    if (selected(entry)) found.versions.push_back(std::move(entry));
    TM_DO(cursor_.next());
  }
  if (found.versions.empty()) return std::optional<KeyVersions>();
  return std::optional(std::move(found));
}

Result<std::unique_ptr<BucketPoint>> BucketPoint::open(PointStore& store, const StoreKeys& keys,
                                                       PointRow row) {
  std::unique_ptr<BucketPoint> point(new BucketPoint(store, keys, std::move(row)));
  TM_TRY(point->meta_, read_bucket_meta(point->row_.point.record, keys));
  return point;
}

Result<bool> BucketPoint::has_key(const std::string& key) {
  BucketSelection selection;
  selection.key = key;
  KeyCursor cursor = keys(std::move(selection));
  TM_TRY(const auto found, cursor.next());
  return found.has_value();
}

ObjectBytes::ObjectBytes(BlobReader& reader, const ObjectEntry& entry, Bytes chunk)
    : reader_(reader), entry_(entry), chunk_(std::move(chunk)) {
  if (entry_.chunks.size() == 1) loaded_ = 0;
}

Status ObjectBytes::check_end() {
  if (hash_.finish() != entry_.sha256)
    return Error(ErrorCode::corruption, "the object's bytes are not those that were captured");
  return {};
}

Status ObjectBytes::check_all() {
  if (entry_.size_bytes == 0) return check_end();
  for (std::uint64_t offset = 0; offset < entry_.size_bytes;) {
    TM_TRY(const ByteView bytes, at(offset));
    offset += bytes.size();
  }
  return {};
}

Status ObjectBytes::load(std::size_t chunk) {
  if (loaded_ == chunk) return {};
  loaded_.reset();
  TM_TRY(auto blobs, reader_.fetch_blobs(std::span(&entry_.chunks[chunk], 1)));
  chunk_ = std::move(blobs.front());
  loaded_ = chunk;
  return {};
}

Status ObjectBytes::hash(std::uint64_t offset, ByteView bytes) {
  const std::uint64_t end = offset + bytes.size();
  if (end > hashed_) {
    hash_.update(bytes.subspan(static_cast<std::size_t>(hashed_ - offset)));
    hashed_ = end;
    if (hashed_ == entry_.size_bytes) status_ = check_end();
  }
  return status_;
}

Result<ByteView> ObjectBytes::at(std::uint64_t offset) {
  auto found = find(offset);
  failed_ = failed_ || !found;
  return found;
}

Result<ByteView> ObjectBytes::find(std::uint64_t offset) {
  const bool inside = entry_.chunks.empty();
  const std::uint64_t start = inside ? 0 : offset / kObjectChunkBytes * kObjectChunkBytes;
  if (!inside) TM_DO(load(static_cast<std::size_t>(offset / kObjectChunkBytes)));
  const ByteView bytes = inside ? ByteView(entry_.inline_data) : ByteView(chunk_);
  const std::uint64_t expected =
      inside ? entry_.size_bytes
             : std::min<std::uint64_t>(kObjectChunkBytes, entry_.size_bytes - start);
  if (bytes.size() != expected || hashed_ < start)
    return Error(ErrorCode::corruption, "a chunk is not as long as the object says");
  TM_DO(hash(start, bytes));
  return bytes.subspan(static_cast<std::size_t>(offset - start));
}

Result<std::size_t> ObjectBody::read(ByteSpan into) {
  if (position_ == length_ || into.empty()) return std::size_t{0};
  TM_TRY(const ByteView bytes, bytes_.at(offset_ + position_));
  const std::size_t size =
      std::min({into.size(), bytes.size(), static_cast<std::size_t>(length_ - position_)});
  std::memcpy(into.data(), bytes.data(), size);
  position_ += size;
  return size;
}

}  // namespace tidemark
