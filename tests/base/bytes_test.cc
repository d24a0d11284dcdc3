#include "base/bytes.h"

#include <gtest/gtest.h>

#include <set>
#include <unordered_set>

#include "base/ids.h"
#include "tests/base/random.h"

namespace tidemark::test {
namespace {

Bytes bytes_of(std::initializer_list<unsigned> values) {
  Bytes out;
  for (const unsigned v : values) out.push_back(static_cast<std::uint8_t>(v));
  return out;
}
Bytes varint_of(std::uint64_t v) {
  ByteWriter writer;
  writer.varint(v);
  return writer.take();
}

TEST(Varint, KnownEncodings) {
  EXPECT_EQ(varint_of(0), bytes_of({0}));
  EXPECT_EQ(varint_of(127), bytes_of({0x7f}));
  EXPECT_EQ(varint_of(128), bytes_of({0x80, 1}));
  EXPECT_EQ(varint_of(300), bytes_of({0xac, 2}));
  EXPECT_EQ(varint_of(UINT64_MAX),
            bytes_of({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}));
}

TEST(Varint, EveryValueReadsBackAndHasOneEncoding) {
  Random random;
  for (int i = 0; i < 200'000; ++i) {
    const std::uint64_t value = random.any_size();
    const Bytes encoded = varint_of(value);
    ByteReader reader(encoded);
    ASSERT_EQ(reader.varint(), value);
    ASSERT_TRUE(reader.done());
    // What any other bytes decode to encodes to just these bytes again.
    const Bytes noise = random.bytes(1 + random.below(11));
    ByteReader noisy(noise);
    const std::uint64_t decoded = noisy.varint();
    if (noisy.ok()) {
      const Bytes again = varint_of(decoded);
      ASSERT_EQ(to_hex(again), to_hex(ByteView(noise).first(noisy.position())));
    }
  }
}

TEST(Varint, BoundariesOfEveryLength) {
  for (unsigned bits = 0; bits < 64; ++bits) {
    for (const std::uint64_t v : {std::uint64_t{1} << bits, (std::uint64_t{1} << bits) - 1}) {
      const Bytes encoded = varint_of(v);
      ByteReader reader(encoded);
      EXPECT_EQ(reader.varint(), v);
      EXPECT_TRUE(reader.done());
      // Cut short it fails.
      ByteReader cut(ByteView(encoded).first(encoded.size() - 1));
      EXPECT_EQ(cut.varint(), 0U);
      EXPECT_FALSE(cut.ok());
    }
  }
}

TEST(Varint, RefusesEncodingsThatAreNotMinimalOrTooLarge) {
  for (const Bytes& bad :
       {bytes_of({0x80, 0}), bytes_of({0xff, 0x80, 0}), bytes_of({0x80, 0x80, 0x80, 0}),
        bytes_of({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2}),
        bytes_of({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0}),
        bytes_of({0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1}), bytes_of({})}) {
    ByteReader reader(bad);
    EXPECT_EQ(reader.varint(), 0U) << to_hex(bad);
    EXPECT_FALSE(reader.ok()) << to_hex(bad);
  }
}

TEST(Varint, MaxIsInclusive) {
  const Bytes encoded = varint_of(300);
  EXPECT_EQ(ByteReader(encoded).varint_max(300), 300U);
  ByteReader over(encoded);
  EXPECT_EQ(over.varint_max(299), 0U);
  EXPECT_FALSE(over.ok());
}

TEST(Fixed, IsLittleEndian) {
  ByteWriter writer;
  writer.u8(1);
  writer.u16(0x0203);
  writer.u32(0x04050607);
  writer.u64(0x08090a0b0c0d0e0fULL);
  EXPECT_EQ(to_hex(writer.bytes()), "010302070605040f0e0d0c0b0a0908");
  ByteReader reader(writer.bytes());
  EXPECT_EQ(reader.u8(), 1);
  EXPECT_EQ(reader.u16(), 0x0203);
  EXPECT_EQ(reader.u32(), 0x04050607U);
  EXPECT_EQ(reader.u64(), 0x08090a0b0c0d0e0fULL);
  EXPECT_TRUE(reader.done());
}

// A random sequence of fields is written, read back, and read from every shorter cut of itself.
TEST(Reader, ReadsWhatWasWrittenAndFailsOnEveryCut) {
  Random random;
  for (int round = 0; round < 300; ++round) {
    ByteWriter writer;
    std::vector<int> kinds;
    std::vector<std::uint64_t> values;
    std::vector<Bytes> blobs;
    for (std::uint64_t n = 1 + random.below(8); n > 0; --n) {
      const int kind = static_cast<int>(random.below(6));
      const std::uint64_t v = random.any_size();
      kinds.push_back(kind);
      values.push_back(v);
      blobs.push_back(random.bytes(random.below(20)));
      switch (kind) {
        case 0:
          writer.u8(static_cast<std::uint8_t>(v));
          break;
        case 1:
          writer.u16(static_cast<std::uint16_t>(v));
          break;
        case 2:
          writer.u32(static_cast<std::uint32_t>(v));
          break;
        case 3:
          writer.u64(v);
          break;
        case 4:
          writer.varint(v);
          break;
        default:
          writer.sized(blobs.back());
      }
    }
    const Bytes all = writer.take();
    for (std::size_t size = 0; size <= all.size(); ++size) {
      ByteReader reader(ByteView(all).first(size));
      for (std::size_t i = 0; i < kinds.size(); ++i) {
        const bool was_ok = reader.ok();
        std::uint64_t got = 0, expected = 0;
        switch (kinds[i]) {
          case 0:
            got = reader.u8(), expected = static_cast<std::uint8_t>(values[i]);
            break;
          case 1:
            got = reader.u16(), expected = static_cast<std::uint16_t>(values[i]);
            break;
          case 2:
            got = reader.u32(), expected = static_cast<std::uint32_t>(values[i]);
            break;
          case 3:
            got = reader.u64(), expected = values[i];
            break;
          case 4:
            got = reader.varint(), expected = values[i];
            break;
          default: {
            const ByteView blob = reader.sized(100);
            if (reader.ok())
              ASSERT_EQ(to_hex(blob), to_hex(blobs[i]));
            else
              ASSERT_TRUE(blob.empty());
          }
        }
        ASSERT_EQ(got, reader.ok() ? expected : 0);
        ASSERT_FALSE(!was_ok && reader.ok()) << "a failed reader recovered";
      }
      ASSERT_EQ(reader.done(), size == all.size());
    }
  }
}

TEST(Reader, StaysFailedOnceItFailed) {
  const Bytes data = bytes_of({1, 2, 3, 4});
  ByteReader reader(data);
  EXPECT_TRUE(reader.raw(5).empty());
  EXPECT_EQ(reader.u8(), 0);
  EXPECT_EQ(reader.varint(), 0U);
  EXPECT_TRUE(reader.raw(1).empty());
  EXPECT_EQ(reader.count(1), 0U);
  EXPECT_TRUE(ChunkId::read(reader).is_null());
  EXPECT_FALSE(reader.ok());
  EXPECT_FALSE(reader.done());
}

TEST(Reader, SizedIsHeldAgainstItsLimitAndTheRest) {
  ByteWriter writer;
  writer.sized(std::string_view("hello"));
  EXPECT_EQ(ByteReader(writer.bytes()).sized_text(5), "hello");
  ByteReader limited(writer.bytes());
  EXPECT_TRUE(limited.sized(4).empty());
  EXPECT_FALSE(limited.ok());
  const Bytes huge = varint_of(UINT64_MAX);
  ByteReader overrun(huge);
  EXPECT_TRUE(overrun.sized(SIZE_MAX).empty());
  EXPECT_FALSE(overrun.ok());
}

TEST(Reader, CountIsHeldAgainstWhatCanBeThere) {
  ByteWriter writer;
  writer.varint(3);
  writer.raw(Bytes(12));
  EXPECT_EQ(ByteReader(writer.bytes()).count(4), 3U);
  ByteReader too_large(writer.bytes());
  EXPECT_EQ(too_large.count(5), 0U);
  EXPECT_FALSE(too_large.ok());
  const Bytes huge = varint_of(UINT64_MAX);
  ByteReader reader(huge);
  EXPECT_EQ(reader.count(1), 0U);
  EXPECT_FALSE(reader.ok());
}

TEST(Reader, CanBeMadeToFail) {
  ByteReader reader{ByteView()};
  EXPECT_TRUE(reader.done());
  reader.fail();
  EXPECT_FALSE(reader.done());
}

TEST(ReaderDeathTest, CountOfItemsWithoutSizeIsAMistake) {
  const Bytes one = varint_of(1);
  EXPECT_DEATH(ByteReader(one).count(0), "invariant broken");
}

TEST(Hex, RoundTrips) {
  Random random;
  for (int i = 0; i < 1000; ++i) {
    const Bytes bytes = random.bytes(random.below(70));
    std::string text = to_hex(bytes);
    EXPECT_EQ(text.size(), 2 * bytes.size());
    ASSERT_TRUE(from_hex(text));
    EXPECT_EQ(*from_hex(text), bytes);
    for (char& c : text) c = static_cast<char>(std::toupper(c));
    EXPECT_EQ(*from_hex(text), bytes);
  }
}

TEST(Hex, RefusesAnythingElse) {
  for (const char* text :
       {"0", "000", "0g", "g0", " 00", "0x00", "00 ", "0-", "//", "::", "@@", "``"})
    EXPECT_FALSE(from_hex(text)) << text;
  EXPECT_TRUE(from_hex("")->empty());
  EXPECT_FALSE(from_hex(std::string_view("0\0", 2)));
}

TEST(AllZero, FindsOneBitAnywhere) {
  EXPECT_TRUE(is_all_zero({}));
  for (const std::size_t size : {1U, 2U, 7U, 8U, 63U, 64U, 65U, 4096U}) {
    Bytes bytes(size);
    std::fill(bytes.begin(), bytes.end(), std::uint8_t{0});
    EXPECT_TRUE(is_all_zero(bytes));
    for (std::size_t i = 0; i<size; i += size> 100 ? 13 : 1) {
      bytes[i] = 0x80;
      EXPECT_FALSE(is_all_zero(bytes)) << i << " of " << size;
      bytes[i] = 0;
    }
    bytes[size - 1] = 1;
    EXPECT_FALSE(is_all_zero(bytes));
  }
}

TEST(Ids, TextAndBytesRoundTrip) {
  Random random;
  const auto raw = random.bytes(32);
  const ChunkId id = ChunkId::from(raw);
  EXPECT_EQ(id.hex(), to_hex(raw));
  EXPECT_EQ(ChunkId::from_hex(id.hex()), id);
  ByteReader reader(raw);
  EXPECT_EQ(ChunkId::read(reader), id);
  EXPECT_TRUE(reader.done());
}

TEST(Ids, RefuseTextOfAnotherLengthOrKind) {
  EXPECT_FALSE(PointId::from_hex(std::string(31, '0')));
  EXPECT_FALSE(PointId::from_hex(std::string(33, '0')));
  EXPECT_FALSE(PointId::from_hex(std::string(64, '0')));
  EXPECT_FALSE(PointId::from_hex(std::string(31, '0') + "x"));
  EXPECT_FALSE(PointId::from_hex(""));
  EXPECT_TRUE(PointId::from_hex(std::string(32, '0'))->is_null());
}

TEST(Ids, AreTypesOfTheirOwn) {
  static_assert(!std::is_convertible_v<ChunkId, PackId>);
  static_assert(!std::is_same_v<PointId, SessionId>);
  EXPECT_TRUE(ChunkId{}.is_null());
  std::unordered_set<ChunkId, IdHash> set{ChunkId{}, ChunkId{}};
  EXPECT_EQ(set.size(), 1U);
}

TEST(Ids, AreOrderedByTheirBytes) {
  Random random;
  for (int i = 0; i < 1000; ++i) {
    const auto a = PackId::from(random.bytes(32)), b = PackId::from(random.bytes(32));
    EXPECT_EQ(a < b, a.hex() < b.hex());
  }
}

TEST(Buffers, GrowWithoutLosingWhatTheyHold) {
  Random random;
  Bytes bytes = random.bytes(100);
  const Bytes before = bytes;
  bytes.resize(1 << 20);
  EXPECT_EQ(std::memcmp(bytes.data(), before.data(), before.size()), 0);
  bytes.resize(100);
  EXPECT_EQ(bytes, before);
  append(bytes, before);
  EXPECT_EQ(to_hex(bytes), to_hex(before) + to_hex(before));
}

}  // namespace
}  // namespace tidemark::test
