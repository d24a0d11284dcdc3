#include <openssl/evp.h>

#include "base/assert.h"
#include "transport/base64.h"
#include "transport/kube/websocket.h"

namespace tidemark::kube {
namespace {

constexpr std::size_t kControlBytesMax = 125;
constexpr std::string_view kAcceptSalt = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

Error broken(const std::string& what) {
  return Error(ErrorCode::corruption, "WebSocket: the server sent " + what);
}

bool is_control(std::uint8_t opcode) { return (opcode & 8) != 0; }

bool is_known(std::uint8_t opcode) { return opcode <= 2 || (opcode >= 8 && opcode <= 10); }

}  // namespace

Bytes encode_frame(Opcode opcode, ByteView payload, const FrameMask& mask) {
  Bytes out;
  const std::uint64_t size = payload.size();
  out.push_back(static_cast<std::uint8_t>(0x80 | static_cast<unsigned>(opcode)));
  int length_bytes = 0;
  if (size <= kControlBytesMax) {
    out.push_back(static_cast<std::uint8_t>(0x80 | size));
  } else if (size <= 0xffff) {
    out.push_back(0x80 | 126);
    length_bytes = 2;
  } else {
    out.push_back(0x80 | 127);
    length_bytes = 8;
  }
  for (int i = length_bytes - 1; i >= 0; --i)
    out.push_back(static_cast<std::uint8_t>(size >> (8 * i)));
  append(out, mask);
  const std::size_t start = out.size();
  append(out, payload);
  for (std::size_t i = 0; i < payload.size(); ++i) out[start + i] ^= mask[i % mask.size()];
  return out;
}

Result<std::optional<Frame>> FrameParser::next() {
  const ByteView there = ByteView(buffer_).subspan(begin_);
  if (there.size() < 2) return std::optional<Frame>();
  const std::uint8_t opcode = there[0] & 0x0f, short_length = there[1] & 0x7f;
  if ((there[0] & 0x70) != 0) return broken("reserved bits");
  if (!is_known(opcode)) return broken("an unknown opcode");
  if ((there[1] & 0x80) != 0) return broken("a masked frame");
  const bool final = (there[0] & 0x80) != 0;
  if (is_control(opcode) && (!final || short_length > kControlBytesMax))
    return broken("a control frame that is split or too long");
  const std::size_t length_bytes = short_length == 126 ? 2 : short_length == 127 ? 8 : 0;
  if (there.size() < 2 + length_bytes) return std::optional<Frame>();
  std::uint64_t size = short_length;
  if (length_bytes > 0) size = 0;
  for (std::size_t i = 0; i < length_bytes; ++i) size = size << 8 | there[2 + i];
  if ((length_bytes == 2 && size <= kControlBytesMax) || (length_bytes == 8 && size <= 0xffff))
    return broken("a length that is not minimal");
  if (size > payload_bytes_max_)
    return Error(ErrorCode::resource_exhausted,
                 "WebSocket: the server sent a frame of " + std::to_string(size) + " bytes");
  if (there.size() - 2 - length_bytes < size) return std::optional<Frame>();
  Frame frame;
  frame.opcode = static_cast<Opcode>(opcode);
  frame.final = final;
  append(frame.payload, there.subspan(2 + length_bytes, static_cast<std::size_t>(size)));
  begin_ += 2 + length_bytes + static_cast<std::size_t>(size);
  if (begin_ == buffer_.size()) {
    buffer_.clear();
    begin_ = 0;
  } else if (begin_ > buffer_.size() / 2) {
    buffer_ = copy_of(ByteView(buffer_).subspan(begin_));
    begin_ = 0;
  }
  return std::optional<Frame>(std::move(frame));
}

std::string accept_of(std::string_view key) {
  const std::string text = std::string(key) + std::string(kAcceptSalt);
  Bytes digest(EVP_MAX_MD_SIZE);
  unsigned size = 0;
  // SHA-1, as the protocol has it: a check of understanding, not of authenticity.
  TM_CHECK(EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha1(), nullptr) == 1);
  return net::to_base64(ByteView(digest).first(size));
}

}  // namespace tidemark::kube
