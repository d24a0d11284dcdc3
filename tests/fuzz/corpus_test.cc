// Runs every fuzz target over the golden files and over seeded mutations of them, so that a build
// without a fuzzer exercises them too. TM_FUZZ_RUNS: how many mutations for each target.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "store/bucket.h"
#include "store/pack.h"
#include "tests/store/allocation_meter.h"
#include "tests/store/support.h"
#include "transport/nbd/protocol.h"

void fuzz_node(tidemark::ByteView input);
void fuzz_record(tidemark::ByteView input);
void fuzz_committed(tidemark::ByteView input);
void fuzz_descriptor(tidemark::ByteView input);
void fuzz_expired(tidemark::ByteView input);
void fuzz_key_file(tidemark::ByteView input);
void fuzz_region(tidemark::ByteView input);
void fuzz_object(tidemark::ByteView input);
void fuzz_pack_index(tidemark::ByteView input);
void fuzz_blob(tidemark::ByteView input);
void fuzz_s3_xml(tidemark::ByteView input);
void fuzz_nbd(tidemark::ByteView input);
void fuzz_range(tidemark::ByteView input);
void fuzz_kube(tidemark::ByteView input);

namespace tidemark {
namespace {

std::vector<Bytes> golden_seeds(const std::vector<std::string>& names) {
  std::vector<Bytes> seeds;
  for (const std::string& name : names) seeds.push_back(test::golden(name));
  return seeds;
}

std::vector<Bytes> region_seeds() {
  Bytes seed = {2};
  append(seed, test::golden("region"));
  return {seed};
}

// Of a version with a version's key, and of an object without.
std::vector<Bytes> object_seeds() {
  ObjectPlace place{"photos/a.jpg", {1'795'339'800'123'456}, 1, "v1"};
  std::vector<Bytes> seeds;
  for (const char* name : {"object_inline", "object_chunks"}) {
    const std::string key = object_tree_key(place);
    Bytes seed = {static_cast<std::uint8_t>(seeds.empty() ? 0 : 3),
                  static_cast<std::uint8_t>(key.size())};
    append(seed, as_bytes(key));
    append(seed, test::golden(name));
    seeds.push_back(std::move(seed));
    place = {"photos/b.jpg", {}, 0, ""};
  }
  return seeds;
}

// The blobs of the golden packs, in the form that the target takes.
std::vector<Bytes> blob_seeds() {
  std::vector<Bytes> seeds;
  for (const bool encrypted : {false, true}) {
    const Bytes pack = test::golden(encrypted ? "pack_sealed" : "pack_plain");
    const auto index = parse_pack_index(pack, pack.size());
    EXPECT_TRUE(index);
    if (!index) continue;
    for (const PackEntry& entry : index->entries) {
      ByteWriter w;
      w.u8(encrypted ? 1 : 0);
      w.u8(static_cast<std::uint8_t>(entry.kind));
      w.u8(static_cast<std::uint8_t>(entry.codec));
      w.u32(entry.ordinal);
      w.u32(entry.plain_size);
      w.raw(entry.id.view());
      w.raw(ByteView(pack).first(kPackHeaderBytes));
      w.raw(ByteView(pack).subspan(static_cast<std::size_t>(entry.offset), entry.stored_size));
      seeds.push_back(w.take());
    }
  }
  return seeds;
}

// Documents of an S3 server, each with the place of the cut before it.
std::vector<Bytes> s3_xml_seeds() {
  std::vector<Bytes> seeds;
  for (const char* text :
       {"@<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3/\">"
        "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><Contents><Key>a%20b</Key>"
        "<LastModified>2026-11-22T22:45:11.725Z</LastModified><ETag>&quot;8d77&quot;</ETag>"
        "<Size>4</Size></Contents><NextContinuationToken>c&#x01;d</NextContinuationToken>"
        "</ListBucketResult>",
        "p<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        " \n<n:a xmlns:n='u'><n:b c='d'><![CDATA[<&]]><!-- e --><?f g?></n:b>\xc3\xbc&#65;</n:a>"})
    seeds.push_back(copy_of(as_bytes(text)));
  return seeds;
}

// What two clients send: one that negotiates, one that is past that.
std::vector<Bytes> nbd_seeds() {
  nbd::WireWriter negotiating, reading;
  negotiating.raw(Bytes{0}).u32(3);
  const auto option = [&](std::uint32_t number, ByteView data) {
    negotiating.u64(nbd::kOptionMagic).u32(number);
    negotiating.u32(static_cast<std::uint32_t>(data.size())).raw(data);
  };
  option(nbd::kOptStructuredReply, {});
  option(nbd::kOptSetMetaContext,
         nbd::WireWriter().text("").u32(1).text(nbd::kBaseAllocation).bytes());
  option(nbd::kOptList, {});
  option(nbd::kOptGo, nbd::WireWriter().text("disk").u16(1).u16(nbd::kInfoBlockSize).bytes());
  reading.raw(Bytes{7});
  for (const auto type : {nbd::CommandType::read, nbd::CommandType::block_status,
                          nbd::CommandType::cache, nbd::CommandType::trim})
    reading.raw(nbd::encode(nbd::Request{0, type, 9, 4096, 100'000}));
  reading.raw(nbd::encode(nbd::Request{0, nbd::CommandType::write, 9, 0, 4}));
  reading.u32(0).raw(nbd::encode(nbd::Request{0, nbd::CommandType::disconnect, 9, 0, 0}));
  return {negotiating.bytes(), reading.bytes()};
}

std::vector<Bytes> range_seeds() {
  std::vector<Bytes> seeds;
  for (const char* text : {"GET / HTTP/1.1\r\nhost: localhost:80\r\nrange: bytes=10-99\r\n\r\n",
                           "HEAD /disk.raw HTTP/1.1\r\nhost: [::1]\r\n\r\nGET /disk HTTP/1.1\r\n"
                           "host: 127.0.0.1\r\nif-range: \"abc\"\r\nrange: bytes=-5\r\n\r\n"})
    seeds.push_back(copy_of(as_bytes(text)));
  return seeds;
}

// What an API server sends: a watch, the frames of an exec, and an error; each with the place of a
// cut before it.
std::vector<Bytes> kube_seeds() {
  std::vector<Bytes> seeds;
  using namespace std::string_view_literals;
  for (const std::string_view text :
       {"\x00@{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"uid\":\"a\",\"name\":\"b\"}}}\n"
        "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"9\"}}}\n"
        "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410}}\r\n"sv,
        "\x01p\x82\x01\x01\x02\x03\x01"
        "ab\x89\x01x\x80\x01"
        "c\x82\x16\x03{\"status\":\"Success\"}"
        "\x88\x02\x03\xe8"sv,
        "\x02 "
        "{\"status\":\"Failure\",\"reason\":\"NonZeroExitCode\",\"code\":422,\"details\":{\"causes"
        "\":[{\"reason\":\"ExitCode\",\"message\":\"7\"}],\"retryAfterSeconds\":3}}"sv})
    seeds.push_back(copy_of(as_bytes(text)));
  return seeds;
}

struct Target {
  const char* name;
  void (*run)(ByteView);
  std::vector<Bytes> (*seeds)();
  std::size_t bytes_max;  // held at once, whatever the input says
};

const Target kTargets[] = {
    {"Node", fuzz_node,
     [] {
       return golden_seeds({"node_leaf", "node_inner"});
     },
     4 * kMiB},
    {"Record", fuzz_record,
     [] {
       return golden_seeds({"record_plain", "record_sealed", "record_v1_sealed"});
     },
     kMiB},
    {"Committed", fuzz_committed, [] { return golden_seeds({"committed"}); }, kMiB},
    {"Descriptor", fuzz_descriptor,
     [] {
       return golden_seeds({"store_plain", "store_sealed"});
     },
     kMiB},
    {"Expired", fuzz_expired, [] { return golden_seeds({"expired"}); }, kMiB},
    {"KeyFile", fuzz_key_file, [] { return golden_seeds({"key_file"}); }, kMiB},
    {"Region", fuzz_region, region_seeds, kMiB},
    {"Object", fuzz_object, object_seeds, kMiB},
    {"PackIndex", fuzz_pack_index,
     [] {
       return golden_seeds({"pack_plain", "pack_sealed"});
     },
     8 * kMiB},
    {"Blob", fuzz_blob, blob_seeds, kBlobPlainBytesMax + kMiB},
    {"S3Xml", fuzz_s3_xml, s3_xml_seeds, 2 * kMiB},
    {"Nbd", fuzz_nbd, nbd_seeds, 16 * kMiB},
    {"Range", fuzz_range, range_seeds, 4 * kMiB},
    {"Kube", fuzz_kube, kube_seeds, 4 * kMiB},
};

Bytes mutated(test::Rng& rng, const std::vector<Bytes>& seeds) {
  static constexpr std::uint8_t kTelling[] = {0, 1, 0x7f, 0x80, 0xff};
  Bytes out = seeds[rng.below(seeds.size())];
  for (std::size_t steps = rng.between(1, 4); steps > 0; --steps) {
    const std::size_t at = rng.below(out.size() + 1);
    const auto place = out.begin() + static_cast<std::ptrdiff_t>(at);
    switch (rng.below(7)) {
      case 0:
        out.resize(at);
        break;
      case 1:
        out.insert(place, rng.between(1, 40), static_cast<std::uint8_t>(rng.next()));
        break;
      case 2: {  // a stretch goes
        const std::size_t size = std::min<std::size_t>(out.size() - at, rng.between(1, 40));
        out.erase(place, place + static_cast<std::ptrdiff_t>(size));
        break;
      }
      case 3: {  // a stretch of another one, anywhere
        const Bytes& other = seeds[rng.below(seeds.size())];
        const std::size_t from = rng.below(other.size() + 1);
        const std::size_t size = std::min<std::size_t>(other.size() - from, rng.below(64));
        const Bytes piece(other.begin() + static_cast<std::ptrdiff_t>(from),
                          other.begin() + static_cast<std::ptrdiff_t>(from + size));
        out.insert(place, piece.begin(), piece.end());
        break;
      }
      case 4:  // a varint as large as they get
        if (at + 10 <= out.size()) {
          std::fill_n(place, 9, std::uint8_t{0xff});
          out[at + 9] = 1;
        }
        break;
      default:
        if (at < out.size())
          out[at] = rng.chance(50) ? kTelling[rng.below(5)]
                                   : static_cast<std::uint8_t>(out[at] ^ (1U << rng.below(8)));
    }
  }
  return out;
}

class FuzzCorpus : public testing::TestWithParam<Target> {};

TEST_P(FuzzCorpus, GoldenFilesAndTheirMutationsAreHarmless) {
  const Target& target = GetParam();
  test::Rng rng;
  SCOPED_TRACE(rng.trace());
  const char* given = std::getenv("TM_FUZZ_RUNS");
  const std::size_t runs = given != nullptr ? std::strtoull(given, nullptr, 10) : 10000;
  const std::vector<Bytes> seeds = target.seeds();
  for (const Bytes& seed : seeds) target.run(seed);
  target.run({});
  for (std::size_t i = 0; i < runs; ++i) {
    const Bytes input = mutated(rng, seeds);
    const test::AllocationMeter meter;
    target.run(input);
    ASSERT_LE(meter.peak_bytes(), target.bytes_max) << to_hex(input);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, FuzzCorpus, testing::ValuesIn(kTargets),
                         [](const auto& target) { return std::string(target.param.name); });

}  // namespace
}  // namespace tidemark
