// One TLS connection on a non-blocking socket: blocking calls with a limit that can be called off.
#pragma once

#include <memory>

#include "base/files.h"
#include "transport/byte_stream.h"
#include "transport/openssl.h"

namespace tidemark::net {

// OpenSSL is driven directly, below our own BIO: records are gathered into few large system calls,
// nothing raises SIGPIPE, and a peer that is gone for writing can still be read, which is how the
// reason of a refusal reaches us.
class TlsStream final : public ByteStream {
 public:
  // `cancel` must outlive the stream.
  static Result<std::unique_ptr<TlsStream>> create(SSL_CTX* context, Fd socket, bool server,
                                                   const Event& cancel, microseconds stall);
  ~TlsStream() override;

  SSL* ssl() { return ssl_.get(); }
  int fd() const override { return io_.fd.get(); }

  // The whole handshake, within `timeout`.
  Status handshake(microseconds timeout);

  Result<std::size_t> read_some(ByteSpan into) override;
  Status write(ByteView data, bool more = false) override;
  Result<bool> write_unless_answered(ByteView data) override;
  void close(microseconds linger) override;

 private:
  struct Io {
    Fd fd;
    Bytes out;  // records that are not sent yet, from out_begin to out_end
    std::size_t out_begin = 0, out_end = 0;
    int send_error = 0, receive_error = 0;
    bool end = false;
  };
  enum class Blocked { for_input, for_output };

  TlsStream(const Event& cancel, microseconds stall) : ByteStream(cancel, stall) {}
  static BIO_METHOD* bio_method();
  static int bio_write(BIO* bio, const char* data, int size);
  static int bio_read(BIO* bio, char* data, int size);
  static long bio_ctrl(BIO* bio, int command, long number, void* pointer);
  static void send_pending(Io& io);

  Result<Blocked> blocked(int result);
  Status flush();
  Error broken() const;
  Result<bool> write_records(ByteView data, bool stop_for_input);
  Result<int> peek() override;

  Io io_;
  SslPtr ssl_;
};

}  // namespace tidemark::net
