// Byte buffers, and the bounded reader and writer that every format of ours is coded with.
//
// All integers are little-endian. A varint is LEB128, at most ten bytes, and must be minimal:
// one value has one encoding, because encodings are hashed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tidemark {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

// Leaves new elements uninitialised on resize(): buffers of megabytes are filled right afterwards.
template <class T>
struct UninitializedAllocator : std::allocator<T> {
  template <class U>
  struct rebind {
    using other = UninitializedAllocator<U>;
  };
  using std::allocator<T>::allocator;
  template <class U>
  void construct(U* p) noexcept {
    ::new (static_cast<void*>(p)) U;
  }
  template <class U, class... Args>
  void construct(U* p, Args&&... args) {
    ::new (static_cast<void*>(p)) U(static_cast<Args&&>(args)...);
  }
};

using Bytes = std::vector<std::uint8_t, UninitializedAllocator<std::uint8_t>>;
using ByteView = std::span<const std::uint8_t>;
using ByteSpan = std::span<std::uint8_t>;

inline ByteView as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Copying with insert(), assign() or a copy constructor goes byte by byte, as the allocator has a
// construct() of its own: megabytes are copied with these two.
inline void append(Bytes& to, ByteView from) {
  const std::size_t start = to.size();
  to.resize(start + from.size());
  if (!from.empty()) std::memcpy(to.data() + start, from.data(), from.size());
}
inline Bytes copy_of(ByteView from) {
  Bytes out;
  append(out, from);
  return out;
}

// The value of a hex digit of either case; -1 for any other character.
int hex_value(char c);
// Lower-case hexadecimal.
std::string to_hex(ByteView bytes);
// The bytes of an even number of hex digits of either case; nothing for any other text.
std::optional<Bytes> from_hex(std::string_view text);

// True where every byte is zero. Reads at memory speed.
bool is_all_zero(ByteView bytes);

// Appends encoded values to a buffer that it owns.
class ByteWriter {
 public:
  void u8(std::uint8_t v) { bytes_.push_back(v); }
  void u16(std::uint16_t v) { fixed(v, 2); }
  void u32(std::uint32_t v) { fixed(v, 4); }
  void u64(std::uint64_t v) { fixed(v, 8); }
  void varint(std::uint64_t v);
  void raw(ByteView v) { append(bytes_, v); }
  void raw(std::string_view v) { append(bytes_, as_bytes(v)); }
  // A varint length, then the bytes.
  void sized(ByteView v) {
    varint(v.size());
    raw(v);
  }
  void sized(std::string_view v) { sized(as_bytes(v)); }

  std::size_t size() const { return bytes_.size(); }
  const Bytes& bytes() const { return bytes_; }
  Bytes take() { return std::move(bytes_); }

 private:
  void fixed(std::uint64_t v, int bytes);
  Bytes bytes_;
};

// Reads encoded values from bytes that must outlive it. An overrun, a varint that is not minimal or
// a length past a stated limit makes the reader fail for good: values read from then on are zero or
// empty. Callers read a whole structure, then ask ok() or done() once, before they use any of it.
// Nothing is ever allocated here, and no length is believed before it was held against remaining().
class ByteReader {
 public:
  explicit ByteReader(ByteView bytes) : bytes_(bytes) {}

  std::uint8_t u8() { return static_cast<std::uint8_t>(fixed(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(fixed(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(fixed(4)); }
  std::uint64_t u64() { return fixed(8); }
  std::uint64_t varint();
  // A varint that must not exceed `max`.
  std::uint64_t varint_max(std::uint64_t max);
  ByteView raw(std::size_t size);
  // A varint length of at most `max_size`, then that many bytes.
  ByteView sized(std::size_t max_size);
  std::string_view sized_text(std::size_t max_size) { return as_text(sized(max_size)); }
  // A varint count, refused where `remaining()` cannot hold that many items of `min_item_size`.
  std::size_t count(std::size_t min_item_size);

  std::size_t remaining() const { return bytes_.size() - position_; }
  std::size_t position() const { return position_; }
  bool ok() const { return !failed_; }
  // Everything was read, and nothing failed.
  bool done() const { return !failed_ && remaining() == 0; }
  void fail() { failed_ = true; }

 private:
  std::uint64_t fixed(std::size_t size);
  ByteView bytes_;
  std::size_t position_ = 0;
  bool failed_ = false;
};

}  // namespace tidemark
