// The bytes of the NBD protocol: fixed newstyle negotiation, simple and structured replies.
//
// Numbers and layouts are those of
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md; all integers are big-endian.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/bytes.h"

namespace tidemark::nbd {

// --- negotiation
inline constexpr std::uint64_t kMagic = 0x4e42444d41474943;        // "NBDMAGIC"
inline constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr std::uint64_t kReplyMagic = 0x0003e889045565a9;
// Handshake flags, of both sides.
inline constexpr std::uint16_t kFixedNewstyle = 1, kNoZeroes = 2;

inline constexpr std::uint32_t kOptExportName = 1, kOptAbort = 2, kOptList = 3, kOptStartTls = 5,
                               kOptInfo = 6, kOptGo = 7, kOptStructuredReply = 8,
                               kOptListMetaContext = 9, kOptSetMetaContext = 10;

inline constexpr std::uint32_t kRepAck = 1, kRepServer = 2, kRepInfo = 3, kRepMetaContext = 4;
inline constexpr std::uint32_t kRepError = 1U << 31;
inline constexpr std::uint32_t kRepErrUnsupported = kRepError + 1, kRepErrPolicy = kRepError + 2,
                               kRepErrInvalid = kRepError + 3, kRepErrTlsRequired = kRepError + 5,
                               kRepErrUnknown = kRepError + 6, kRepErrTooBig = kRepError + 9;

inline constexpr std::uint16_t kInfoExport = 0, kInfoName = 1, kInfoDescription = 2,
                               kInfoBlockSize = 3;

// Transmission flags of an export.
inline constexpr std::uint16_t kFlagHasFlags = 1, kFlagReadOnly = 2, kFlagSendDf = 128,
                               kFlagCanMultiConn = 256, kFlagSendCache = 1024;

// --- transmission
inline constexpr std::uint32_t kRequestMagic = 0x25609513;
inline constexpr std::uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr std::uint32_t kStructuredReplyMagic = 0x668e33ef;

enum class CommandType : std::uint16_t {
  read = 0,
  write = 1,
  disconnect = 2,
  flush = 3,
  trim = 4,
  cache = 5,
  write_zeroes = 6,
  block_status = 7,
};
inline constexpr std::uint16_t kCmdDontFragment = 4, kCmdRequestOne = 8;

inline constexpr std::uint16_t kChunkDone = 1;  // the reply's last one
inline constexpr std::uint16_t kChunkOffsetData = 1, kChunkOffsetHole = 2, kChunkBlockStatus = 5,
                               kChunkError = 32769, kChunkErrorOffset = 32770;

inline constexpr std::uint32_t kErrNone = 0, kErrPermission = 1, kErrIo = 5, kErrNoMemory = 12,
                               kErrInvalid = 22, kErrOverflow = 75, kErrShutdown = 108;

// Of base:allocation.
inline constexpr std::uint32_t kStateHole = 1, kStateZero = 2;
inline constexpr std::string_view kBaseAllocation = "base:allocation";
inline constexpr std::string_view kBaseNamespace = "base:";

// --- limits: the protocol's, and ours
inline constexpr std::size_t kNameBytesMax = 4096;
inline constexpr std::uint32_t kPayloadBytesMax = 32 << 20;
inline constexpr std::size_t kRequestBytes = 28;
inline constexpr std::size_t kChunkHeaderBytes = 20;
inline constexpr std::size_t kSimpleReplyBytes = 16;

// Appends big-endian values.
class WireWriter {
 public:
  WireWriter& u16(std::uint16_t v) { return fixed(v, 2); }
  WireWriter& u32(std::uint32_t v) { return fixed(v, 4); }
  WireWriter& u64(std::uint64_t v) { return fixed(v, 8); }
  WireWriter& raw(ByteView v) {
    append(bytes_, v);
    return *this;
  }
  // A length of 32 bits, then the text.
  WireWriter& text(std::string_view v) {
    return u32(static_cast<std::uint32_t>(v.size())).raw(as_bytes(v));
  }
  std::size_t size() const { return bytes_.size(); }
  const Bytes& bytes() const { return bytes_; }

 private:
  WireWriter& fixed(std::uint64_t v, int bytes);
  Bytes bytes_;
};

// Reads big-endian values out of bytes that outlive it. After an overrun all that is read is zero
// or empty; asked once at the end.
class WireReader {
 public:
  explicit WireReader(ByteView bytes) : bytes_(bytes) {}
  std::uint16_t u16() { return static_cast<std::uint16_t>(fixed(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(fixed(4)); }
  std::uint64_t u64() { return fixed(8); }
  // A length of 32 bits and as many bytes; fails above `bytes_max`.
  std::string_view text(std::size_t bytes_max);
  bool ok() const { return !failed_; }
  // Everything was read, and nothing failed.
  bool done() const { return !failed_ && bytes_.empty(); }

 private:
  ByteView take(std::size_t size);
  std::uint64_t fixed(std::size_t size);
  ByteView bytes_;
  bool failed_ = false;
};

struct Request {
  std::uint16_t flags = 0;
  CommandType type{};  // any number, not only those that have a name
  std::uint64_t cookie = 0, offset = 0;
  std::uint32_t length = 0;
  bool operator==(const Request&) const = default;
};
Bytes encode(const Request& request);
// Nothing where the magic is wrong. REQUIRES: bytes.size() == kRequestBytes.
std::optional<Request> decode_request(ByteView bytes);

// What stands before an option's data.
Bytes option_reply(std::uint32_t option, std::uint32_t reply, ByteView data);
Bytes simple_reply(std::uint64_t cookie, std::uint32_t error);
// The head of a structured reply's chunk; `payload` is the length of what follows.
Bytes chunk_header(std::uint64_t cookie, std::uint16_t flags, std::uint16_t type,
                   std::uint32_t payload);
// Whole chunks.
Bytes hole_chunk(std::uint64_t cookie, std::uint16_t flags, std::uint64_t offset,
                 std::uint32_t size);
Bytes error_chunk(std::uint64_t cookie, std::uint32_t error, std::string_view message,
                  std::optional<std::uint64_t> offset);

}  // namespace tidemark::nbd
