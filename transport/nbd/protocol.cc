#include "transport/nbd/protocol.h"

#include "base/text.h"

namespace tidemark::nbd {
namespace {

constexpr std::size_t kMessageBytesMax = 512;

}  // namespace

WireWriter& WireWriter::fixed(std::uint64_t v, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
    bytes_.push_back(static_cast<std::uint8_t>(v >> shift));
  return *this;
}

ByteView WireReader::take(std::size_t size) {
  if (failed_ || size > bytes_.size()) {
    failed_ = true;
    return {};
  }
  const ByteView taken = bytes_.first(size);
  bytes_ = bytes_.subspan(size);
  return taken;
}

std::uint64_t WireReader::fixed(std::size_t size) {
  std::uint64_t value = 0;
  for (const std::uint8_t byte : take(size)) value = value << 8 | byte;
  return value;
}

std::string_view WireReader::text(std::size_t bytes_max) {
  const std::uint32_t size = u32();
  if (size > bytes_max) failed_ = true;
  return as_text(take(size));
}

Bytes encode(const Request& request) {
  WireWriter w;
  w.u32(kRequestMagic).u16(request.flags).u16(static_cast<std::uint16_t>(request.type));
  w.u64(request.cookie).u64(request.offset).u32(request.length);
  return w.bytes();
}

std::optional<Request> decode_request(ByteView bytes) {
  WireReader r(bytes);
  if (r.u32() != kRequestMagic) return std::nullopt;
  Request request;
  request.flags = r.u16();
  request.type = static_cast<CommandType>(r.u16());
  request.cookie = r.u64();
  request.offset = r.u64();
  request.length = r.u32();
  if (!r.done()) return std::nullopt;
  return request;
}

Bytes option_reply(std::uint32_t option, std::uint32_t reply, ByteView data) {
  WireWriter w;
  w.u64(kReplyMagic).u32(option).u32(reply);
  w.u32(static_cast<std::uint32_t>(data.size())).raw(data);
  return w.bytes();
}

Bytes simple_reply(std::uint64_t cookie, std::uint32_t error) {
  WireWriter w;
  w.u32(kSimpleReplyMagic).u32(error).u64(cookie);
  return w.bytes();
}

Bytes chunk_header(std::uint64_t cookie, std::uint16_t flags, std::uint16_t type,
                   std::uint32_t payload) {
  WireWriter w;
  w.u32(kStructuredReplyMagic).u16(flags).u16(type).u64(cookie).u32(payload);
  return w.bytes();
}

Bytes hole_chunk(std::uint64_t cookie, std::uint16_t flags, std::uint64_t offset,
                 std::uint32_t size) {
  WireWriter w;
  w.raw(chunk_header(cookie, flags, kChunkOffsetHole, 12)).u64(offset).u32(size);
  return w.bytes();
}

Bytes error_chunk(std::uint64_t cookie, std::uint32_t error, std::string_view message,
                  std::optional<std::uint64_t> offset) {
  message = message.substr(0, utf8_prefix(message.substr(0, kMessageBytesMax)));
  const auto payload = static_cast<std::uint32_t>(6 + message.size() + (offset ? 8 : 0));
  WireWriter w;
  w.raw(chunk_header(cookie, kChunkDone, offset ? kChunkErrorOffset : kChunkError, payload));
  w.u32(error).u16(static_cast<std::uint16_t>(message.size())).raw(as_bytes(message));
  if (offset) w.u64(*offset);
  return w.bytes();
}

}  // namespace tidemark::nbd
