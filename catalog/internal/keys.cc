#include "catalog/internal/keys.h"

#include <algorithm>

namespace tidemark::catalog {
namespace {

constexpr std::uint64_t kSignBit = std::uint64_t{1} << 63;

void append_u64(std::string& key, std::uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8)
    key.push_back(static_cast<char>(static_cast<std::uint8_t>(value >> shift)));
}

std::uint64_t read_u64(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < 8; ++i) value = value << 8 | static_cast<std::uint8_t>(bytes[i]);
  return value;
}

// Flipping the sign bit makes times before 1970 sort before those after it.
void append_time(std::string& key, Timestamp time) {
  append_u64(key, static_cast<std::uint64_t>(time.us) ^ kSignBit);
}

void append_name(std::string& key, std::string_view name) {
  key += name;
  key.push_back('\0');
}

// Takes a zero-ended name off the front of `rest`.
bool take_name(std::string_view& rest, std::string_view& name) {
  const std::size_t end = rest.find('\0');
  if (end == std::string_view::npos) return false;
  name = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  return true;
}

}  // namespace

Status check_key_name(std::string_view name, std::string_view what) {
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (name.empty() || name.size() > kKeyNameBytesMax || std::ranges::any_of(name, control))
    return Error(ErrorCode::invalid_argument,
                 std::string(what) + ": a name has 1 to 1024 bytes and no control characters");
  return {};
}

std::string kind_key(RowKind kind) { return std::string(1, static_cast<char>(kind)); }

std::string number_key(RowKind kind, std::uint64_t number) {
  std::string key = kind_key(kind);
  append_u64(key, number);
  return key;
}

std::string fence_key(std::string_view site, std::string_view asset) {
  return time_prefix(RowKind::fence, site, asset);
}

std::string pin_key(const SessionId& session, const PackId& pack) {
  std::string key = id_key(RowKind::pack_pin, session);
  key += as_text(pack.view());
  return key;
}

std::string sequence_key(std::uint64_t sequence, const PointId& point) {
  std::string key = number_key(RowKind::sequence, sequence);
  key += as_text(point.view());
  return key;
}

std::string time_prefix(RowKind kind, std::string_view site) {
  std::string key = kind_key(kind);
  append_name(key, site);
  return key;
}

std::string time_prefix(RowKind kind, std::string_view site, std::string_view asset) {
  std::string key = time_prefix(kind, site);
  append_name(key, asset);
  return key;
}

std::string time_key(RowKind kind, std::string_view site, std::string_view asset, Timestamp time,
                     std::uint64_t sequence, const PointId& point) {
  std::string key = time_prefix(kind, site, asset);
  append_time(key, time);
  append_u64(key, sequence);
  key += as_text(point.view());
  return key;
}

std::string time_key_after(RowKind kind, std::string_view site, std::string_view asset,
                           Timestamp time) {
  std::string key = time_prefix(kind, site, asset);
  append_time(key, time);
  key.append(8 + PointId::kSize, '\xff');
  return key;
}

std::string prefix_end(std::string prefix) {
  while (!prefix.empty() && static_cast<std::uint8_t>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty())
    prefix.back() = static_cast<char>(static_cast<std::uint8_t>(prefix.back()) + 1);
  return prefix;
}

std::optional<TimeKey> parse_time_key(std::string_view key) {
  TimeKey parsed;
  if (key.empty()) return std::nullopt;
  std::string_view rest = key.substr(1);
  if (!take_name(rest, parsed.site) || !take_name(rest, parsed.asset)) return std::nullopt;
  if (rest.size() != 16 + PointId::kSize) return std::nullopt;
  parsed.time.us = static_cast<std::int64_t>(read_u64(rest) ^ kSignBit);
  parsed.sequence = read_u64(rest.substr(8));
  parsed.point = PointId::from(as_bytes(rest.substr(16)));
  return parsed;
}

std::optional<SequenceKey> parse_sequence_key(std::string_view key) {
  if (key.size() != 9 + PointId::kSize) return std::nullopt;
  return SequenceKey{read_u64(key.substr(1)), PointId::from(as_bytes(key.substr(9)))};
}

std::optional<PinKey> parse_pin_key(std::string_view key) {
  if (key.size() != 1 + SessionId::kSize + PackId::kSize) return std::nullopt;
  return PinKey{SessionId::from(as_bytes(key.substr(1, SessionId::kSize))),
                PackId::from(as_bytes(key.substr(1 + SessionId::kSize)))};
}

std::optional<std::uint64_t> parse_number_key(std::string_view key) {
  if (key.size() != 9) return std::nullopt;
  return read_u64(key.substr(1));
}

}  // namespace tidemark::catalog
