// One TLS connection on a non-blocking socket: blocking calls with a limit that can be called off.
#pragma once

#include <initializer_list>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "transport/openssl.h"
#include "transport/socket.h"

namespace tidemark::net {

// OpenSSL is driven directly, below our own BIO: records are gathered into few large system calls,
// nothing raises SIGPIPE, and a peer that is gone for writing can still be read, which is how the
// reason of a refusal reaches us.
//
// Used by one thread. Every wait ends with `deadline_exceeded` after `stall` without a byte, and
// with `cancelled` once `cancel` is set; after any error the connection is only good for close().
class TlsStream {
 public:
  // `cancel` must outlive the stream.
  static Result<std::unique_ptr<TlsStream>> create(SSL_CTX* context, Fd socket, bool server,
                                                   const Event& cancel, microseconds stall);
  ~TlsStream();

  SSL* ssl() { return ssl_.get(); }
  int fd() const { return io_.fd.get(); }

  // The whole handshake, within `timeout`.
  Status handshake(microseconds timeout);

  // Fills `into` as far as bytes are there, at least one; 0 where the peer has ended the stream in
  // order. A connection that just ends is `unavailable`. REQUIRES: !into.empty().
  Result<std::size_t> read_some(ByteSpan into);

  // Writes everything. Where `more` is set, the tail may wait for the next call.
  Status write(ByteView data, bool more = false);
  // As write(), but ends early, with false, where the peer has something to say while it does not
  // take more: an answer that came before the whole request was sent. Then read_some() gets it.
  Result<bool> write_unless_answered(ByteView data);

  // Waits until data can be read. `unavailable` where the peer closed, `deadline_exceeded`, or
  // `cancelled`, also by `also`.
  Status wait_input(microseconds timeout, const Event* also);
  // Whether nothing has arrived, not even the end: what a kept connection must look like.
  bool is_quiet();

  // Limits all that follows to a point in time (uptime()), however much moves; nothing lifts that.
  void set_deadline(std::optional<microseconds> deadline) { deadline_ = deadline; }

  // Says goodbye and closes for writing, then discards what still arrives until the peer closes, at
  // most for `linger`: closing at once would reset the connection, and a reset can overtake what
  // was written last.
  void close(microseconds linger);

 private:
  struct Io {
    Fd fd;
    Bytes out;  // records that are not sent yet, from out_begin to out_end
    std::size_t out_begin = 0, out_end = 0;
    int send_error = 0, receive_error = 0;
    bool end = false;
  };
  enum class Blocked { for_input, for_output };

  TlsStream() = default;
  static BIO_METHOD* bio_method();
  static int bio_write(BIO* bio, const char* data, int size);
  static int bio_read(BIO* bio, char* data, int size);
  static long bio_ctrl(BIO* bio, int command, long number, void* pointer);
  static void send_pending(Io& io);

  Result<Blocked> blocked(int result);
  Result<short> wait(short events);
  int bytes_under_way() const;
  Status flush();
  Error broken() const;
  Result<bool> write_records(ByteView data, bool stop_for_input);
  Result<bool> wait_to_write(bool stop_for_input);
  // 1: data is there, 0: not yet; otherwise the error that ended the stream.
  Result<int> peek();

  Io io_;
  SslPtr ssl_;
  const Event* cancel_ = nullptr;
  microseconds stall_{0};
  std::optional<microseconds> deadline_;
};

}  // namespace tidemark::net
