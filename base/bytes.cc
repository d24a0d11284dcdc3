#include "base/bytes.h"

#include "base/assert.h"

namespace tidemark {
int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string to_hex(ByteView bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (auto b : bytes) {
    out.push_back(kDigits[b >> 4]);
    out.push_back(kDigits[b & 15]);
  }
  return out;
}

std::optional<Bytes> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  Bytes out;
  out.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = hex_value(text[i]), low = hex_value(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out.push_back(static_cast<std::uint8_t>(high << 4 | low));
  }
  return out;
}

bool is_all_zero(ByteView bytes) {
  if (bytes.empty()) return true;
  // Equal to itself shifted by one, and the first byte zero: memcmp does the work in vectors.
  return bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

void ByteWriter::varint(std::uint64_t v) {
  while (v >= 0x80) {
    bytes_.push_back(static_cast<std::uint8_t>(v | 0x80));
    v >>= 7;
  }
  bytes_.push_back(static_cast<std::uint8_t>(v));
}

void ByteWriter::fixed(std::uint64_t v, int bytes) {
  for (int i = 0; i < bytes; ++i) bytes_.push_back(static_cast<std::uint8_t>(v >> (8 * i)));
}

std::uint64_t ByteReader::fixed(std::size_t size) {
  const ByteView from = raw(size);
  std::uint64_t v = 0;
  for (std::size_t i = 0; i < from.size(); ++i) v |= static_cast<std::uint64_t>(from[i]) << (8 * i);
  return v;
}

std::uint64_t ByteReader::varint() {
  std::uint64_t v = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const std::uint8_t b = u8();
    if (failed_) return 0;
    const std::uint64_t bits = b & 0x7f;
    const bool overflows = shift == 63 && bits > 1;
    const bool not_minimal = shift > 0 && b == 0;
    if (overflows || not_minimal) break;
    v |= bits << shift;
    if ((b & 0x80) == 0) return v;
  }
  failed_ = true;
  return 0;
}

std::uint64_t ByteReader::varint_max(std::uint64_t max) {
  const std::uint64_t v = varint();
  if (v <= max) return v;
  failed_ = true;
  return 0;
}

ByteView ByteReader::raw(std::size_t size) {
  if (failed_ || size > remaining()) {
    failed_ = true;
    return {};
  }
  const ByteView out = bytes_.subspan(position_, size);
  position_ += size;
  return out;
}

ByteView ByteReader::sized(std::size_t max_size) {
  return raw(static_cast<std::size_t>(varint_max(max_size)));
}

std::size_t ByteReader::count(std::size_t min_item_size) {
  TM_CHECK(min_item_size > 0);
  const std::uint64_t n = varint();
  if (!failed_ && n <= remaining() / min_item_size) return static_cast<std::size_t>(n);
  failed_ = true;
  return 0;
}

}  // namespace tidemark
