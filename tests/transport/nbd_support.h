// A volume in memory, and an NBD client as a test or an adversary makes one.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <map>
#include <thread>

#include "base/log.h"
#include "tests/transport/fixture.h"
#include "transport/block_view.h"
#include "transport/nbd/protocol.h"
#include "transport/nbd/server.h"

namespace tidemark::testing {

// Bytes in memory; reads of places told so fail.
class MemoryView final : public BlockView {
 public:
  explicit MemoryView(Bytes content) : bytes(std::move(content)) {}
  std::uint64_t size() const override { return bytes.size(); }
  Status read(std::uint64_t offset, ByteSpan into) override {
    reads.fetch_add(1);
    largest = std::max<std::size_t>(largest, into.size());
    if (bad_at >= offset && bad_at < offset + into.size())
      return Error(ErrorCode::corruption, "a chunk is damaged");
    if (offset > bytes.size() || into.size() > bytes.size() - offset)
      return Error(ErrorCode::invalid_argument, "past the end");
    std::copy_n(bytes.data() + offset, into.size(), into.data());
    return {};
  }
  Result<std::vector<BlockRun>> runs(std::uint64_t offset, std::uint64_t length,
                                     std::size_t runs_max) override {
    static constexpr std::uint64_t kUnit = 4096;
    std::vector<BlockRun> out;
    for (std::uint64_t at = offset; at < offset + length;) {
      const std::uint64_t size = std::min(offset + length - at, kUnit - at % kUnit);
      const bool data = !is_all_zero(ByteView(bytes).subspan(at, size));
      if (out.empty() || out.back().data != data) {
        if (out.size() == runs_max) break;
        out.push_back({0, data});
      }
      out.back().size += size;
      at += size;
    }
    return out;
  }
  void expect(std::uint64_t, std::uint64_t) override { expected.fetch_add(1); }

  Bytes bytes;
  std::atomic<std::uint64_t> bad_at{~std::uint64_t{0}};
  std::atomic<int> reads{0}, expected{0};
  std::atomic<std::size_t> largest{0};
};

// One end of a connection whose other end is served. All waits end after some seconds.
class NbdPeer {
 public:
  NbdPeer(BlockView& view, nbd::Options options) : stop_(net::Event::create().value()) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    socket_ = Fd(ends[0]);
    Fd served(ends[1]);
    ::fcntl(served.get(), F_SETFL, O_NONBLOCK);
    server_ = std::thread([this, &view, options, fd = std::move(served)]() mutable {
      nbd::serve_connection(view, options, std::move(fd), *stop_);
      ended_ = true;
    });
  }
  ~NbdPeer() {
    socket_.reset();
    if (server_.joinable()) server_.join();
  }

  bool send(ByteView bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return true;
  }
  // Exactly so many bytes; fewer where the connection ends, or nothing comes for five seconds.
  Bytes receive(std::size_t size) {
    Bytes got(size);
    std::size_t filled = 0;
    while (filled < size) {
      pollfd polled{socket_.get(), POLLIN, 0};
      if (::poll(&polled, 1, 5000) <= 0) break;
      const ssize_t n = ::recv(socket_.get(), got.data() + filled, size - filled, 0);
      if (n <= 0) break;
      filled += static_cast<std::size_t>(n);
    }
    got.resize(filled);
    return got;
  }
  // Whether the server closes, whatever it says before.
  bool closes() {
    for (int i = 0; i < 100'000; ++i) {
      pollfd polled{socket_.get(), POLLIN, 0};
      if (::poll(&polled, 1, 5000) <= 0) return false;
      std::array<char, 65536> sink;
      if (::recv(socket_.get(), sink.data(), sink.size(), 0) <= 0) return true;
    }
    return false;
  }
  void end_writing() { ::shutdown(socket_.get(), SHUT_WR); }
  void stop() { stop_->set(); }
  void join() { server_.join(); }
  bool ended() const { return ended_; }

  // --- negotiation
  bool greet(std::uint32_t flags = nbd::kFixedNewstyle | nbd::kNoZeroes) {
    const Bytes hello = receive(18);
    nbd::WireReader r(hello);
    EXPECT_EQ(r.u64(), nbd::kMagic);
    EXPECT_EQ(r.u64(), nbd::kOptionMagic);
    EXPECT_EQ(r.u16(), nbd::kFixedNewstyle | nbd::kNoZeroes);
    return send(nbd::WireWriter().u32(flags).bytes()) && r.done();
  }
  bool send_option(std::uint32_t option, ByteView data = {}) {
    nbd::WireWriter w;
    w.u64(nbd::kOptionMagic).u32(option).u32(static_cast<std::uint32_t>(data.size())).raw(data);
    return send(w.bytes());
  }
  struct Reply {
    std::uint32_t option = 0, code = 0;
    Bytes data;
  };
  Reply option_reply() {
    const Bytes head = receive(20);
    nbd::WireReader r(head);
    EXPECT_EQ(r.u64(), nbd::kReplyMagic);
    Reply reply;
    reply.option = r.u32();
    reply.code = r.u32();
    const std::uint32_t size = r.u32();
    if (r.done() && size < 65536) reply.data = receive(size);
    return reply;
  }
  // The code of the last reply; those before it are passed over.
  std::uint32_t ask(std::uint32_t option, ByteView data = {}) {
    send_option(option, data);
    Reply reply = option_reply();
    while (reply.code == nbd::kRepInfo || reply.code == nbd::kRepServer ||
           reply.code == nbd::kRepMetaContext)
      reply = option_reply();
    return reply.code;
  }
  static Bytes go_data(std::string_view name = "") {
    return nbd::WireWriter().text(name).u16(0).bytes();
  }
  static Bytes context_data(std::string_view query = nbd::kBaseAllocation) {
    return nbd::WireWriter().text("").u32(1).text(query).bytes();
  }
  // Into transmission.
  void connect(bool structured = true) {
    greet();
    if (structured) {
      EXPECT_EQ(ask(nbd::kOptStructuredReply), nbd::kRepAck);
      EXPECT_EQ(ask(nbd::kOptSetMetaContext, context_data()), nbd::kRepAck);
    }
    EXPECT_EQ(ask(nbd::kOptGo, go_data()), nbd::kRepAck);
  }

  // --- transmission
  bool request(nbd::CommandType type, std::uint64_t offset, std::uint32_t length,
               std::uint16_t flags = 0, std::uint64_t cookie = 7) {
    return send(nbd::encode(nbd::Request{flags, type, cookie, offset, length}));
  }
  struct Chunk {
    std::uint16_t flags = 0, type = 0;
    std::uint64_t cookie = 0;
    Bytes payload;
    bool done() const { return (flags & nbd::kChunkDone) != 0; }
  };
  Chunk chunk() {
    const Bytes head = receive(nbd::kChunkHeaderBytes);
    nbd::WireReader r(head);
    EXPECT_EQ(r.u32(), nbd::kStructuredReplyMagic);
    Chunk chunk;
    chunk.flags = r.u16();
    chunk.type = r.u16();
    chunk.cookie = r.u64();
    const std::uint32_t size = r.u32();
    EXPECT_LE(size, nbd::kPayloadBytesMax + 8);
    if (r.done()) chunk.payload = receive(size);
    return chunk;
  }
  // The error of a simple reply; the bytes behind it are the caller's to receive.
  std::uint32_t simple(std::uint64_t cookie = 7) {
    const Bytes head = receive(nbd::kSimpleReplyBytes);
    nbd::WireReader r(head);
    EXPECT_EQ(r.u32(), nbd::kSimpleReplyMagic);
    const std::uint32_t error = r.u32();
    EXPECT_EQ(r.u64(), cookie);
    return r.done() ? error : ~0U;
  }
  // Of a structured error; 0 where there is none.
  std::uint32_t structured_error() {
    const Chunk got = chunk();
    if (got.type != nbd::kChunkError && got.type != nbd::kChunkErrorOffset) return 0;
    EXPECT_TRUE(got.done());
    return nbd::WireReader(got.payload).u32();
  }
  // A structured read put together; empty where it failed.
  Bytes read(std::uint64_t offset, std::uint32_t length, std::uint16_t flags = 0) {
    request(nbd::CommandType::read, offset, length, flags);
    Bytes out(length);
    std::uint64_t covered = 0;
    while (true) {
      const Chunk got = chunk();
      nbd::WireReader r(got.payload);
      const std::uint64_t at = r.u64() - offset;
      std::uint64_t size = 0;
      if (got.type == nbd::kChunkOffsetData && at + got.payload.size() - 8 <= length) {
        size = got.payload.size() - 8;
        std::copy(got.payload.begin() + 8, got.payload.end(), out.begin() + static_cast<long>(at));
      } else if (got.type == nbd::kChunkOffsetHole) {
        size = r.u32();
        if (at + size > length) return {};
        std::fill_n(out.begin() + static_cast<long>(at), size, std::uint8_t{0});
        ++holes;
      } else {
        return {};
      }
      covered += size;
      if (got.done()) break;
    }
    EXPECT_EQ(covered, length);
    return out;
  }

  int holes = 0;

 private:
  std::unique_ptr<net::Event> stop_;
  Fd socket_;
  std::atomic<bool> ended_{false};
  std::thread server_;
};

// Random data with holes.
inline Bytes sparse(std::mt19937_64& random, std::size_t size) {
  Bytes bytes = random_body(random, size);
  for (int i = 0; i < 12; ++i) {
    const std::size_t at = random() % size;
    std::fill_n(bytes.data() + at, std::min<std::size_t>(size - at, random() % (size / 8)),
                std::uint8_t{0});
  }
  return bytes;
}

class Nbd : public ::testing::Test {
 protected:
  Nbd() : random_(test_seed()), view_(sparse(random_, 6 * kMiB + 1234)) {
    log::set_level(log::Level::off);
  }
  ~Nbd() override { log::set_level(log::Level::info); }
  static nbd::Options options() {
    nbd::Options options;
    options.name = "disk";
    options.description = "a disk";
    // Longer than a test waits: where a connection ends, no timeout has ended it.
    options.handshake_timeout = options.stall_timeout = std::chrono::seconds(60);
    return options;
  }
  Bytes part(std::uint64_t offset, std::size_t size) const {
    return copy_of(ByteView(view_.bytes).subspan(offset, size));
  }

  std::mt19937_64 random_;
  MemoryView view_;
};

}  // namespace tidemark::testing
