// One connection's bytes, encrypted or not: blocking calls with a limit that can be called off.
#pragma once

#include <optional>

#include "base/bytes.h"
#include "transport/socket.h"

namespace tidemark::net {

// Used by one thread at a time. Every wait ends with `deadline_exceeded` after `stall` without a
// byte, and with `cancelled` once `cancel` is set; after any error the connection is only good for
// close().
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;

  virtual int fd() const = 0;

  // Fills `into` as far as bytes are there, at least one; 0 where the peer has ended the stream in
  // order. A connection that breaks is `unavailable`. REQUIRES: !into.empty().
  virtual Result<std::size_t> read_some(ByteSpan into) = 0;

  // Writes everything. Where `more` is set, the tail may wait for the next call.
  virtual Status write(ByteView data, bool more = false) = 0;
  // As write(), but ends early, with false, where the peer has something to say while it does not
  // take more: an answer that came before the whole request was sent. Then read_some() gets it.
  virtual Result<bool> write_unless_answered(ByteView data) = 0;

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
  virtual void close(microseconds linger) = 0;

 protected:
  // `cancel` must outlive the stream.
  ByteStream(const Event& cancel, microseconds stall) : cancel_(&cancel), stall_(stall) {}

  // 1: data is there, 0: not yet; otherwise the error or the end that ended the stream.
  virtual Result<int> peek() = 0;

  const Event& cancel() const { return *cancel_; }
  // Waits for the socket to show one of `events`, within the limits. The limit of one stall is
  // `stall` where it is given.
  Result<short> wait(short events, std::optional<microseconds> stall = std::nullopt);
  // Waits until the socket takes more. False where the peer has answered instead and
  // `stop_for_input` is set.
  Result<bool> wait_to_write(bool stop_for_input);
  // Closes for writing and reads what still comes, until `until` at the latest.
  void drain_until(microseconds until);
  std::optional<microseconds> deadline() const { return deadline_; }

 private:
  int bytes_under_way() const;

  const Event* const cancel_;
  const microseconds stall_;
  std::optional<microseconds> deadline_;
};

}  // namespace tidemark::net
