#include "agent/drill/book.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "base/crypto.h"
#include "base/json.h"
#include "base/log.h"
#include "base/queue.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kVersion = 1;
constexpr std::chrono::seconds kLockLimit{10};
constexpr std::chrono::milliseconds kLockStep{10};
constexpr std::uint64_t kNoteBytesMax = 16 * kMiB, kReportBytesMax = 64 * kMiB;
// Whoever looks at reports may be another user than the agent.
constexpr unsigned kReadableByAll = 0644;
constexpr const char *kReport = ".json", *kLink = ".link", *kNote = ".running";
constexpr std::array<std::string_view, 3> kKinds = {"image", "directory", "bucket"};

bool is_id(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::ranges::all_of(text, [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
  });
}

std::optional<JournalLink> decode_link(std::string_view text) {
  const json from = json::parse(text, nullptr, false);
  if (!from.is_object()) return std::nullopt;
  const json sequence = from.value("sequence", json());
  JournalLink link;
  link.hash = text_at(from, "hash");
  link.previous = text_at(from, "previous");
  if (!sequence.is_number_unsigned() || link.hash.empty()) return std::nullopt;
  link.sequence = sequence.get<std::uint64_t>();
  return link;
}

}  // namespace

std::string encode(const DrillNote& note) {
  json things = json::array();
  for (const DrillThing& thing : note.things)
    things.push_back({{"kind", kKinds[static_cast<std::size_t>(thing.kind)]},
                      {"name", thing.name},
                      {"point", thing.point}});
  return json{{"version", kVersion},       {"id", note.id},
              {"plan", note.plan},         {"started_us", note.started.us},
              {"reported", note.reported}, {"things", std::move(things)}}
      .dump(2, ' ', false, json::error_handler_t::replace);
}

Result<DrillNote> decode_drill_note(std::string_view text) {
  const Error bad(ErrorCode::corruption, "the note of a drill cannot be understood");
  const json from = json::parse(text, nullptr, false);
  if (!from.is_object()) return bad;
  if (from.value("version", json()) != kVersion)
    return Error(ErrorCode::unsupported, "the note of a drill is of another version");
  DrillNote note;
  note.id = text_at(from, "id");
  note.plan = text_at(from, "plan");
  note.reported = from.value("reported", json()) == true;
  const json started = from.value("started_us", json()), things = from.value("things", json());
  if (!is_id(note.id) || !started.is_number_integer() || !things.is_array()) return bad;
  note.started.us = started.get<std::int64_t>();
  for (const json& item : things) {
    const auto kind = std::ranges::find(kKinds, text_at(item, "kind"));
    DrillThing thing{DrillThing::Kind{}, text_at(item, "name"), text_at(item, "point")};
    if (kind == kKinds.end() || thing.name.empty()) return bad;
    thing.kind = static_cast<DrillThing::Kind>(kind - kKinds.begin());
    note.things.push_back(std::move(thing));
  }
  return note;
}

Result<Fd> DrillBook::lock_plan(const std::string& plan) const {
  std::error_code failed;
  fs::create_directories(directory_, failed);
  if (failed) return errno_error(failed.value(), "create " + directory_.string());
  auto lock = lock_file(directory_ / ("lock." + plan));
  if (!lock && lock.error().code() == ErrorCode::refused)
    return Error(ErrorCode::refused, "drill " + plan + " is running already");
  return lock;
}

Status DrillBook::write_note(const DrillNote& note) const {
  return write_file_durably(file(note.id, kNote), as_bytes(encode(note)));
}

Status DrillBook::remove_note(const std::string& id) const {
  std::error_code failed;
  fs::remove(file(id, kNote), failed);
  if (failed) return errno_error(failed.value(), "remove " + file(id, kNote).string());
  return sync_directory(directory_);
}

Result<std::vector<std::string>> DrillBook::ids(const std::string& suffix) const {
  std::vector<std::string> out;
  std::error_code failed;
  for (fs::directory_iterator at(directory_, failed), end; !failed && at != end;
       at.increment(failed)) {
    const std::string name = at->path().filename().string();
    if (!name.ends_with(suffix)) continue;
    std::string id = name.substr(0, name.size() - suffix.size());
    if (is_id(id)) out.push_back(std::move(id));
  }
  if (failed && failed != std::errc::no_such_file_or_directory)
    return errno_error(failed.value(), "read " + directory_.string());
  std::ranges::sort(out);
  return out;
}

Result<std::vector<DrillNote>> DrillBook::notes() const {
  TM_TRY(const auto found, ids(kNote));
  std::vector<DrillNote> out;
  for (const std::string& id : found) {
    const auto bytes = read_file(file(id, kNote), kNoteBytesMax);
    if (!bytes && bytes.error().code() == ErrorCode::not_found) continue;  // it ended meanwhile
    auto note = bytes ? decode_drill_note(as_text(*bytes)) : Result<DrillNote>(bytes.error());
    if (note)
      out.push_back(*std::move(note));
    else
      log::error("{}: {}", file(id, kNote).string(), note.error().message());
  }
  return out;
}

// Waits for other drills that write their reports at this moment.
Result<Fd> DrillBook::lock_reports() const {
  const auto end = Clock::system().uptime() + kLockLimit;
  while (true) {
    auto lock = lock_file(directory_ / "reports.lock");
    const bool busy = !lock && lock.error().code() == ErrorCode::refused;
    if (!busy || Clock::system().uptime() >= end) return lock;
    sleep_for({}, kLockStep);
  }
}

Result<Digest> DrillBook::add(DrillReport& report) const {
  TM_TRY(const Fd lock, lock_reports());
  TM_TRY(const auto before, ids(kReport));
  // The last one is which no other names. Their bytes count as they are: one that was changed is
  // named by nobody, and what named it names nothing; verify_chain() finds that.
  std::vector<std::string> hashes;
  std::set<std::string> named;
  for (const std::string& id : before) {
    TM_TRY(const Bytes bytes, read_file(file(id, kReport), kReportBytesMax));
    hashes.push_back(sha256(bytes).hex());
    if (const auto decoded = decode_drill_report(as_text(bytes))) named.insert(decoded->previous);
  }
  std::erase_if(hashes, [&](const std::string& hash) { return named.contains(hash); });
  report.previous = hashes.empty() ? std::string() : hashes.back();
  const std::string text = encode(report);
  TM_DO(write_file_durably(file(report.id, kReport), as_bytes(text), kReadableByAll));
  return sha256(as_bytes(text));
}

Status DrillBook::verify_chain() const {
  TM_TRY(const auto known, ids(kReport));
  std::set<std::string> hashes, named;
  for (const std::string& id : known) {
    TM_TRY(const Bytes bytes, read_file(file(id, kReport), kReportBytesMax));
    hashes.insert(sha256(bytes).hex());
  }
  for (const std::string& id : known) {
    TM_TRY(const Entry entry, read(id));
    const std::string& previous = entry.report.previous;
    if (!named.insert(previous).second || (!previous.empty() && !hashes.contains(previous)))
      return Error(ErrorCode::corruption,
                   "the report before drill " + id + " was changed, or is not there any more");
  }
  return {};
}

Status DrillBook::add_link(const std::string& id, const JournalLink& link) const {
  const json text = {{"sequence", link.sequence}, {"hash", link.hash}, {"previous", link.previous}};
  return write_file_durably(file(id, kLink), as_bytes(text.dump()), kReadableByAll);
}

Result<DrillBook::Entry> DrillBook::read(const std::string& id) const {
  TM_TRY(const Bytes bytes, read_file(file(id, kReport), kReportBytesMax));
  Entry entry;
  entry.text = as_text(bytes);
  entry.hash = sha256(bytes);
  auto report = decode_drill_report(entry.text);
  if (!report) return std::move(report).error().context(file(id, kReport).string());
  entry.report = *std::move(report);
  if (const auto link = read_file(file(id, kLink), kNoteBytesMax); link)
    entry.link = decode_link(as_text(*link));
  return entry;
}

Result<DrillBook::Entry> DrillBook::find(const std::string& id) const {
  TM_TRY(auto known, ids(kReport));
  std::erase_if(known, [&](const std::string& one) { return !one.starts_with(id); });
  if (known.empty() || id.empty())
    return Error(ErrorCode::not_found, "there is no drill '" + id + "'")
        .with_hint("see: tidemark drill list");
  if (known.size() > 1)
    return Error(ErrorCode::invalid_argument, "several drills begin with '" + id + "'");
  return read(known.front());
}

Result<std::vector<DrillBook::Entry>> DrillBook::all() const {
  TM_TRY(const auto known, ids(kReport));
  std::vector<Entry> out;
  for (const std::string& id : known) {
    auto entry = read(id);
    if (entry)
      out.push_back(*std::move(entry));
    else
      log::error("{}", entry.error().message());
  }
  return out;
}

std::string new_drill_id(Timestamp now) {
  std::array<std::uint8_t, 2> chance{};
  random_bytes(chance);
  std::string id;
  for (const char c : format_time({now.us - now.us % 1'000'000}))
    if (c != '-' && c != ':') id += c;
  return id + "-" + to_hex(chance);
}

}  // namespace tidemark
