#include "base/crypto.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/base/random.h"

namespace tidemark::test {
namespace {

Bytes hex(std::string_view text) {
  const auto bytes = from_hex(text);
  EXPECT_TRUE(bytes) << text;
  return bytes.value_or(Bytes{});
}
Bytes repeated(unsigned value, std::size_t size) {
  Bytes out(size);
  std::fill(out.begin(), out.end(), static_cast<std::uint8_t>(value));
  return out;
}
Bytes counting(unsigned from, std::size_t size) {
  Bytes out(size);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<std::uint8_t>(from + i);
  return out;
}

// FIPS 180-4 examples.
TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(sha256({}).hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256(as_bytes("abc")).hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256(as_bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")).hex(),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(repeated('a', 1'000'000)).hex(),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PartsAddUpToTheWhole) {
  Random random;
  for (int i = 0; i < 200; ++i) {
    const Bytes data = random.bytes(random.below(1000));
    Sha256 hash;
    for (std::size_t at = 0; at < data.size();) {
      const std::size_t size = std::min<std::size_t>(random.below(100), data.size() - at);
      hash.update(ByteView(data).subspan(at, size));
      at += size;
    }
    Sha256 moved = std::move(hash);
    EXPECT_EQ(moved.finish(), sha256(data));
    moved = Sha256();
    EXPECT_EQ(moved.finish(), sha256({}));
  }
}

// RFC 4231.
TEST(Hmac, KnownAnswers) {
  EXPECT_EQ(hmac_sha256(repeated(0x0b, 20), as_bytes("Hi There")).hex(),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(hmac_sha256(as_bytes("Jefe"), as_bytes("what do ya want for nothing?")).hex(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hmac_sha256(repeated(0xaa, 20), repeated(0xdd, 50)).hex(),
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
  EXPECT_EQ(hmac_sha256(counting(1, 25), repeated(0xcd, 50)).hex(),
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
  EXPECT_EQ(hmac_sha256(repeated(0xaa, 131),
                        as_bytes("Test Using Larger Than Block-Size Key - Hash Key First"))
                .hex(),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  EXPECT_EQ(hmac_sha256(repeated(0xaa, 131),
                        as_bytes("This is a test using a larger than block-size key and a larger "
                                 "than block-size data. The key needs to be hashed before being "
                                 "used by the HMAC algorithm."))
                .hex(),
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
  // Nothing for a key, nothing for data.
  EXPECT_EQ(hmac_sha256({}, {}).hex(),
            "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

// HKDF as RFC 5869 writes it, over HMAC: extract, then blocks of expand.
Bytes rfc_hkdf(ByteView ikm, ByteView salt, ByteView info, std::size_t size) {
  const Digest prk = hmac_sha256(salt, ikm);
  Bytes out, block;
  for (std::uint8_t n = 1; out.size() < size; ++n) {
    append(block, info);
    block.push_back(n);
    const Digest next = hmac_sha256(prk.view(), block);
    block.assign(next.bytes.begin(), next.bytes.end());
    append(out, block);
  }
  out.resize(size);
  return out;
}

// The vectors of RFC 5869 have keys of other lengths than ours: they prove the one above, which
// then stands for them.
TEST(Hkdf, IsTheOneOfRfc5869) {
  EXPECT_EQ(to_hex(rfc_hkdf(repeated(0x0b, 22), counting(0, 13), counting(0xf0, 10), 42)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
  EXPECT_EQ(to_hex(rfc_hkdf(counting(0, 80), counting(0x60, 80), counting(0xb0, 80), 82)),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41"
            "c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87");
  EXPECT_EQ(to_hex(rfc_hkdf(repeated(0x0b, 22), {}, {}, 42)),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
  Random random;
  for (int i = 0; i < 200; ++i) {
    const Bytes key = random.bytes(32), salt = random.bytes(random.below(100));
    const Bytes info = random.bytes(random.below(100));
    EXPECT_EQ(to_hex(hkdf(SecretKey(key), salt, as_text(info)).view()),
              to_hex(rfc_hkdf(key, salt, info, 32)));
  }
}

TEST(Hkdf, KnownAnswer) {
  EXPECT_EQ(to_hex(hkdf(SecretKey(counting(0, 32)), as_bytes("salt"), "info").view()),
            "64cc2a23b7a1da4310420350405fdf5d632cb9bda3700d753e96cbcfeb81d449");
}

struct GcmCase {
  std::string_view key, nonce, aad, plain, sealed;
};

// The GCM specification's test cases 13 to 16: AES-256, nonces of 96 bits.
constexpr GcmCase kGcmCases[] = {
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000",
     "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000",
     "", "00000000000000000000000000000000",
     "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b"
     "5"
     "25b16aedf5aa0de657ba637b391aafd255",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828"
     "8"
     "38c5f61e6393ba7a0abcc9f662898015adb094dac5d93471bdec1a502270e3cc6c"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b"
     "5"
     "25b16aedf5aa0de657ba637b39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828"
     "8"
     "38c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"},
};

GcmNonce nonce_of(const Bytes& bytes) {
  GcmNonce nonce{};
  std::copy_n(bytes.begin(), nonce.size(), nonce.begin());
  return nonce;
}

TEST(AesGcm, KnownAnswers) {
  for (const GcmCase& c : kGcmCases) {
    const SecretKey key(hex(c.key));
    Bytes sealed;
    aes_gcm_seal(key, nonce_of(hex(c.nonce)), hex(c.aad), hex(c.plain), sealed);
    EXPECT_EQ(to_hex(sealed), c.sealed);
    const auto plain = aes_gcm_open(key, nonce_of(hex(c.nonce)), hex(c.aad), sealed);
    ASSERT_TRUE(plain);
    EXPECT_EQ(to_hex(*plain), c.plain);
  }
}

TEST(AesGcm, SealAppends) {
  const SecretKey key = SecretKey::random();
  Bytes out = hex("010203");
  aes_gcm_seal(key, {}, {}, as_bytes("x"), out);
  EXPECT_EQ(out.size(), 3 + 1 + kGcmTagBytes);
  EXPECT_EQ(to_hex(ByteView(out).first(3)), "010203");
  EXPECT_TRUE(aes_gcm_open(key, {}, {}, ByteView(out).subspan(3)));
}

TEST(AesGcm, EveryFlippedBitIsFound) {
  Random random;
  const SecretKey key = SecretKey::random();
  const GcmNonce nonce = nonce_of(random.bytes(12));
  const Bytes aad = random.bytes(9), plain = random.bytes(37);
  Bytes sealed;
  aes_gcm_seal(key, nonce, aad, plain, sealed);
  const auto refused = [&](const SecretKey& k, const GcmNonce& n, ByteView a, ByteView s) {
    const auto opened = aes_gcm_open(k, n, a, s);
    return !opened && opened.error().code() == ErrorCode::corruption;
  };
  const auto flipped = [](auto bytes, std::size_t bit) {
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] ^ (1U << bit % 8));
    return bytes;
  };
  for (std::size_t bit = 0; bit < 8 * sealed.size(); ++bit)
    ASSERT_TRUE(refused(key, nonce, aad, flipped(sealed, bit)));
  for (std::size_t bit = 0; bit < 8 * aad.size(); ++bit)
    ASSERT_TRUE(refused(key, nonce, flipped(aad, bit), sealed));
  for (std::size_t bit = 0; bit < 8 * nonce.size(); ++bit)
    ASSERT_TRUE(refused(key, flipped(nonce, bit), aad, sealed));
  const Bytes key_bytes(key.view().begin(), key.view().end());
  for (std::size_t bit = 0; bit < 256; ++bit)
    ASSERT_TRUE(refused(SecretKey(flipped(key_bytes, bit)), nonce, aad, sealed));
  for (std::size_t size = 0; size < sealed.size(); ++size)
    ASSERT_TRUE(refused(key, nonce, aad, ByteView(sealed).first(size)));
  Bytes longer = sealed;
  longer.push_back(0);
  EXPECT_TRUE(refused(key, nonce, aad, longer));
  EXPECT_FALSE(refused(key, nonce, aad, sealed));
}

TEST(AesGcm, RoundTripsEverySize) {
  Random random;
  for (std::size_t size = 0; size < 200; ++size) {
    const SecretKey key = SecretKey::random();
    const GcmNonce nonce = nonce_of(random.bytes(12));
    const Bytes plain = random.bytes(size), aad = random.bytes(random.below(40));
    Bytes sealed;
    aes_gcm_seal(key, nonce, aad, plain, sealed);
    EXPECT_EQ(sealed.size(), size + kGcmTagBytes);
    EXPECT_EQ(aes_gcm_open(key, nonce, aad, sealed).value_or(Bytes{}), plain);
  }
}

// RFC 7914, section 12. Its keys have 64 bytes, of which ours are the first 32.
TEST(Scrypt, KnownAnswers) {
  const auto derived = [](std::string_view passphrase, std::string_view salt, unsigned log_n,
                          unsigned r, unsigned p) {
    const auto key = scrypt(passphrase, as_bytes(salt), log_n, r, p);
    EXPECT_TRUE(key);
    return key ? to_hex(key->view()) : "";
  };
  EXPECT_EQ(derived("", "", 4, 1, 1),
            "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442");
  EXPECT_EQ(derived("password", "NaCl", 10, 8, 16),
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162");
  EXPECT_EQ(derived("pleaseletmein", "SodiumChloride", 14, 8, 1),
            "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2");
}

TEST(Scrypt, RefusesParametersThatAreOutOfRange) {
  struct Parameters {
    unsigned log_n, r, p;
  };
  for (const auto& [log_n, r, p] :
       {Parameters{0, 8, 1}, Parameters{31, 1, 1}, Parameters{4, 0, 1}, Parameters{4, 65, 1},
        Parameters{4, 1, 0}, Parameters{4, 1, 17}, Parameters{21, 8, 1}, Parameters{24, 1, 1},
        Parameters{16, 1, 1}, Parameters{1U << 31, 8, 1}, Parameters{20, UINT32_MAX, 1}}) {
    const auto key = scrypt("p", {}, log_n, r, p);
    ASSERT_FALSE(key) << log_n << " " << r << " " << p;
    EXPECT_EQ(key.error().code(), ErrorCode::invalid_argument);
  }
  EXPECT_TRUE(scrypt("p", {}, 15, 1, 1));
}

TEST(SecretKeys, AreWipedAndNeverCopiedSilently) {
  static_assert(!std::is_copy_constructible_v<SecretKey>);
  alignas(SecretKey) std::array<std::uint8_t, sizeof(SecretKey)> memory{};
  auto* const key = new (memory.data()) SecretKey(repeated(0xab, 32));
  const SecretKey copy = key->clone();
  key->~SecretKey();
  EXPECT_EQ(std::count(memory.begin(), memory.end(), 0xab), 0);
  EXPECT_EQ(to_hex(copy.view()), to_hex(repeated(0xab, 32)));
}

TEST(Randomness, DoesNotRepeat) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    seen.insert(random_id<PointId>().hex());
    seen.insert(to_hex(SecretKey::random().view()));
  }
  EXPECT_EQ(seen.size(), 2000U);
  random_bytes({});
}

TEST(ConstantTime, ComparesContentAndLength) {
  EXPECT_TRUE(equal_constant_time(as_bytes("abc"), as_bytes("abc")));
  EXPECT_TRUE(equal_constant_time({}, {}));
  EXPECT_FALSE(equal_constant_time(as_bytes("abc"), as_bytes("abd")));
  EXPECT_FALSE(equal_constant_time(as_bytes("abc"), as_bytes("ab")));
  EXPECT_FALSE(equal_constant_time(as_bytes("abc"), {}));
}

}  // namespace
}  // namespace tidemark::test
