#include "agent/service/scrub.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agent/service/point_json.h"
#include "base/files.h"
#include "base/log.h"
#include "store/tree.h"

namespace tidemark {
namespace {

using std::chrono::microseconds;

constexpr int kStateVersion = 1;
constexpr std::uint64_t kStateBytesMax = 4096;
constexpr microseconds kSaveStep = std::chrono::minutes(1);
// A round ends early by this part rather than late.
constexpr double kAhead = 1.1;
// A round that is behind is caught up on over no less than this part of its period.
constexpr int kCatchUpPart = 10;
// Nor is what is left ever read within less than this part, however late it is.
constexpr int kLastPart = 100;
// What may be read in one go, where steps are far apart.
constexpr double kBurstBytes = 64.0 * kMiB;

Status node_status(ByteView plain) {
  const auto node = decode_node(plain);
  return node ? Status() : Status(node.error());
}

}  // namespace

double ScrubStatus::progress() const {
  const double all = static_cast<double>(bytes_read) + static_cast<double>(bytes_left);
  return all > 0 ? static_cast<double>(bytes_read) / all : 1;
}

ScrubStatus Scrubber::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

Status Scrubber::open() {
  open_ = true;
  stepped_ = saved_ = clock_.uptime();
  const auto bytes = read_file(options_.state_file, kStateBytesMax);
  if (!bytes && bytes.error().code() == ErrorCode::not_found) {
    status_.completed = clock_.now();
    return begin_round();
  }
  const auto json = bytes ? parse_json(as_text(*bytes)) : Result<nlohmann::json>(bytes.error());
  const auto text = [&](const char* key) {
    const bool there = json && json->is_object() && json->contains(key) && (*json)[key].is_string();
    return there ? (*json)[key].get<std::string>() : std::string();
  };
  const auto began = parse_time(text("round_began"), {}),
             completed = parse_time(text("completed"), {});
  const auto last = PackId::from_hex(text("last"));
  const bool known =
      began && completed && last && json->value("version", nlohmann::json()) == kStateVersion;
  if (!known) {
    log::warn("{} cannot be understood: the scrub begins anew", options_.state_file.string());
    status_.completed = clock_.now();
    return begin_round();
  }
  last_ = *last;
  {
    const std::lock_guard lock(mutex_);
    status_.round_began = *began;
    status_.completed = *completed;
    const auto count = [&](const char* key) {
      return json->contains(key) && (*json)[key].is_number_unsigned()
                 ? (*json)[key].get<std::uint64_t>()
                 : std::uint64_t{0};
    };
    status_.bytes_read = count("bytes_read");
    status_.unreadable_packs = count("unreadable_packs");
    round_over_ = count("round_over") != 0;
  }
  return round_over_ ? Status() : list_left();
}

Status Scrubber::begin_round() {
  round_over_ = false;
  last_ = {};
  {
    const std::lock_guard lock(mutex_);
    status_.round_began = clock_.now();
    status_.bytes_read = status_.unreadable_packs = 0;
  }
  TM_DO(list_left());
  return save();
}

Status Scrubber::list_left() {
  deadline_ = {};
  left_.clear();
  std::uint64_t bytes = 0;
  TM_DO(store_.catalog().each_pack([&](const PackRow& pack) -> Status {
    if (pack.damaged || !(last_ < pack.id)) return {};
    left_.push_back({pack.id, pack.size_bytes});
    bytes += pack.size_bytes;
    return {};
  }));
  std::ranges::sort(left_, std::ranges::greater(), &Left::id);
  const std::lock_guard lock(mutex_);
  status_.bytes_left = bytes;
  return {};
}

void Scrubber::set_deadline(microseconds period) {
  period_ = period;
  const microseconds left = status_.round_began + period - clock_.now();
  deadline_ = clock_.uptime() + std::clamp(left, period / kCatchUpPart, period);
}

double Scrubber::rate() const {
  const microseconds left = std::max(deadline_ - clock_.uptime(), period_ / kLastPart);
  return kAhead * static_cast<double>(status_.bytes_left) / static_cast<double>(left.count());
}

Status Scrubber::step(microseconds period) {
  if (!open_) TM_DO(open());
  const Timestamp now = clock_.now();
  // A clock that was set back must not put the next round off.
  const bool over = now >= status_.round_began + period || now < status_.round_began;
  if (round_over_ && over) TM_DO(begin_round());
  if (period != period_ || deadline_ == microseconds::zero()) set_deadline(period);
  const microseconds uptime = clock_.uptime();
  const double passed = static_cast<double>((uptime - std::exchange(stepped_, uptime)).count());
  if (round_over_) return {};
  const double wanted = rate() * passed;
  credit_bytes_ = std::min(credit_bytes_ + wanted, std::max(kBurstBytes, wanted));
  while (!left_.empty() && credit_bytes_ > 0 && !options_.stop.stop_requested()) {
    const Left pack = left_.back();
    credit_bytes_ -= static_cast<double>(pack.size_bytes);
    TM_DO(check(pack));
    left_.pop_back();
    last_ = pack.id;
    const std::lock_guard lock(mutex_);
    status_.bytes_read += pack.size_bytes;
    status_.bytes_left -= pack.size_bytes;
    status_.total_read_bytes += pack.size_bytes;
  }
  if (left_.empty()) {
    round_over_ = true;
    credit_bytes_ = 0;
    {
      const std::lock_guard lock(mutex_);
      status_.completed = now;
    }
    log::info("scrub: a round of {} is complete, {} packs could not be read",
              format_bytes(status_.bytes_read), status_.unreadable_packs);
    return save();
  }
  return uptime - saved_ >= kSaveStep ? save() : Status();
}

Status Scrubber::check_bytes(const PackId& id, ByteView bytes) const {
  TM_TRY(const PackIndex index, check_pack(bytes, id));
  if (!options_.keys) return {};
  for (const PackEntry& entry : index.entries) {
    const auto plain = decode_blob(*options_.keys, bytes, entry,
                                   bytes.subspan(entry.offset, entry.stored_size));
    const bool node = plain && entry.kind == BlobKind::node;
    const Status sound = !plain ? Status(plain.error()) : node ? node_status(*plain) : Status();
    if (!sound) return sound.error().context("blob " + entry.id.hex());
  }
  return {};
}

Status Scrubber::check(const Left& pack) {
  const std::string name = pack_blob_name(pack.id);
  Result<Bytes> bytes = Bytes();
  Status sound;
  // Read once more: not all that a medium says once is so.
  for (int tries = 0; tries < 2; ++tries) {
    bytes = read_blob(store_.backend(), name, kPackBytesMax);
    sound = bytes ? check_bytes(pack.id, *bytes) : Status(bytes.error());
    if (sound) return {};
  }
  // It may have gone meanwhile, as garbage.
  TM_TRY(const auto row, store_.catalog().find_pack(pack.id));
  if (!row || row->damaged) return {};
  // A pack under another key says nothing against its bytes.
  const bool foreign = sound.error().code() == ErrorCode::permission_denied;
  const bool damaged = bytes ? !foreign
                             : sound.error().code() == ErrorCode::not_found ||
                                   sound.error().code() == ErrorCode::corruption ||
                                   sound.error().code() == ErrorCode::invalid_argument;
  if (!damaged) {
    log::error("scrub: pack {} cannot be read: {}", pack.id.hex(), sound.error().describe());
    const std::lock_guard lock(mutex_);
    ++status_.unreadable_packs;
    return {};
  }
  TM_DO(store_.set_aside(pack.id));
  log::error("scrub: pack {} is damaged and set aside: {}", pack.id.hex(),
             sound.error().message());
  if (options_.on_damage) options_.on_damage(pack.id, bytes ? *bytes : Bytes());
  return {};
}

Status Scrubber::save() {
  saved_ = clock_.uptime();
  const nlohmann::json json = {{"version", kStateVersion},
                               {"round_began", format_time(status_.round_began)},
                               {"completed", format_time(status_.completed)},
                               {"last", last_.hex()},
                               {"bytes_read", status_.bytes_read},
                               {"unreadable_packs", status_.unreadable_packs},
                               {"round_over", round_over_ ? 1U : 0U}};
  return write_file_durably(options_.state_file, as_bytes(json.dump() + "\n"));
}

}  // namespace tidemark
