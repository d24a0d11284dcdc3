#include "transport/nbd/handshake.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "transport/nbd/protocol.h"

namespace tidemark::nbd {
namespace {

// An option's data: a few names and queries. More is refused, and much more is not even skipped.
constexpr std::uint32_t kOptionBytesMax = 32 << 10;
constexpr std::uint32_t kOptionSkipMax = 1 << 20;
constexpr std::size_t kOptionsMax = 128;
constexpr std::uint32_t kBlockBytesMin = 1, kBlockBytesPreferred = 64 << 10;

class Handshake {
 public:
  Handshake(std::unique_ptr<net::ByteStream>& stream, std::uint64_t size_bytes,
            const Options& options, const net::Event& stop)
      : stream_(stream),
        size_bytes_(size_bytes),
        options_(options),
        stop_(stop),
        deadline_(net::uptime() + options.handshake_timeout) {}

  Result<std::optional<Agreed>> run();

 private:
  enum class Next { option, transmission, end };

  Status greet();
  Result<Next> take_option();
  Result<Next> answer(std::uint32_t option, ByteView data);
  Result<Next> export_name(ByteView data);
  Result<Next> info_or_go(std::uint32_t option, ByteView data);
  Result<Next> list(ByteView data);
  Result<Next> structured_reply(ByteView data);
  Result<Next> meta_context(std::uint32_t option, ByteView data);
  Result<Next> start_tls(ByteView data);

  Status read(ByteSpan into);
  Status skip(std::uint32_t bytes);
  Result<Next> reply(std::uint32_t option, std::uint32_t code, ByteView data = {}) {
    TM_DO(stream_->write(option_reply(option, code, data)));
    return Next::option;
  }
  Result<Next> refuse(std::uint32_t option, std::uint32_t code, std::string_view why) {
    return reply(option, code, as_bytes(why));
  }
  bool is_ours(std::string_view name) const { return name.empty() || name == options_.name; }
  std::uint16_t export_flags() const {
    return static_cast<std::uint16_t>(kFlagHasFlags | kFlagReadOnly | kFlagCanMultiConn |
                                      kFlagSendCache | (agreed_.structured ? kFlagSendDf : 0));
  }

  std::unique_ptr<net::ByteStream>& stream_;
  const std::uint64_t size_bytes_;
  const Options& options_;
  const net::Event& stop_;
  const net::microseconds deadline_;
  bool secure_ = false;
  bool no_zeroes_ = false;
  Agreed agreed_;
};

Status Handshake::read(ByteSpan into) {
  while (!into.empty()) {
    TM_TRY(const std::size_t n, stream_->read_some(into));
    if (n == 0) return Error(ErrorCode::unavailable, "closed by the client");
    into = into.subspan(n);
  }
  return {};
}

Status Handshake::skip(std::uint32_t bytes) {
  std::array<std::uint8_t, 16 << 10> sink;
  while (bytes > 0) {
    const auto part = std::min<std::uint32_t>(bytes, sink.size());
    TM_DO(read(ByteSpan(sink).first(part)));
    bytes -= part;
  }
  return {};
}

Status Handshake::greet() {
  WireWriter w;
  w.u64(kMagic).u64(kOptionMagic).u16(kFixedNewstyle | kNoZeroes);
  TM_DO(stream_->write(w.bytes()));
  std::array<std::uint8_t, 4> bytes;
  TM_DO(read(bytes));
  const std::uint32_t flags = WireReader(bytes).u32();
  if ((flags & ~std::uint32_t{kFixedNewstyle | kNoZeroes}) != 0)
    return Error(ErrorCode::invalid_argument, "unknown client flags");
  no_zeroes_ = (flags & kNoZeroes) != 0;
  return {};
}

Result<std::optional<Agreed>> Handshake::run() {
  stream_->set_deadline(deadline_);
  TM_DO(greet());
  for (std::size_t options = 0; options < kOptionsMax; ++options) {
    TM_TRY(const Next next, take_option());
    if (next == Next::end) return std::optional<Agreed>();
    if (next == Next::transmission) {
      stream_->set_deadline(std::nullopt);
      return std::optional<Agreed>(agreed_);
    }
  }
  return Error(ErrorCode::invalid_argument, "too many options");
}

Result<Handshake::Next> Handshake::take_option() {
  std::array<std::uint8_t, 16> head;
  TM_DO(read(head));
  WireReader r(head);
  if (r.u64() != kOptionMagic) return Error(ErrorCode::invalid_argument, "no NBD option");
  const std::uint32_t option = r.u32(), length = r.u32();
  if (length > kOptionBytesMax) {
    if (length > kOptionSkipMax || option == kOptExportName)
      return Error(ErrorCode::invalid_argument, "an NBD option that is too long");
    TM_DO(skip(length));
    return refuse(option, kRepErrTooBig, "too long an option");
  }
  Bytes data(length);
  TM_DO(read(data));
  return answer(option, data);
}

Result<Handshake::Next> Handshake::answer(std::uint32_t option, ByteView data) {
  if (options_.door && !secure_ && option != kOptStartTls && option != kOptAbort) {
    if (option == kOptExportName)  // has no way to say no
      return Error(ErrorCode::permission_denied, "a client without TLS");
    return refuse(option, kRepErrTlsRequired, "begin TLS first");
  }
  switch (option) {
    case kOptExportName:
      return export_name(data);
    case kOptAbort:
      TM_DO(reply(option, kRepAck));
      return Next::end;
    case kOptList:
      return list(data);
    case kOptStartTls:
      return start_tls(data);
    case kOptInfo:
    case kOptGo:
      return info_or_go(option, data);
    case kOptStructuredReply:
      return structured_reply(data);
    case kOptListMetaContext:
    case kOptSetMetaContext:
      return meta_context(option, data);
    default:
      return refuse(option, kRepErrUnsupported, "not supported");
  }
}

Result<Handshake::Next> Handshake::export_name(ByteView data) {
  if (!is_ours(as_text(data))) return Error(ErrorCode::not_found, "an export of another name");
  WireWriter w;
  w.u64(size_bytes_).u16(export_flags());
  static constexpr std::array<std::uint8_t, 124> kZeroes{};
  if (!no_zeroes_) w.raw(kZeroes);
  TM_DO(stream_->write(w.bytes()));
  return Next::transmission;
}

Result<Handshake::Next> Handshake::list(ByteView data) {
  if (!data.empty()) return refuse(kOptList, kRepErrInvalid, "an option with data that has none");
  WireWriter w;
  w.text(options_.name).raw(as_bytes(options_.description));
  TM_DO(reply(kOptList, kRepServer, w.bytes()));
  return reply(kOptList, kRepAck);
}

Result<Handshake::Next> Handshake::structured_reply(ByteView data) {
  if (!data.empty())
    return refuse(kOptStructuredReply, kRepErrInvalid, "an option with data that has none");
  agreed_.structured = true;
  return reply(kOptStructuredReply, kRepAck);
}

Result<Handshake::Next> Handshake::info_or_go(std::uint32_t option, ByteView data) {
  WireReader r(data);
  const std::string_view name = r.text(kNameBytesMax);
  const std::uint16_t count = r.u16();
  bool wants_name = false, wants_description = false, wants_block_size = false;
  for (std::uint16_t i = 0; i < count && r.ok(); ++i) {
    const std::uint16_t what = r.u16();
    wants_name |= what == kInfoName;
    wants_description |= what == kInfoDescription;
    wants_block_size |= what == kInfoBlockSize;
  }
  if (!r.done()) return refuse(option, kRepErrInvalid, "malformed");
  if (!is_ours(name)) return refuse(option, kRepErrUnknown, "no such export");
  WireWriter exported;
  exported.u16(kInfoExport).u64(size_bytes_).u16(export_flags());
  TM_DO(reply(option, kRepInfo, exported.bytes()));
  if (wants_name) {
    WireWriter w;
    w.u16(kInfoName).raw(as_bytes(options_.name));
    TM_DO(reply(option, kRepInfo, w.bytes()));
  }
  if (wants_description) {
    WireWriter w;
    w.u16(kInfoDescription).raw(as_bytes(options_.description));
    TM_DO(reply(option, kRepInfo, w.bytes()));
  }
  if (wants_block_size) {
    WireWriter w;
    w.u16(kInfoBlockSize).u32(kBlockBytesMin).u32(kBlockBytesPreferred).u32(kPayloadBytesMax);
    TM_DO(reply(option, kRepInfo, w.bytes()));
  }
  TM_DO(reply(option, kRepAck));
  return option == kOptGo ? Next::transmission : Next::option;
}

Result<Handshake::Next> Handshake::meta_context(std::uint32_t option, ByteView data) {
  const bool set = option == kOptSetMetaContext;
  if (set) agreed_.base_allocation = false;
  if (!agreed_.structured) return refuse(option, kRepErrInvalid, "structured replies come first");
  WireReader r(data);
  const std::string_view name = r.text(kNameBytesMax);
  const std::uint32_t queries = r.u32();
  bool wanted = !set && queries == 0;
  for (std::uint32_t i = 0; i < queries && r.ok(); ++i) {
    const std::string_view query = r.text(kNameBytesMax);
    wanted |= query == kBaseAllocation || (!set && query == kBaseNamespace);
  }
  if (!r.done()) return refuse(option, kRepErrInvalid, "malformed");
  if (!is_ours(name)) return refuse(option, kRepErrUnknown, "no such export");
  if (wanted) {
    WireWriter w;
    w.u32(set ? kAllocationContext : 0).raw(as_bytes(kBaseAllocation));
    TM_DO(reply(option, kRepMetaContext, w.bytes()));
    if (set) agreed_.base_allocation = true;
  }
  return reply(option, kRepAck);
}

Result<Handshake::Next> Handshake::start_tls(ByteView data) {
  if (!options_.door) return refuse(kOptStartTls, kRepErrPolicy, "this server speaks no TLS");
  if (secure_ || !data.empty()) return refuse(kOptStartTls, kRepErrInvalid, "not now");
  TM_DO(reply(kOptStartTls, kRepAck));
  Fd socket(::fcntl(stream_->fd(), F_DUPFD_CLOEXEC, 0));
  if (!socket) return errno_error(errno, "dup");
  TM_TRY(stream_, options_.door->enter(std::move(socket), stop_, deadline_ - net::uptime(),
                                       options_.stall_timeout));
  stream_->set_deadline(deadline_);
  secure_ = true;
  return Next::option;
}

}  // namespace

Result<std::optional<Agreed>> negotiate(std::unique_ptr<net::ByteStream>& stream,
                                        std::uint64_t size_bytes, const Options& options,
                                        const net::Event& stop) {
  return Handshake(stream, size_bytes, options, stop).run();
}

}  // namespace tidemark::nbd
