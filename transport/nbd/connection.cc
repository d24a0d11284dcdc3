#include "transport/nbd/connection.h"

#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>

#include "base/log.h"
#include "base/queue.h"
#include "transport/nbd/protocol.h"

namespace tidemark::nbd {
namespace {

// Requests of one client that are worked on at once, and that wait behind them; then the client
// waits.
constexpr std::size_t kWorkersMax = 8;
constexpr std::size_t kWaitingMax = 64;
// A structured reply goes out in pieces of this size.
constexpr std::uint32_t kPieceBytes = 1 << 20;
// Zeros are looked for in units of this size.
constexpr std::uint32_t kHoleBytes = 64 << 10;
// A reply in one piece needs a buffer of its size: together no more than this, or a single one.
constexpr std::uint64_t kWholeBytesMax = 32 << 20;
// Large reads are announced, so that their parts are fetched side by side.
constexpr std::uint32_t kExpectBytes = 4 << 20;
constexpr std::size_t kRunsMax = 4096;
constexpr std::size_t kInputBytes = 64 << 10;

std::uint32_t errno_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::invalid_argument:
      return kErrInvalid;
    case ErrorCode::resource_exhausted:
      return kErrNoMemory;
    case ErrorCode::cancelled:
      return kErrShutdown;
    default:
      return kErrIo;
  }
}

class Connection {
 public:
  Connection(BlockView& view, const Agreed& agreed, net::ByteStream& stream, const net::Event& stop,
             const net::Event& cut)
      : view_(view), agreed_(agreed), stream_(stream), stop_(stop), cut_(cut) {}

  Status run();
  // Makes everybody who serves this client leave.
  std::function<void()> on_cut;

 private:
  // Reading: by the connection's own thread.
  Result<bool> fill(bool idle);
  Result<bool> read(ByteSpan into, bool idle);
  Status skip(std::uint32_t bytes);
  Result<bool> take_request();
  Status dispatch(const Request& request);

  // Answering: by the workers, and by the connection's thread where that is short.
  Status work();
  Status answer(const Request& request);
  Status answer_read(const Request& request);
  Status read_whole(const Request& request);
  Status read_in_pieces(const Request& request);
  Status send_piece(const Request& request, std::uint32_t at, ByteView piece, bool last);
  Status answer_block_status(const Request& request);
  Status fail(const Request& request, std::uint32_t error, std::string_view why,
              std::optional<std::uint64_t> offset = std::nullopt);
  Status fail(const Request& request, const Error& error, std::uint64_t offset);
  Status send(ByteView head, ByteView body = {});
  bool is_within(const Request& request) const {
    return request.length > 0 && request.offset <= view_.size() &&
           request.length <= view_.size() - request.offset;
  }

  BlockView& view_;
  const Agreed agreed_;
  net::ByteStream& stream_;  // used with stream_mutex_ held; waiting for input is done without
  const net::Event& stop_;
  const net::Event& cut_;
  std::mutex stream_mutex_;
  bool broken_ = false;  // guarded by stream_mutex_
  Bytes input_ = Bytes(kInputBytes);
  std::size_t input_begin_ = 0, input_end_ = 0;
  BoundedQueue<Request> requests_{kWaitingMax};
  std::atomic<std::size_t> outstanding_{0};  // requests in the queue or worked on
  Budget whole_{kWholeBytesMax};
};

// Waits until bytes are there; false at the end of the stream. A client may be idle between
// requests, but not within one.
Result<bool> Connection::fill(bool idle) {
  static constexpr net::microseconds kWithin = std::chrono::seconds(30);
  const net::microseconds until = net::uptime() + kWithin;
  while (true) {
    {
      const std::lock_guard lock(stream_mutex_);
      if (!stream_.is_quiet()) {
        TM_TRY(input_end_, stream_.read_some(input_));
        input_begin_ = 0;
        return input_end_ > 0;
      }
    }
    const net::microseconds wait =
        idle ? net::microseconds(std::chrono::hours(1)) : until - net::uptime();
    const auto shown = net::wait_for(stream_.fd(), POLLIN, wait, {&stop_, &cut_});
    if (!shown && !(idle && shown.error().code() == ErrorCode::deadline_exceeded))
      return shown.error();
  }
}

// False where the stream ended before the first byte.
Result<bool> Connection::read(ByteSpan into, bool idle) {
  while (!into.empty()) {
    if (input_begin_ == input_end_) {
      TM_TRY(const bool more, fill(idle));
      if (!more && idle) return false;
      if (!more) return Error(ErrorCode::unavailable, "closed within a request");
    }
    const std::size_t part = std::min(into.size(), input_end_ - input_begin_);
    std::memcpy(into.data(), input_.data() + input_begin_, part);
    input_begin_ += part;
    into = into.subspan(part);
    idle = false;
  }
  return true;
}

Status Connection::skip(std::uint32_t bytes) {
  while (bytes > 0) {
    if (input_begin_ == input_end_) {
      TM_TRY(const bool more, fill(false));
      if (!more) return Error(ErrorCode::unavailable, "closed within a request");
    }
    const std::size_t part = std::min<std::size_t>(bytes, input_end_ - input_begin_);
    input_begin_ += part;
    bytes -= static_cast<std::uint32_t>(part);
  }
  return {};
}

// False where no more will come.
Result<bool> Connection::take_request() {
  std::array<std::uint8_t, kRequestBytes> bytes;
  TM_TRY(const bool came, read(bytes, true));
  if (!came) return false;
  const auto request = decode_request(bytes);
  if (!request) return Error(ErrorCode::invalid_argument, "what came is no NBD request");
  if (request->type == CommandType::disconnect) return false;
  TM_DO(dispatch(*request));
  return true;
}

Status Connection::dispatch(const Request& request) {
  switch (request.type) {
    case CommandType::write:
      // Its bytes have to be taken from the line to find the next request.
      if (request.length > kPayloadBytesMax)
        return Error(ErrorCode::invalid_argument, "a write that is too large");
      TM_DO(skip(request.length));
      return send(simple_reply(request.cookie, kErrPermission));
    case CommandType::trim:
    case CommandType::write_zeroes:
      return send(simple_reply(request.cookie, kErrPermission));
    case CommandType::cache:
      if (!is_within(request) || request.flags != 0)
        return send(simple_reply(request.cookie, kErrInvalid));
      view_.expect(request.offset, request.length);
      return send(simple_reply(request.cookie, kErrNone));
    case CommandType::read:
    case CommandType::block_status:
      ++outstanding_;
      if (!requests_.push(request)) return Error(ErrorCode::cancelled, "the connection was cut");
      return {};
    default:
      return send(simple_reply(request.cookie, kErrInvalid));
  }
}

Status Connection::run() {
  ThreadGroup workers([this] {
    requests_.abort();
    whole_.abort();
    on_cut();
  });
  std::size_t started = 0;
  while (true) {
    const auto more = take_request();
    if (!more) workers.fail(more.error());
    if (!more || !*more) break;
    if (started < std::min<std::size_t>(outstanding_, kWorkersMax)) {
      workers.start("tm-nbd", [this] { return work(); });
      ++started;
    }
  }
  requests_.close();  // what was asked before a disconnection is answered
  return workers.join();
}

Status Connection::work() {
  while (true) {
    const auto request = requests_.pop();
    if (!request) return {};
    TM_DO(answer(*request));
    --outstanding_;
  }
}

// Of a client that takes nothing only one send has to find that out.
Status Connection::send(ByteView head, ByteView body) {
  const std::lock_guard lock(stream_mutex_);
  if (broken_) return Error(ErrorCode::unavailable, "the client takes no more");
  Status sent = stream_.write(head, !body.empty());
  if (sent && !body.empty()) sent = stream_.write(body);
  broken_ = !sent;
  return sent;
}

Status Connection::fail(const Request& request, std::uint32_t error, std::string_view why,
                        std::optional<std::uint64_t> offset) {
  if (!agreed_.structured) return send(simple_reply(request.cookie, error));
  return send(error_chunk(request.cookie, error, why, offset));
}

Status Connection::fail(const Request& request, const Error& error, std::uint64_t offset) {
  log::warn("nbd: read at {}: {}", offset, error.describe());
  return fail(request, errno_of(error), error.message(), offset);
}

Status Connection::answer(const Request& request) {
  return request.type == CommandType::read ? answer_read(request) : answer_block_status(request);
}

Status Connection::answer_read(const Request& request) {
  const auto allowed = static_cast<std::uint16_t>(agreed_.structured ? kCmdDontFragment : 0);
  if ((request.flags & ~allowed) != 0) return fail(request, kErrInvalid, "unknown flags");
  if (request.length > kPayloadBytesMax) return fail(request, kErrOverflow, "too large a read");
  if (!is_within(request)) return fail(request, kErrInvalid, "not within the volume");
  if (request.length > kExpectBytes) view_.expect(request.offset, request.length);
  const bool whole = !agreed_.structured || (request.flags & kCmdDontFragment) != 0;
  return whole ? read_whole(request) : read_in_pieces(request);
}

// The reply says before its bytes whether they are good: all of them are read first.
Status Connection::read_whole(const Request& request) {
  if (!whole_.acquire(request.length)) return Error(ErrorCode::cancelled, "cut");
  struct Release {
    Budget& budget;
    std::uint64_t bytes;
    ~Release() { budget.release(bytes); }
  } const release{whole_, request.length};
  Bytes bytes(request.length);
  if (const auto got = view_.read(request.offset, bytes); !got)
    return fail(request, got.error(), request.offset);
  if (!agreed_.structured) return send(simple_reply(request.cookie, kErrNone), bytes);
  WireWriter head;
  head.raw(chunk_header(request.cookie, kChunkDone, kChunkOffsetData, 8 + request.length));
  head.u64(request.offset);
  return send(head.bytes(), bytes);
}

Status Connection::read_in_pieces(const Request& request) {
  Bytes piece;
  for (std::uint32_t at = 0; at < request.length;) {
    const std::uint32_t size = std::min(request.length - at, kPieceBytes);
    piece.resize(size);
    const std::uint64_t offset = request.offset + at;
    if (const auto got = view_.read(offset, piece); !got) return fail(request, got.error(), offset);
    TM_DO(send_piece(request, at, piece, at + size == request.length));
    at += size;
  }
  return {};
}

// Runs of data and of zeros, each as a chunk.
Status Connection::send_piece(const Request& request, std::uint32_t at, ByteView piece, bool last) {
  const auto is_hole = [&](std::size_t from) {
    return is_all_zero(piece.subspan(from, std::min<std::size_t>(kHoleBytes, piece.size() - from)));
  };
  for (std::size_t begin = 0; begin < piece.size();) {
    const bool hole = is_hole(begin);
    std::size_t end = std::min<std::size_t>(begin + kHoleBytes, piece.size());
    while (end < piece.size() && is_hole(end) == hole)
      end = std::min<std::size_t>(end + kHoleBytes, piece.size());
    const std::uint16_t flags = last && end == piece.size() ? kChunkDone : 0;
    const std::uint64_t offset = request.offset + at + begin;
    const auto size = static_cast<std::uint32_t>(end - begin);
    if (hole) {
      TM_DO(send(hole_chunk(request.cookie, flags, offset, size)));
    } else {
      WireWriter head;
      head.raw(chunk_header(request.cookie, flags, kChunkOffsetData, 8 + size)).u64(offset);
      TM_DO(send(head.bytes(), piece.subspan(begin, size)));
    }
    begin = end;
  }
  return {};
}

Status Connection::answer_block_status(const Request& request) {
  if (!agreed_.base_allocation) return fail(request, kErrInvalid, "no context was chosen");
  if ((request.flags & ~kCmdRequestOne) != 0) return fail(request, kErrInvalid, "unknown flags");
  if (!is_within(request)) return fail(request, kErrInvalid, "not within the volume");
  const bool one = (request.flags & kCmdRequestOne) != 0;
  const auto runs = view_.runs(request.offset, request.length, one ? 1 : kRunsMax);
  if (!runs) return fail(request, runs.error(), request.offset);
  WireWriter w;
  w.u32(kAllocationContext);
  for (const BlockRun& run : *runs)
    w.u32(static_cast<std::uint32_t>(run.size)).u32(run.data ? 0 : kStateHole | kStateZero);
  const auto size = static_cast<std::uint32_t>(w.size());
  return send(chunk_header(request.cookie, kChunkDone, kChunkBlockStatus, size), w.bytes());
}

}  // namespace

Status serve_requests(BlockView& view, const Agreed& agreed, net::ByteStream& stream,
                      const net::Event& stop) {
  TM_TRY(const auto cut, net::Event::create());
  Connection connection(view, agreed, stream, stop, *cut);
  connection.on_cut = [&] { cut->set(); };
  return connection.run();
}

}  // namespace tidemark::nbd
