#include "agent/restore/object_writer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>

#include "agent/read/bucket_diff.h"
#include "transport/s3/md5.h"

namespace tidemark {
namespace {

constexpr std::uint64_t kSinglePutMax = 64 * kMiB;
constexpr std::uint64_t kPartBytes = 16 * kMiB;
constexpr std::uint64_t kPartBytesMin = 5 * kMiB, kPartBytesMax = 5 * kGiB;
constexpr std::size_t kPartsMax = 10'000;
// What clients cut uploads into, in MiB: aws and s3cmd, rclone, ours, and round numbers.
constexpr std::array kUsualPartMiB = {8, 16, 5, 15, 10, 64, 20, 25, 32, 50, 100, 128, 256, 512};
constexpr int kAttemptsMax = 6;
constexpr std::chrono::milliseconds kBackoff{200};

// The number behind the dash in the ETag of an object made of parts; 0 for any other.
std::uint64_t parts_in(const std::string& etag) {
  const auto dash = etag.find('-');
  if (dash == std::string::npos) return 0;
  std::uint64_t count = 0;
  const char* const end = etag.data() + etag.size();
  const auto [at, error] = std::from_chars(etag.data() + dash + 1, end, count);
  return error == std::errc() && at == end && count <= kPartsMax ? count : 0;
}

std::vector<std::uint64_t> cut(std::uint64_t size, std::uint64_t part) {
  std::vector<std::uint64_t> sizes;
  for (std::uint64_t at = 0; at < size; at += part) sizes.push_back(std::min(part, size - at));
  return sizes;
}

bool fits(const std::vector<std::uint64_t>& sizes, std::uint64_t size) {
  if (sizes.size() < 2 || sizes.size() > kPartsMax) return false;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const bool last = i + 1 == sizes.size();
    if (sizes[i] > kPartBytesMax || sizes[i] < (last ? 1 : kPartBytesMin)) return false;
    sum += sizes[i];
  }
  return sum == size;
}

// What a GET shows of an object beside its bytes.
s3::ObjectSettings content_of(const ObjectEntry& entry) {
  s3::ObjectSettings settings;
  for (const auto& [name, value] : entry.headers) settings.content_headers[name] = value;
  settings.metadata.insert(entry.metadata.begin(), entry.metadata.end());
  return settings;
}

// Errors that are about one object and not about the server, the bucket or us.
bool concerns_object(const Error& error) {
  return error.code() == ErrorCode::invalid_argument || error.code() == ErrorCode::unsupported ||
         error.code() == ErrorCode::corruption;
}

}  // namespace

void ProblemList::add(std::string key, std::string what, const Error& error) {
  const std::lock_guard lock(mutex_);
  ++count_;
  if (problems_.size() < kProblemsKept)
    problems_.push_back({std::move(key), std::move(what), error.message()});
}

void ProblemList::add_damage(std::string key, const Error& error) {
  damage_ = true;
  add(std::move(key), "object", error);
}

std::vector<RestoreProblem> ProblemList::list() const {
  const std::lock_guard lock(mutex_);
  return problems_;
}

std::uint64_t ProblemList::count() const {
  const std::lock_guard lock(mutex_);
  return count_;
}

std::vector<std::uint64_t> parts_to_write(const ObjectEntry& entry) {
  const std::uint64_t size = entry.size_bytes, count = parts_in(entry.etag);
  if (count == 0 && size <= kSinglePutMax) return {size};
  if (fits(entry.part_sizes, size)) return entry.part_sizes;
  if (count == 1 && size > 0 && size <= kPartBytesMax) return {size};
  for (const int mib : kUsualPartMiB) {
    const std::uint64_t part = static_cast<std::uint64_t>(mib) * kMiB;
    if (count > 1 && (size + part - 1) / part == count) return cut(size, part);
  }
  if (size <= kPartBytes) return {size};
  std::uint64_t part = kPartBytes;
  while ((size + part - 1) / part > kPartsMax) part *= 2;
  return cut(size, part);
}

ObjectWriter::ObjectWriter(s3::Client& client, BlobReader& reader, TargetBucket bucket,
                           BucketCounts& counts, ProblemList& problems, const Clock& clock,
                           std::stop_token stop)
    : client_(client),
      reader_(reader),
      bucket_(std::move(bucket)),
      counts_(counts),
      problems_(problems),
      clock_(clock),
      stop_(std::move(stop)) {}

s3::Call ObjectWriter::call(bool repeat) const {
  s3::Call call;
  call.stop = stop_;
  call.repeat = repeat;
  return call;
}

s3::ObjectSettings ObjectWriter::settings_of(const ObjectEntry& entry) {
  s3::ObjectSettings settings = content_of(entry);
  settings.tags.insert(entry.tags.begin(), entry.tags.end());
  if (entry.storage_class != "STANDARD") settings.storage_class = entry.storage_class;
  if (!entry.lock) return settings;
  // A lock that has run out holds nothing, and servers refuse it.
  const bool runs = !entry.lock->mode.empty() && entry.lock->until > clock_.now();
  if (!runs && !entry.lock->legal_hold) return settings;
  if (!bucket_.locks) {
    problems_.add(entry.place.key, "lock",
                  Error(ErrorCode::unsupported, "the bucket was created without object lock"));
    return settings;
  }
  if (runs) settings.retention = s3::Retention{entry.lock->mode, entry.lock->until};
  if (entry.lock->legal_hold) settings.legal_hold = true;
  return settings;
}

Result<s3::PutResult> ObjectWriter::put_whole(const ObjectEntry& entry, ObjectBytes& bytes,
                                              const s3::ObjectSettings& settings) {
  s3::PutOptions options;
  options.settings = settings;
  if (entry.size_bytes > 0 && entry.size_bytes <= kObjectChunkBytes) {
    // Known before it is sent: the server refuses anything else.
    TM_TRY(const ByteView all, bytes.at(0));
    options.md5 = s3::md5(all).bytes;
  }
  ObjectBody body(bytes, 0, entry.size_bytes);
  return client_.put(bucket_.name, entry.place.key, body, options, call(!bucket_.versioned));
}

Result<std::vector<s3::Part>> ObjectWriter::send_parts(const std::string& key,
                                                       const std::string& upload,
                                                       ObjectBytes& bytes,
                                                       const std::vector<std::uint64_t>& sizes) {
  std::vector<s3::Part> parts;
  std::uint64_t offset = 0;
  for (const std::uint64_t size : sizes) {
    ObjectBody body(bytes, offset, size);
    const auto number = static_cast<unsigned>(parts.size() + 1);
    TM_TRY(s3::Part part, client_.upload_part(bucket_.name, key, upload, number, body, call()));
    parts.push_back(std::move(part));
    offset += size;
  }
  return parts;
}

Result<s3::PutResult> ObjectWriter::put_parts(const ObjectEntry& entry, ObjectBytes& bytes,
                                              const s3::ObjectSettings& settings,
                                              const std::vector<std::uint64_t>& sizes) {
  const std::string& key = entry.place.key;
  TM_TRY(const std::string upload, client_.create_upload(bucket_.name, key, settings, call()));
  const auto parts = send_parts(key, upload, bytes, sizes);
  if (!parts) {
    // Not with the caller's stop: what is left behind costs space.
    ignore_error(client_.abort_upload(bucket_.name, key, upload), "the first error is the cause");
    return parts.error();
  }
  return client_.complete_upload(bucket_.name, key, upload, *parts, call());
}

Result<std::optional<s3::PutResult>> ObjectWriter::landed(const std::string& key, bool marker,
                                                          const std::string& etag,
                                                          const Newest& newest) {
  const auto listing = client_.list_versions(bucket_.name, key, {}, call(), 1);
  TM_TRY(const auto page, listing->next_page());
  std::optional<s3::PutResult> found;
  if (page.empty() || page.front().key != key) return found;
  const s3::ListedVersion& version = page.front();
  const bool alike = version.is_delete_marker == marker && (marker || version.etag == etag);
  const bool fresh = !newest.known || version.version_id != newest.version_id;
  if (alike && fresh) found = s3::PutResult{version.etag, version.version_id};
  return found;
}

// Where an answer was lost, looks whether the version is there before it makes another. A server
// that does not say that either is gone: the client has waited for it as long as it does.
Result<s3::PutResult> ObjectWriter::until_clear(const std::string& key, bool marker,
                                                const std::string& etag, const Newest& newest,
                                                const Attempt& attempt) {
  for (int tries = 1;; ++tries) {
    auto result = attempt();
    if (result || !bucket_.versioned || !result.error().retryable()) return result;
    auto found = landed(key, marker, etag, newest);
    if (!found) return result;
    if (*found) return **std::move(found);
    if (tries == kAttemptsMax || !sleep_for(stop_, kBackoff * (1 << tries))) return result;
  }
}

Result<s3::PutResult> ObjectWriter::put(const ObjectEntry& entry, ObjectBytes& bytes,
                                        const Newest& newest) {
  s3::ObjectSettings settings = settings_of(entry);
  const auto sizes = parts_to_write(entry);
  const bool in_parts = sizes.size() > 1 || (parts_in(entry.etag) == 1 && entry.size_bytes > 0);
  const Attempt attempt = [&]() -> Result<s3::PutResult> {
    if (in_parts) return put_parts(entry, bytes, settings, sizes);
    return put_whole(entry, bytes, settings);
  };
  // Completing parts is made sure of by the client; a new upload after that is a new try.
  const auto write = [&] {
    return in_parts ? attempt() : until_clear(entry.place.key, false, entry.etag, newest, attempt);
  };
  auto result = write();
  if (!result && !bytes.failed() && result.error().code() == ErrorCode::corruption) {
    result = write();  // changed on the way: what may be there now is written over
  } else if (!result && !bytes.failed() && !settings.storage_class.empty() &&
             result.error().code() == ErrorCode::invalid_argument) {
    settings.storage_class.clear();
    const Error refused = result.error();
    result = write();
    if (result) problems_.add(entry.place.key, "storage_class", refused);
  }
  return result;
}

Status ObjectWriter::set_acl(const ObjectEntry& entry, const std::string& version_id) {
  if (entry.acl.empty()) return {};
  const std::string acl = rename_owners(entry.acl, bucket_.users);
  const auto set = client_.set_acl(bucket_.name, {entry.place.key, version_id}, acl, call());
  if (set) return {};
  if (set.error().retryable() || set.error().code() == ErrorCode::cancelled) return set;
  problems_.add(entry.place.key, "acl", set.error());
  return {};
}

Status ObjectWriter::write(const ObjectEntry& entry, std::optional<Bytes> chunk, Newest& newest) {
  const bool streams = !chunk && !entry.chunks.empty();
  if (streams && !streams_.acquire(kStreamBytes)) return Error(ErrorCode::cancelled, "interrupted");
  ObjectBytes bytes =
      chunk ? ObjectBytes(reader_, entry, *std::move(chunk)) : ObjectBytes(reader_, entry);
  const auto result = put(entry, bytes, newest);
  if (streams) streams_.release(kStreamBytes);
  if (!result) {
    const Error error = result.error().context("write " + printable_key(entry.place.key));
    if (bytes.failed() && result.error().code() == ErrorCode::corruption) {
      problems_.add_damage(entry.place.key, result.error());
      return {};
    }
    if (bytes.failed() || !concerns_object(result.error())) return error;
    problems_.add(entry.place.key, "object", result.error());
    return {};
  }
  newest = {true, result->version_id};
  ++counts_.written;
  counts_.written_bytes += entry.size_bytes;
  return set_acl(entry, result->version_id);
}

Status ObjectWriter::write_marker(const std::string& key, Newest& newest) {
  const auto written = until_clear(key, true, {}, newest, [&]() -> Result<s3::PutResult> {
    TM_TRY(std::string version, client_.remove(bucket_.name, {key, {}}, false, call(false)));
    return s3::PutResult{{}, std::move(version)};
  });
  if (!written) return written.error().context("delete " + printable_key(key));
  newest = {true, written->version_id};
  ++counts_.markers;
  return {};
}

Result<bool> ObjectWriter::has_same(const ObjectEntry& entry) {
  const auto opened = client_.get(bucket_.name, entry.place.key, {}, call());
  if (!opened && opened.error().code() == ErrorCode::not_found) return false;
  if (!opened) return opened.error();
  s3::ObjectReader& reader = **opened;
  const s3::ObjectInfo& info = reader.info();
  const s3::ObjectSettings wanted = content_of(entry);
  HttpHeaders content = info.content_headers;
  if (!wanted.content_headers.contains("content-type")) content.erase("content-type");
  if (info.size != entry.size_bytes || info.metadata != wanted.metadata ||
      content != wanted.content_headers)
    return false;
  ++counts_.compared;
  Sha256 hash;
  Bytes buffer(256 * kKiB);
  for (;;) {
    TM_TRY(const std::size_t size, reader.read(buffer));
    if (size == 0) return hash.finish() == entry.sha256;
    hash.update(ByteView(buffer).first(size));
  }
}

}  // namespace tidemark
