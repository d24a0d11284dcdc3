// What an NBD client gets: the bytes of the protocol, the rules it must keep, and what happens to
// one that keeps none.
#include <gtest/gtest.h>

#include "tests/transport/nbd_support.h"

namespace tidemark::testing {
namespace {

using namespace nbd;
using namespace std::chrono_literals;

Bytes zeros(std::size_t size) { return Bytes(size, std::uint8_t{0}); }

std::string hex(ByteView bytes) { return to_hex(bytes); }

// Written down from the protocol's document, not from what the code makes.
TEST_F(Nbd, TheBytesAreThoseOfTheProtocol) {
  EXPECT_EQ(hex(encode(Request{4, CommandType::read, 0x0102030405060708, 0x1000, 0x200})),
            "256095130004000001020304050607080000000000001000"
            "00000200");
  EXPECT_EQ(hex(option_reply(kOptGo, kRepAck, {})),
            "0003e889045565a9"
            "00000007"
            "00000001"
            "00000000");
  EXPECT_EQ(hex(option_reply(99, kRepErrUnsupported, as_bytes("no"))),
            "0003e889045565a9"
            "00000063"
            "80000001"
            "00000002"
            "6e6f");
  EXPECT_EQ(hex(simple_reply(9, kErrPermission)),
            "67446698"
            "00000001"
            "0000000000000009");
  EXPECT_EQ(hex(hole_chunk(9, kChunkDone, 0x10000, 4096)),
            "668e33ef"
            "0001"
            "0002"
            "0000000000000009"
            "0000000c"
            "0000000000010000"
            "00001000");
  EXPECT_EQ(hex(error_chunk(9, kErrIo, "bad", 512)),
            "668e33ef"
            "0001"
            "8002"
            "0000000000000009"
            "00000011"
            "00000005"
            "0003"
            "626164"
            "0000000000000200");
  EXPECT_EQ(hex(error_chunk(9, kErrInvalid, "", {})),
            "668e33ef"
            "0001"
            "8001"
            "0000000000000009"
            "00000006"
            "00000016"
            "0000");
  const auto request = decode_request(encode(Request{1, CommandType::cache, 2, 3, 4}));
  ASSERT_TRUE(request);
  EXPECT_EQ(*request, (Request{1, CommandType::cache, 2, 3, 4}));
  EXPECT_FALSE(decode_request(zeros(kRequestBytes)));
}

TEST_F(Nbd, AnExportIsDescribed) {
  NbdPeer peer(view_, options());
  peer.greet();
  peer.send_option(kOptList);
  NbdPeer::Reply reply = peer.option_reply();
  EXPECT_EQ(reply.code, kRepServer);
  EXPECT_EQ(hex(reply.data), hex(WireWriter().text("disk").raw(as_bytes("a disk")).bytes()));
  EXPECT_EQ(peer.option_reply().code, kRepAck);
  WireWriter wanted;
  wanted.text("disk").u16(3).u16(kInfoName).u16(kInfoDescription).u16(kInfoBlockSize);
  peer.send_option(kOptInfo, wanted.bytes());
  std::map<std::uint16_t, Bytes> infos;
  for (reply = peer.option_reply(); reply.code == kRepInfo; reply = peer.option_reply()) {
    WireReader r(reply.data);
    const std::uint16_t what = r.u16();
    infos[what] = copy_of(ByteView(reply.data).subspan(2));
  }
  EXPECT_EQ(reply.code, kRepAck);
  EXPECT_EQ(as_text(infos[kInfoName]), "disk");
  EXPECT_EQ(as_text(infos[kInfoDescription]), "a disk");
  EXPECT_EQ(hex(infos[kInfoBlockSize]),
            "00000001"
            "00010000"
            "02000000");
  WireReader exported(infos[kInfoExport]);
  EXPECT_EQ(exported.u64(), view_.size());
  EXPECT_EQ(exported.u16(), kFlagHasFlags | kFlagReadOnly | kFlagCanMultiConn | kFlagSendCache);
  EXPECT_EQ(peer.ask(kOptGo, NbdPeer::go_data("other")), kRepErrUnknown);
  EXPECT_EQ(peer.ask(kOptAbort), kRepAck);
  EXPECT_TRUE(peer.closes());
}

TEST_F(Nbd, MetadataContextsAreListedAndChosen) {
  NbdPeer peer(view_, options());
  peer.greet();
  EXPECT_EQ(peer.ask(kOptSetMetaContext, NbdPeer::context_data()), kRepErrInvalid);
  EXPECT_EQ(peer.ask(kOptStructuredReply), kRepAck);
  peer.send_option(kOptListMetaContext, WireWriter().text("").u32(0).bytes());
  EXPECT_EQ(hex(peer.option_reply().data),
            hex(WireWriter().u32(0).raw(as_bytes(kBaseAllocation)).bytes()));
  EXPECT_EQ(peer.option_reply().code, kRepAck);
  peer.send_option(kOptSetMetaContext, NbdPeer::context_data("qemu:dirty-bitmap:x"));
  EXPECT_EQ(peer.option_reply().code, kRepAck);  // none of them is here
  peer.send_option(kOptSetMetaContext, NbdPeer::context_data());
  EXPECT_EQ(peer.option_reply().code, kRepMetaContext);
  EXPECT_EQ(peer.option_reply().code, kRepAck);
}

TEST_F(Nbd, OldClientsGetTheExportByItsName) {
  for (const bool zeroes : {true, false}) {
    NbdPeer peer(view_, options());
    peer.greet(zeroes ? kFixedNewstyle : kFixedNewstyle | kNoZeroes);
    peer.send_option(kOptExportName, as_bytes("disk"));
    const Bytes head = peer.receive(10 + (zeroes ? 124 : 0));
    WireReader r(head);
    EXPECT_EQ(r.u64(), view_.size());
    EXPECT_EQ(r.u16() & kFlagReadOnly, kFlagReadOnly);
    peer.request(CommandType::read, 1000, 5000);
    EXPECT_EQ(peer.simple(), kErrNone);
    EXPECT_EQ(peer.receive(5000), part(1000, 5000));
  }
}

TEST_F(Nbd, ReadsAreTheBytesOfTheVolume) {
  NbdPeer peer(view_, options());
  peer.connect();
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t offset = random_() % view_.size();
    const auto length = static_cast<std::uint32_t>(
        1 + random_() % std::min<std::uint64_t>(view_.size() - offset, 3 * kMiB));
    const bool whole = random_() % 4 == 0;
    ASSERT_EQ(peer.read(offset, length, whole ? kCmdDontFragment : 0), part(offset, length))
        << length << " bytes at " << offset;
  }
  EXPECT_GT(peer.holes, 0);
}

TEST_F(Nbd, RequestsUnderWayAreAnsweredInAnyOrderAndCompletely) {
  NbdPeer peer(view_, options());
  peer.connect(false);
  constexpr std::uint64_t kRequests = 60;
  for (std::uint64_t i = 0; i < kRequests; ++i)
    peer.request(CommandType::read, i * 50'000, 10'000, 0, i);
  peer.request(CommandType::disconnect, 0, 0);
  std::set<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    const Bytes head = peer.receive(kSimpleReplyBytes);
    WireReader r(head);
    ASSERT_EQ(r.u32(), kSimpleReplyMagic);
    ASSERT_EQ(r.u32(), kErrNone);
    const std::uint64_t cookie = r.u64();
    ASSERT_EQ(peer.receive(10'000), part(cookie * 50'000, 10'000));
    seen.insert(cookie);
  }
  EXPECT_EQ(seen.size(), kRequests);
  EXPECT_TRUE(peer.closes());
}

TEST_F(Nbd, BlockStatusTellsDataFromHoles) {
  NbdPeer peer(view_, options());
  peer.connect();
  for (const std::uint16_t flags : {std::uint16_t{0}, kCmdRequestOne}) {
    const auto length = static_cast<std::uint32_t>(view_.size() - 5000);
    peer.request(CommandType::block_status, 5000, length, flags);
    const auto chunk = peer.chunk();
    ASSERT_EQ(chunk.type, kChunkBlockStatus);
    EXPECT_TRUE(chunk.done());
    WireReader r(chunk.payload);
    EXPECT_EQ(r.u32(), 1U);
    const auto runs = *view_.runs(5000, length, flags == 0 ? 100'000 : 1);
    for (const BlockRun& run : runs) {
      EXPECT_EQ(r.u32(), run.size);
      EXPECT_EQ(r.u32(), run.data ? 0U : 3U);
    }
    EXPECT_TRUE(r.done());
  }
}

TEST_F(Nbd, WhatWritesIsRefusedAndTheConnectionLives) {
  NbdPeer peer(view_, options());
  peer.connect();
  peer.request(CommandType::write, 0, 100'000);
  peer.send(zeros(100'000));
  EXPECT_EQ(peer.simple(), kErrPermission);
  peer.request(CommandType::trim, 0, 4096);
  EXPECT_EQ(peer.simple(), kErrPermission);
  peer.request(CommandType::write_zeroes, 0, ~0U);
  EXPECT_EQ(peer.simple(), kErrPermission);
  peer.request(CommandType::flush, 0, 0);
  EXPECT_EQ(peer.simple(), kErrInvalid);
  peer.request(static_cast<CommandType>(4711), 0, 0);
  EXPECT_EQ(peer.simple(), kErrInvalid);
  peer.request(CommandType::cache, 0, 4096);
  EXPECT_EQ(peer.simple(), kErrNone);
  EXPECT_EQ(view_.expected, 1);
  EXPECT_EQ(peer.read(77, 777), part(77, 777));
}

TEST_F(Nbd, ReadsThatCannotBeAreRefusedAndTheConnectionLives) {
  NbdPeer peer(view_, options());
  peer.connect();
  struct Case {
    std::uint64_t offset;
    std::uint32_t length;
    std::uint16_t flags;
    std::uint32_t error;
  };
  for (const Case& c : std::initializer_list<Case>{
           {0, 0, 0, kErrInvalid},
           {view_.size(), 1, 0, kErrInvalid},
           {view_.size() - 1, 2, 0, kErrInvalid},
           {~std::uint64_t{0} - 10, 4096, 0, kErrInvalid},
           {0, 4096, 0x8000, kErrInvalid},
           {0, kPayloadBytesMax + 1, 0, kErrOverflow},
           {0, ~0U, kCmdDontFragment, kErrOverflow},
       }) {
    peer.request(CommandType::read, c.offset, c.length, c.flags);
    EXPECT_EQ(peer.structured_error(), c.error) << c.length << " at " << c.offset;
    peer.request(CommandType::block_status, c.offset, 0, c.flags);
    EXPECT_EQ(peer.structured_error(), kErrInvalid);
  }
  EXPECT_EQ(view_.reads, 0);
  EXPECT_EQ(peer.read(0, 10), part(0, 10));
  EXPECT_LE(view_.largest, kMiB);
}

TEST_F(Nbd, AReadThatFailsSaysWhereAndTheNextOneIsFine) {
  NbdPeer peer(view_, options());
  peer.connect();
  view_.bad_at = 3 * kMiB;
  peer.request(CommandType::read, 2 * kMiB, 4 * kMiB);
  auto chunk = peer.chunk();
  while (!chunk.done()) chunk = peer.chunk();
  ASSERT_EQ(chunk.type, kChunkErrorOffset);
  WireReader r(chunk.payload);
  EXPECT_EQ(r.u32(), kErrIo);
  r.u16();
  EXPECT_EQ(WireReader(ByteView(chunk.payload).last(8)).u64(), 3 * kMiB);
  EXPECT_EQ(peer.read(0, 10), part(0, 10));
  NbdPeer old(view_, options());
  old.connect(false);
  old.request(CommandType::read, 3 * kMiB, 512);
  EXPECT_EQ(old.simple(), kErrIo);
  old.request(CommandType::read, 0, 512);
  EXPECT_EQ(old.simple(), kErrNone);
  EXPECT_EQ(old.receive(512), part(0, 512));
}

TEST_F(Nbd, WhatIsNoNbdEndsTheConnection) {
  {
    NbdPeer peer(view_, options());
    peer.greet(0xff);
    EXPECT_TRUE(peer.closes());
  }
  {
    NbdPeer peer(view_, options());
    peer.greet();
    peer.send(WireWriter().u64(kOptionMagic + 1).u32(kOptAbort).u32(0).bytes());
    EXPECT_EQ(peer.receive(1).size(), 0U);
  }
  {
    NbdPeer peer(view_, options());
    peer.greet();
    peer.send(as_bytes("GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
    EXPECT_TRUE(peer.closes());
  }
  {
    NbdPeer peer(view_, options());
    peer.connect();
    peer.send(Bytes(kRequestBytes, 0x55));
    EXPECT_TRUE(peer.closes());
  }
  {
    NbdPeer peer(view_, options());
    peer.connect();
    peer.request(CommandType::write, 0, kPayloadBytesMax + 1);
    EXPECT_TRUE(peer.closes());
  }
}

TEST_F(Nbd, OptionsThatAreWrongOrTooLongAreRefused) {
  NbdPeer peer(view_, options());
  peer.greet();
  EXPECT_EQ(peer.ask(4711), kRepErrUnsupported);
  EXPECT_EQ(peer.ask(kOptGo, zeros(3)), kRepErrInvalid);
  EXPECT_EQ(peer.ask(kOptGo, WireWriter().u32(0x7fffffff).bytes()), kRepErrInvalid);
  EXPECT_EQ(peer.ask(kOptGo, WireWriter().text("").u16(9).u16(1).bytes()), kRepErrInvalid);
  EXPECT_EQ(peer.ask(kOptStructuredReply, zeros(1)), kRepErrInvalid);
  EXPECT_EQ(peer.ask(kOptList, zeros(1)), kRepErrInvalid);
  EXPECT_EQ(peer.ask(kOptStructuredReply), kRepAck);
  EXPECT_EQ(peer.ask(kOptSetMetaContext, WireWriter().text("").u32(~0U).bytes()), kRepErrInvalid);
  EXPECT_EQ(peer.ask(kOptStartTls), kRepErrPolicy);
  EXPECT_EQ(peer.ask(kOptInfo, zeros(200'000)), kRepErrTooBig);
  EXPECT_EQ(peer.ask(kOptGo, NbdPeer::go_data()), kRepAck);
  NbdPeer huge(view_, options());
  huge.greet();
  huge.send(WireWriter().u64(kOptionMagic).u32(kOptInfo).u32(~0U).bytes());
  EXPECT_TRUE(huge.closes());
}

TEST_F(Nbd, OptionsWithoutEndEndTheConnection) {
  NbdPeer peer(view_, options());
  peer.greet();
  for (int i = 0; i < 128; ++i) EXPECT_EQ(peer.ask(4711), kRepErrUnsupported);
  EXPECT_TRUE(peer.closes());
}

// Bytes as a fuzzer would send them: parts of what is right, with parts of it wrong.
TEST_F(Nbd, RandomBytesNeverHangOrBreakAnything) {
  Options impatient = options();
  impatient.handshake_timeout = 2s;
  impatient.stall_timeout = 2s;
  for (int round = 0; round < 150; ++round) {
    NbdPeer peer(view_, impatient);
    const auto stage = random_() % 4;
    if (stage > 0) peer.greet();
    if (stage == 2) peer.ask(kOptStructuredReply);
    if (stage == 3) {
      peer.ask(kOptStructuredReply);
      peer.ask(kOptSetMetaContext, NbdPeer::context_data());
      peer.ask(kOptGo, NbdPeer::go_data());
    }
    for (int i = 0; i < 20; ++i) {
      Bytes bytes = random_body(random_, random_() % 64);
      if (stage == 3 && random_() % 4 != 0) {
        Request request{static_cast<std::uint16_t>(random_() % 16),
                        static_cast<CommandType>(random_() % 9), random_(),
                        random_() % (view_.size() + 4096),
                        static_cast<std::uint32_t>(random_() % 70'000)};
        if (random_() % 8 == 0) request.length = static_cast<std::uint32_t>(random_());
        if (request.type == CommandType::disconnect) request.type = CommandType::read;
        bytes = encode(request);
      } else if (random_() % 4 != 0) {
        const auto size = static_cast<std::uint32_t>(random_() % 64);
        WireWriter w;
        w.u64(kOptionMagic).u32(static_cast<std::uint32_t>(random_() % 12)).u32(size);
        bytes = w.raw(random_body(random_, size)).bytes();
      }
      if (random_() % 6 == 0 && !bytes.empty()) bytes[random_() % bytes.size()] ^= 0x40;
      if (!peer.send(bytes)) break;
    }
    peer.end_writing();
    ASSERT_TRUE(peer.closes());
    ASSERT_LE(view_.largest, std::size_t{kPayloadBytesMax});
  }
}

}  // namespace
}  // namespace tidemark::testing
