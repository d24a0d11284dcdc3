// One plain TCP connection as a ByteStream.
#pragma once

#include "base/files.h"
#include "transport/byte_stream.h"

namespace tidemark::net {

// Nothing raises SIGPIPE, and a peer that takes no more can still be read: it may have said why.
class TcpStream final : public ByteStream {
 public:
  // `socket` is non-blocking. `cancel` must outlive the stream.
  TcpStream(Fd socket, const Event& cancel, microseconds stall)
      : ByteStream(cancel, stall), fd_(std::move(socket)) {}

  int fd() const override { return fd_.get(); }
  Result<std::size_t> read_some(ByteSpan into) override;
  Status write(ByteView data, bool more = false) override;
  Result<bool> write_unless_answered(ByteView data) override;
  void close(microseconds linger) override;

 private:
  Result<int> peek() override;
  Result<bool> send(ByteView data, bool more, bool stop_for_input);

  Fd fd_;
};

}  // namespace tidemark::net
