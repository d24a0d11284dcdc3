#include "snapshot/bucket/object.h"

#include <algorithm>
#include <chrono>

#include "base/crypto.h"

namespace tidemark {
namespace {

bool is_moved(const Error& error) {
  return error.code() == ErrorCode::not_found || error.code() == ErrorCode::refused;
}

std::string text_between(std::string_view text, std::string_view begin, std::string_view end) {
  const auto from = text.find(begin);
  if (from == text.npos) return {};
  const auto to = text.find(end, from);
  if (to == text.npos) return {};
  return std::string(text.substr(from + begin.size(), to - from - begin.size()));
}

class Reading {
 public:
  Reading(const s3::Client& client, const std::string& bucket, const ObjectEntry& listed,
          const ChunkSink& sink, std::stop_token stop)
      : client_(client), bucket_(bucket), sink_(sink), entry_(listed) {
    name_ = {listed.place.key, listed.place.version_id};
    modified_ = listed.place.modified;
    call_.stop = std::move(stop);
  }

  // False where it moved.
  Result<bool> run();
  ObjectEntry take() { return std::move(entry_); }

 private:
  bool is_listed_one(const s3::ObjectInfo& info) const;
  Result<bool> is_touched_one(const s3::ObjectInfo& info, const std::string& acl);
  void take_info(const s3::ObjectInfo& info);
  Status read_bytes(s3::ObjectReader& reader);
  Status read_chunk(s3::ObjectReader& reader, ByteSpan into);
  Result<bool> read_tags_and_parts(const s3::ObjectInfo& info);

  const s3::Client& client_;
  const std::string& bucket_;
  const ChunkSink& sink_;
  ObjectEntry entry_;
  s3::ObjectName name_;
  Timestamp modified_;    // what answers have to say of its time
  bool touched_ = false;  // that is not the listed one
  s3::Call call_;
  Sha256 hash_;
};

// The ACL is asked for before the bytes: the listing and the conditional read agree about the
// object, so that what lies between them is of the same one.
Result<bool> Reading::run() {
  if (entry_.delete_marker) return true;
  if (entry_.size_bytes > kObjectBytesMax)
    return Error(ErrorCode::unsupported, "it is larger than " + format_bytes(kObjectBytesMax) +
                                             ", the most that can be kept");
  TM_TRY(const std::string acl, client_.acl(bucket_, name_, call_));
  if (!is_private_acl(acl, entry_.owner)) entry_.acl = acl;
  s3::GetOptions options;
  options.version_id = name_.version_id;
  options.if_match = entry_.etag;
  TM_TRY(const auto reader, client_.get(bucket_, name_.key, options, call_));
  const s3::ObjectInfo info = reader->info();
  if (!is_listed_one(info)) {
    TM_TRY(const bool touched, is_touched_one(info, acl));
    if (!touched) return false;
  }
  take_info(info);
  TM_DO(read_bytes(*reader));
  entry_.sha256 = hash_.finish();
  return read_tags_and_parts(info);
}

// Headers tell the time to the second, listings further.
bool Reading::is_listed_one(const s3::ObjectInfo& info) const {
  const auto apart = info.last_modified - modified_;
  return info.etag == entry_.etag && info.size == entry_.size_bytes &&
         std::chrono::abs(apart) <= std::chrono::seconds(1);
}

// radosgw 16 keeps a null version where it keeps the order of the key's versions, and can give it
// the time at which those changed: the listing and the object then disagree for ever. Such a one is
// the listed one where its bytes are, and where neither its ACL nor that time changes while it is
// read.
Result<bool> Reading::is_touched_one(const s3::ObjectInfo& info, const std::string& acl) {
  modified_ = info.last_modified;
  touched_ = true;
  if (name_.version_id != "null" || !is_listed_one(info)) return false;
  TM_TRY(const std::string again, client_.acl(bucket_, name_, call_));
  return again == acl;
}

void Reading::take_info(const s3::ObjectInfo& info) {
  entry_.storage_class = info.storage_class;
  entry_.headers = {info.content_headers.begin(), info.content_headers.end()};
  entry_.metadata = {info.metadata.begin(), info.metadata.end()};
  if (info.retention || info.legal_hold.value_or(false)) {
    entry_.lock.emplace();
    if (info.retention) {
      entry_.lock->mode = info.retention->mode;
      entry_.lock->until = info.retention->until;
    }
    entry_.lock->legal_hold = info.legal_hold.value_or(false);
  }
}

Status Reading::read_chunk(s3::ObjectReader& reader, ByteSpan into) {
  std::size_t have = 0;
  while (have < into.size()) {
    TM_TRY(const std::size_t got, reader.read(into.subspan(have)));
    if (got == 0) return Error(ErrorCode::corruption, "an object is shorter than it was said");
    have += got;
  }
  hash_.update(into);
  return {};
}

Status Reading::read_bytes(s3::ObjectReader& reader) {
  if (reader.length() != entry_.size_bytes)
    return Error(ErrorCode::corruption, "an object has another length than was listed");
  if (entry_.size_bytes <= kInlineBytesMax) {
    entry_.inline_data.resize(static_cast<std::size_t>(entry_.size_bytes));
    TM_DO(read_chunk(reader, entry_.inline_data));
  } else {
    for (std::uint64_t at = 0; at < entry_.size_bytes; at += kObjectChunkBytes) {
      const auto size = static_cast<std::size_t>(
          std::min<std::uint64_t>(kObjectChunkBytes, entry_.size_bytes - at));
      TM_DO(sink_.reserve(size));
      Bytes data(size);
      if (auto read = read_chunk(reader, data); !read) {
        sink_.release(size);
        return read;
      }
      entry_.chunks.push_back(sink_.put(std::move(data)));
    }
  }
  // Only the end tells that all was right: length, digest.
  std::uint8_t none = 0;
  TM_TRY(const std::size_t more, reader.read({&none, 1}));
  if (more != 0) return Error(ErrorCode::corruption, "an object is longer than it was said");
  return {};
}

// Both are rare, and cost a look at the object behind them: they might be of the next one.
Result<bool> Reading::read_tags_and_parts(const s3::ObjectInfo& info) {
  const bool tagged = info.headers.contains("x-amz-tagging-count");
  const bool in_parts = entry_.etag.find('-') != std::string::npos;
  if (tagged) {
    TM_TRY(const s3::Tags tags, client_.tags(bucket_, name_, call_));
    entry_.tags = {tags.begin(), tags.end()};
  }
  if (in_parts) {
    TM_TRY(const s3::PartSizes parts, client_.part_sizes(bucket_, name_, call_));
    std::uint64_t sum = 0;
    if (parts)
      for (const std::uint64_t size : *parts) sum += size;
    if (parts && sum == entry_.size_bytes) entry_.part_sizes = *parts;
  }
  if (!tagged && !in_parts && !touched_) return true;
  TM_TRY(const s3::ObjectInfo now, client_.head(bucket_, name_.key, name_.version_id, call_));
  return is_listed_one(now);
}

}  // namespace

bool is_private_acl(const std::string& document, std::string& owner) {
  const std::string owner_part = text_between(document, "<Owner>", "</Owner>");
  owner = text_between(owner_part, "<ID>", "</ID>");
  const std::string grant = text_between(document, "<Grant>", "</Grant>");
  const auto first = document.find("<Grant>");
  return !owner.empty() && first != std::string::npos &&
         document.find("<Grant>", first + 1) == std::string::npos &&
         text_between(grant, "<ID>", "</ID>") == owner &&
         text_between(grant, "<Permission>", "</Permission>") == "FULL_CONTROL";
}

Result<std::optional<ObjectEntry>> read_object(const s3::Client& client, const std::string& bucket,
                                               const ObjectEntry& listed, const ChunkSink& sink,
                                               std::stop_token stop) {
  Reading reading(client, bucket, listed, sink, std::move(stop));
  const auto there = reading.run();
  if (!there && is_moved(there.error())) return std::optional<ObjectEntry>();
  if (!there) return there.error();
  if (!*there) return std::optional<ObjectEntry>();
  ObjectEntry entry = reading.take();
  // A server may send more than an entry can hold.
  const TreeEntry coded = encode_object(entry);
  if (coded.value.size() > kTreeValueBytesMax || !decode_object(coded))
    return Error(ErrorCode::unsupported, "headers, tags or ACL are larger than can be kept");
  return std::optional(std::move(entry));
}

}  // namespace tidemark
