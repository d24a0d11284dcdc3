#include <fcntl.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <random>

#include "agent/drill/recovery.h"
#include "agent/restore/bucket_directory.h"
#include "agent/restore/bucket_restore.h"
#include "base/crypto.h"
#include "base/files.h"
#include "base/json.h"
#include "base/queue.h"
#include "base/text.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;
using Method = DrillConfig::Method;

constexpr std::size_t kReaders = 16, kReadBytes = 1 << 20;
constexpr std::uint64_t kManifestBytesMax = 4 * kGiB;

// The first difference that any of several threads finds, and what they have read.
class Findings {
 public:
  void add_bytes(std::uint64_t bytes) { bytes_ += bytes; }
  void differ(const std::string& key, const std::string& how) {
    const std::lock_guard lock(mutex_);
    if (difference_.empty()) difference_ = "object " + printable(key) + " " + how;
    differed_ = true;
  }
  bool differed() const { return differed_; }
  ContentReport take() { return {bytes_, difference_}; }

 private:
  static std::string printable(const std::string& key) {
    return key.size() <= 200 ? key : key.substr(0, 200) + "…";
  }
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<bool> differed_{false};
  std::mutex mutex_;
  std::string difference_;  // guarded by mutex_
};

// What a restore promises to give back of an object's headers and metadata.
std::string unlike(const ObjectEntry& wanted, const s3::ObjectInfo& found, const s3::Tags& tags) {
  for (const auto& [name, value] : wanted.headers) {
    const auto at = found.content_headers.find(name);
    if (at == found.content_headers.end() || at->second != value)
      return "has another header " + name;
  }
  if (found.metadata.size() != wanted.metadata.size()) return "has other metadata";
  for (const auto& [name, value] : wanted.metadata) {
    const auto at = found.metadata.find(name);
    if (at == found.metadata.end() || at->second != value) return "has other metadata " + name;
  }
  if (!std::ranges::equal(tags, wanted.tags, [](const auto& a, const auto& b) {
        return a.first == b.first && a.second == b.second;
      }))
    return "has other tags";
  return {};
}

class BucketRecovery : public Recovery {
 public:
  BucketRecovery(DrillTools tools, std::unique_ptr<BucketPoint> point)
      : tools_(std::move(tools)), point_(std::move(point)) {}
  Result<std::uint64_t> estimate() override { return point_->row().point.record.size_bytes; }
  Result<BlockView*> disk(std::stop_token) override { return nullptr; }

 protected:
  std::chrono::microseconds now() const { return tools_.clock->uptime(); }
  // Every object that can be read with a plain GET, in the order of keys.
  Status each_current(const std::function<Status(ObjectEntry)>& each) {
    KeyCursor cursor = point_->keys({});
    while (true) {
      TM_TRY(const auto key, cursor.next());
      if (!key) return {};
      if (const ObjectEntry* const current = key->current()) TM_DO(each(*current));
    }
  }
  static Status problems_of(const ProblemList& problems) {
    if (problems.count() == 0) return {};
    const RestoreProblem first = problems.list().front();
    return Error(problems.damage() ? ErrorCode::corruption : ErrorCode::internal,
                 std::to_string(problems.count()) +
                     " things were not restored, the first: " + first.what +
                     (first.key.empty() ? "" : " of " + first.key) + ": " + first.message);
  }

  const DrillTools tools_;
  const std::unique_ptr<BucketPoint> point_;
};

class ToBucket final : public BucketRecovery {
 public:
  ToBucket(DrillTools tools, std::unique_ptr<BucketPoint> point, const std::string& label)
      : BucketRecovery(std::move(tools), std::move(point)), bucket_(bucket_name(label)) {}
  std::string target() const override { return bucket_; }
  std::vector<DrillThing> things() const override {
    return {{DrillThing::Kind::bucket, bucket_, ""}};
  }
  // Gateways do not tell how much room there is.
  Status check_room(std::uint64_t) override { return {}; }
  Result<Usable> bring_back(std::stop_token stop) override {
    const auto began = now();
    BucketRestoreOptions options;
    options.bucket = bucket_;
    options.versions = false;
    BucketRestore restore(*point_, *tools_.s3, options, *tools_.clock, std::move(stop));
    TM_DO(restore.run());
    TM_DO(problems_of(restore.problems()));
    return Usable{now() - began, restore.counts().written_bytes, point_->reader().bytes_read()};
  }
  Result<ContentReport> compare(std::stop_token stop) override {
    Findings findings;
    TM_DO(in_parallel(
        [&](const std::function<Status(ObjectEntry)>& give) { return each_current(give); },
        [&](const ObjectEntry& entry) { return check(entry, false, findings, stop); }, findings,
        stop));
    return findings.take();
  }
  Result<std::optional<ContentReport>> sample(std::size_t count, std::uint64_t seed,
                                              std::stop_token stop) override {
    // A reservoir: every object is as likely as any other, however many there are.
    std::mt19937_64 random(seed);
    std::vector<ObjectEntry> drawn;
    std::uint64_t seen = 0;
    TM_DO(each_current([&](ObjectEntry entry) -> Status {
      ++seen;
      if (drawn.size() < count) {
        drawn.push_back(std::move(entry));
        return {};
      }
      const auto at = std::uniform_int_distribution<std::uint64_t>(0, seen - 1)(random);
      if (at < count) drawn[at] = std::move(entry);
      return {};
    }));
    Findings findings;
    TM_DO(in_parallel(
        [&](const std::function<Status(ObjectEntry)>& give) -> Status {
          for (ObjectEntry& entry : drawn)
            if (Status given = give(std::move(entry)); !given) return given;
          return {};
        },
        [&](const ObjectEntry& entry) { return check(entry, true, findings, stop); }, findings,
        stop));
    return std::optional(findings.take());
  }

 private:
  static std::string bucket_name(const std::string& label) {
    std::string name = drill_name(label);
    for (char& c : name) {
      c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      if (c == '.') c = '-';  // no wildcard certificate covers names with dots
    }
    return name;
  }
  Status check(const ObjectEntry& entry, bool with_metadata, Findings& findings,
               std::stop_token stop) {
    const std::string& key = entry.place.key;
    auto reader = tools_.s3->get(bucket_, key, {}, {.stop = stop});
    if (!reader && reader.error().code() == ErrorCode::not_found) {
      findings.differ(key, "is missing");
      return {};
    }
    if (!reader) return std::move(reader).error();
    Sha256 hash;
    Bytes buffer(kReadBytes);
    std::uint64_t bytes = 0;
    while (true) {
      TM_TRY(const std::size_t got, (*reader)->read(buffer));
      if (got == 0) break;
      hash.update(ByteView(buffer).first(got));
      bytes += got;
    }
    findings.add_bytes(bytes);
    if (bytes != entry.size_bytes || hash.finish() != entry.sha256) {
      findings.differ(key, "has other bytes");
      return {};
    }
    if (!with_metadata) return {};
    TM_TRY(const s3::Tags tags, tools_.s3->tags(bucket_, {key, {}}, {.stop = stop}));
    if (const std::string how = unlike(entry, (*reader)->info(), tags); !how.empty())
      findings.differ(key, how);
    return {};
  }
  template <class Give, class Check>
  static Status in_parallel(const Give& give, const Check& check, const Findings& findings,
                            const std::stop_token& stop) {
    BoundedQueue<ObjectEntry> queue(kReaders * 2);
    ThreadGroup threads([&] { queue.abort(); });
    for (std::size_t i = 0; i < kReaders; ++i)
      threads.start("tm-drill", [&]() -> Status {
        while (const auto entry = queue.pop()) {
          if (stop.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
          if (findings.differed()) continue;
          TM_DO(check(*entry));
        }
        return {};
      });
    const Status given = give([&](ObjectEntry entry) -> Status {
      if (queue.push(std::move(entry))) return {};
      return Error(ErrorCode::cancelled, "stopped");
    });
    queue.close();
    TM_DO(threads.join());
    return given;
  }

  const std::string bucket_;
};

class ToDirectory final : public BucketRecovery {
 public:
  ToDirectory(DrillTools tools, std::unique_ptr<BucketPoint> point, const std::string& label)
      : BucketRecovery(std::move(tools), std::move(point)),
        directory_(tools_.plan->scratch / drill_name(label)) {}
  std::string target() const override { return directory_.string(); }
  std::vector<DrillThing> things() const override {
    return {{DrillThing::Kind::directory, directory_.string(), ""}};
  }
  Status check_room(std::uint64_t bytes) override {
    return check_scratch_room(*tools_.plan, bytes);
  }
  Result<Usable> bring_back(std::stop_token stop) override {
    const auto began = now();
    DirectoryRestoreOptions options;
    options.directory = directory_;
    DirectoryRestore restore(*point_, options, std::move(stop));
    TM_DO(restore.run());
    TM_DO(problems_of(restore.problems()));
    return Usable{now() - began, restore.counts().written_bytes, point_->reader().bytes_read()};
  }
  // The manifest says which file is which object; the point, what its bytes are.
  Result<ContentReport> compare(std::stop_token stop) override {
    TM_TRY(const auto paths, read_manifest());
    Findings findings;
    TM_DO(each_current([&](const ObjectEntry& entry) -> Status {
      if (stop.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
      if (findings.differed()) return {};
      const auto found = paths.find(entry.place.key);
      if (found == paths.end()) {
        findings.differ(entry.place.key, "is missing");
        return {};
      }
      TM_TRY(const Fd fd, open_file(directory_ / found->second, O_RDONLY | O_NOFOLLOW));
      TM_TRY(const bool same, same_bytes(fd.get(), entry, findings));
      if (!same) findings.differ(entry.place.key, "has other bytes");
      return {};
    }));
    return findings.take();
  }
  Result<std::optional<ContentReport>> sample(std::size_t, std::uint64_t,
                                              std::stop_token) override {
    return std::optional<ContentReport>();
  }

 private:
  Result<std::map<std::string, std::string>> read_manifest() const {
    TM_TRY(const Bytes bytes, read_file(directory_ / kManifestName, kManifestBytesMax));
    std::map<std::string, std::string> paths;
    std::string_view rest = as_text(bytes);
    for (bool first = true; !rest.empty(); first = false) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      const std::string_view line = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (first) continue;  // the bucket's settings
      const auto json = nlohmann::json::parse(line, nullptr, false);
      std::string key = text_at(json, "key");
      if (const std::string hex = text_at(json, "key_hex"); !hex.empty())
        if (const auto decoded = from_hex(hex)) key = as_text(*decoded);
      paths[key] = text_at(json, "path");
    }
    return paths;
  }
  static Result<bool> same_bytes(int fd, const ObjectEntry& entry, Findings& findings) {
    Sha256 hash;
    for (std::uint64_t at = 0; at < entry.size_bytes;) {
      const auto size =
          static_cast<std::size_t>(std::min<std::uint64_t>(kReadBytes, entry.size_bytes - at));
      const auto part = read_at(fd, at, size);
      if (!part && part.error().code() == ErrorCode::corruption) return false;  // it is shorter
      if (!part) return part.error();
      hash.update(*part);
      findings.add_bytes(size);
      at += size;
    }
    return hash.finish() == entry.sha256;
  }
  const fs::path directory_;
};

}  // namespace

Result<std::unique_ptr<Recovery>> plan_bucket_recovery(const DrillTools& tools, const PointRow& row,
                                                       const std::string& label) {
  const Method method = tools.plan->method;
  if (method != Method::restore && method != Method::file)
    return Error(ErrorCode::unsupported, "a bucket is brought back by 'restore' or 'file' only");
  if (method == Method::restore && tools.s3 == nullptr)
    return Error(ErrorCode::invalid_argument, "there is no gateway here to restore a bucket to")
        .with_hint("set 's3', or use the method 'file'");
  TM_TRY(auto point, BucketPoint::open(*tools.store, *tools.keys, row));
  if (method == Method::file)
    return std::unique_ptr<Recovery>(std::make_unique<ToDirectory>(tools, std::move(point), label));
  return std::unique_ptr<Recovery>(std::make_unique<ToBucket>(tools, std::move(point), label));
}

}  // namespace tidemark
