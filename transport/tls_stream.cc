#include "transport/tls_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "transport/tls_error.h"

namespace tidemark::net {
namespace {

// Several records of 16 KiB go out with one system call.
constexpr std::size_t kOutBytes = 128 * kKiB;
constexpr std::size_t kRecordBytesMax = 17 * kKiB;
static_assert(kOutBytes > 2 * kRecordBytesMax);

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

}  // namespace

Result<std::unique_ptr<TlsStream>> TlsStream::create(SSL_CTX* context, Fd socket, bool server,
                                                     const Event& cancel, microseconds stall) {
  std::unique_ptr<TlsStream> stream(new TlsStream(cancel, stall));
  stream->io_.fd = std::move(socket);
  stream->io_.out.resize(kOutBytes);
  stream->ssl_.reset(SSL_new(context));
  BIO* const bio = bio_method() == nullptr ? nullptr : BIO_new(bio_method());
  if (stream->ssl_ == nullptr || bio == nullptr) {
    BIO_free(bio);
    return openssl_error(ErrorCode::resource_exhausted, "make a TLS connection");
  }
  BIO_set_data(bio, &stream->io_);
  BIO_set_init(bio, 1);
  SSL_set_bio(stream->ssl_.get(), bio, bio);
  if (server)
    SSL_set_accept_state(stream->ssl_.get());
  else
    SSL_set_connect_state(stream->ssl_.get());
  return stream;
}

TlsStream::~TlsStream() = default;

BIO_METHOD* TlsStream::bio_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* const made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    if (made != nullptr) {
      BIO_meth_set_write(made, bio_write);
      BIO_meth_set_read(made, bio_read);
      BIO_meth_set_ctrl(made, bio_ctrl);
    }
    return made;
  }();
  return method;
}

// Sends what is gathered, as far as the socket takes it. After an error of the socket everything is
// dropped and send_error tells; OpenSSL sees success, so that it stays able to read.
void TlsStream::send_pending(Io& io) {
  while (io.out_begin < io.out_end && io.send_error == 0) {
    const ssize_t n =
        ::send(io.fd.get(), io.out.data() + io.out_begin, io.out_end - io.out_begin, MSG_NOSIGNAL);
    if (n >= 0) {
      io.out_begin += static_cast<std::size_t>(n);
    } else if (would_block(errno)) {
      return;
    } else if (errno != EINTR) {
      io.send_error = errno;
    }
  }
  io.out_begin = io.out_end = 0;
}

int TlsStream::bio_write(BIO* bio, const char* data, int size) {
  Io& io = *static_cast<Io*>(BIO_get_data(bio));
  const auto bytes = std::min(static_cast<std::size_t>(size), io.out.size());
  BIO_clear_retry_flags(bio);
  if (io.out_end + bytes > io.out.size()) send_pending(io);
  if (io.out_end + bytes > io.out.size() && io.out_begin > 0) {
    std::memmove(io.out.data(), io.out.data() + io.out_begin, io.out_end - io.out_begin);
    io.out_end -= std::exchange(io.out_begin, 0);
  }
  if (io.out_end + bytes > io.out.size()) {
    BIO_set_retry_write(bio);
    return -1;
  }
  std::memcpy(io.out.data() + io.out_end, data, bytes);
  io.out_end += bytes;
  return static_cast<int>(bytes);
}

int TlsStream::bio_read(BIO* bio, char* data, int size) {
  Io& io = *static_cast<Io*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  while (true) {
    const ssize_t n = ::recv(io.fd.get(), data, static_cast<std::size_t>(size), 0);
    if (n > 0) return static_cast<int>(n);
    if (n == 0) {
      io.end = true;
      return 0;
    }
    if (errno == EINTR) continue;
    if (would_block(errno))
      BIO_set_retry_read(bio);
    else
      io.receive_error = errno;
    return -1;
  }
}

long TlsStream::bio_ctrl(BIO* bio, int command, long, void*) {
  Io& io = *static_cast<Io*>(BIO_get_data(bio));
  switch (command) {
    case BIO_CTRL_EOF:
      return io.end ? 1 : 0;
    case BIO_CTRL_FLUSH:
      BIO_clear_retry_flags(bio);
      send_pending(io);
      if (io.out_end == 0) return 1;
      BIO_set_retry_write(bio);
      return -1;
    default:
      return 0;
  }
}

Error TlsStream::broken() const {
  const int error = io_.receive_error != 0 ? io_.receive_error : io_.send_error;
  if (error != 0)
    return Error(ErrorCode::unavailable, std::string("the connection broke: ") + ::strerror(error));
  return Error(ErrorCode::unavailable, "the connection was closed by the other end");
}

// What a call waits for that returned `result` <= 0, or why it will never succeed.
Result<TlsStream::Blocked> TlsStream::blocked(int result) {
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return Blocked::for_input;
    case SSL_ERROR_WANT_WRITE:
      return Blocked::for_output;
    case SSL_ERROR_SSL:
      if (!io_.end || ERR_GET_REASON(ERR_peek_error()) != SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return tls_error(ssl_.get());
      [[fallthrough]];
    default:
      ERR_clear_error();
      return broken();
  }
}

Status TlsStream::flush() {
  while (true) {
    send_pending(io_);
    if (io_.send_error != 0) return broken();
    if (io_.out_end == 0) return {};
    TM_TRY([[maybe_unused]] const short shown, wait(POLLOUT));
  }
}

Status TlsStream::handshake(microseconds timeout) {
  set_deadline(uptime() + timeout);
  while (true) {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    if (result == 1) break;
    const auto on = blocked(result);
    // A refused write comes with the peer's reason waiting to be read, where there is one.
    if (!on) return on.error();
    const auto waited = wait(*on == Blocked::for_input ? POLLIN : POLLOUT, timeout);
    if (!waited) return waited.error();
  }
  set_deadline(std::nullopt);
  return flush();
}

Result<std::size_t> TlsStream::read_some(ByteSpan into) {
  std::size_t filled = 0;
  while (filled < into.size()) {
    if (cancel().is_set()) return Error(ErrorCode::cancelled, "cancelled");
    ERR_clear_error();
    std::size_t n = 0;
    const int result = SSL_read_ex(ssl_.get(), into.data() + filled, into.size() - filled, &n);
    if (result == 1) {
      filled += n;
      continue;
    }
    // An error behind bytes that did arrive is found again by the next call.
    if (filled > 0) break;
    if (SSL_get_error(ssl_.get(), result) == SSL_ERROR_ZERO_RETURN) return std::size_t{0};
    TM_TRY(const Blocked on, blocked(result));
    TM_TRY([[maybe_unused]] const short shown, wait(on == Blocked::for_input ? POLLIN : POLLOUT));
  }
  return filled;
}

Result<int> TlsStream::peek() {
  ERR_clear_error();
  std::uint8_t byte = 0;
  std::size_t n = 0;
  const int result = SSL_peek_ex(ssl_.get(), &byte, 1, &n);
  if (result == 1) return 1;
  TM_TRY([[maybe_unused]] const Blocked on, blocked(result));
  return 0;
}

Result<bool> TlsStream::write_records(ByteView data, bool stop_for_input) {
  while (!data.empty()) {
    if (cancel().is_set()) return Error(ErrorCode::cancelled, "cancelled");
    ERR_clear_error();
    std::size_t n = 0;
    const int result = SSL_write_ex(ssl_.get(), data.data(), data.size(), &n);
    if (io_.send_error != 0) return broken();
    if (result == 1) {
      data = data.subspan(n);
      continue;
    }
    TM_TRY([[maybe_unused]] const Blocked on, blocked(result));
    TM_TRY(const bool go_on, wait_to_write(stop_for_input));
    if (!go_on) return false;
  }
  return true;
}

Status TlsStream::write(ByteView data, bool more) {
  TM_TRY([[maybe_unused]] const bool all, write_records(data, false));
  return more ? Status{} : flush();
}

Result<bool> TlsStream::write_unless_answered(ByteView data) {
  TM_TRY(const bool all, write_records(data, true));
  if (!all) return false;
  while (true) {
    send_pending(io_);
    if (io_.send_error != 0) return broken();
    if (io_.out_end == 0) return true;
    TM_TRY(const bool go_on, wait_to_write(true));
    if (!go_on) return false;
  }
}

void TlsStream::close(microseconds linger) {
  const microseconds until = uptime() + linger;
  ERR_clear_error();
  if (SSL_is_init_finished(ssl_.get()) == 1) SSL_shutdown(ssl_.get());
  ERR_clear_error();
  while (true) {
    send_pending(io_);
    if (io_.out_end == 0) break;
    if (!wait_for(io_.fd.get(), POLLOUT, until - uptime(), {&cancel()})) break;
  }
  drain_until(until);
  io_.fd.reset();
}

}  // namespace tidemark::net
