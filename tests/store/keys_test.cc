// Keys of a store: slots, descriptors, key files.
#include "store/keys.h"

#include "tests/store/support.h"

namespace tidemark {
namespace {

using test::Rng;

bool same(const SecretKey& a, const SecretKey& b) {
  return equal_constant_time(a.view(), b.view());
}

// A descriptor with whatever slots a test gives it.
StoreDescriptor descriptor_for(const SecretKey& master) {
  StoreDescriptor descriptor;
  descriptor.id = random_id<StoreId>();
  descriptor.created_us = 1'800'000'000'000'000;
  descriptor.key_id = StoreKeys(master).key_id();
  return descriptor;
}

// Bytes with a valid digest behind them.
Bytes with_digest(Bytes body) {
  append(body, sha256(body).view());
  return body;
}

TEST(StoreKeys, DifferForDifferentMasters) {
  const StoreKeys a(test::fixed_key(1)), again(test::fixed_key(1)), b(test::fixed_key(2));
  const Bytes plain = {1, 2, 3};
  EXPECT_EQ(a.chunk_id(plain), again.chunk_id(plain));
  EXPECT_EQ(a.key_id(), again.key_id());
  EXPECT_NE(a.chunk_id(plain), b.chunk_id(plain));
  EXPECT_NE(a.key_id(), b.key_id());
  EXPECT_NE(a.record_mac(plain), b.record_mac(plain));
  EXPECT_FALSE(same(a.pack_key(plain), b.pack_key(plain)));
  const PointId point = random_id<PointId>();
  const MetaSalt salt = random_id<MetaSalt>();
  EXPECT_FALSE(same(a.meta_key(point, salt), b.meta_key(point, salt)));
  EXPECT_FALSE(same(a.meta_key_v1(point), b.meta_key_v1(point)));
}

TEST(StoreKeys, AreSeparateForEachUse) {
  const StoreKeys keys(test::fixed_key(1));
  const PointId point = random_id<PointId>();
  const std::vector<Digest> all = {
      keys.key_id(),
      Digest::from(keys.chunk_id(point.view()).view()),
      keys.record_mac(point.view()),
      Digest::from(keys.pack_key(point.view()).view()),
      Digest::from(keys.meta_key(point, MetaSalt{}).view()),
      Digest::from(keys.meta_key(point, random_id<MetaSalt>()).view()),
      Digest::from(keys.meta_key_v1(point).view()),
      Digest::from(test::fixed_key(1).view()),
  };
  EXPECT_EQ(std::set<Digest>(all.begin(), all.end()).size(), all.size());
}

TEST(StoreKeys, WithoutEncryptionIdsArePlainHashesAndNothingIsSigned) {
  const StoreKeys keys = StoreKeys::unencrypted();
  EXPECT_FALSE(keys.encrypted());
  EXPECT_TRUE(keys.key_id().is_null());
  EXPECT_TRUE(keys.record_mac(as_bytes("record")).is_null());
  EXPECT_EQ(keys.chunk_id(as_bytes("abc")).hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(StoreKeys, CloneDoesWhatTheOriginalDoes) {
  const StoreKeys keys(test::fixed_key(9));
  const StoreKeys copy = keys.clone();
  const Bytes plain = {7};
  const PointId point = random_id<PointId>();
  EXPECT_EQ(copy.encrypted(), true);
  EXPECT_EQ(copy.key_id(), keys.key_id());
  EXPECT_EQ(copy.chunk_id(plain), keys.chunk_id(plain));
  EXPECT_EQ(copy.record_mac(plain), keys.record_mac(plain));
  EXPECT_TRUE(same(copy.pack_key(plain), keys.pack_key(plain)));
  const MetaSalt salt = random_id<MetaSalt>();
  EXPECT_TRUE(same(copy.meta_key(point, salt), keys.meta_key(point, salt)));
}

TEST(KeySlots, EitherSecretOpensTheSameMaster) {
  const SecretKey master = SecretKey::random(), file_key = SecretKey::random();
  StoreDescriptor descriptor = descriptor_for(master);
  descriptor.slots.push_back(make_key_file_slot(master, SecretKey::random(), "another agent"));
  auto slot = make_passphrase_slot(master, "correct horse", "recovery sheet");
  ASSERT_TRUE(slot);
  descriptor.slots.push_back(std::move(*slot));
  descriptor.slots.push_back(make_key_file_slot(master, file_key, "osaka agent"));

  const auto decoded = decode_store_descriptor(encode(descriptor));
  ASSERT_TRUE(decoded);
  const auto by_file = open_with_key_file(*decoded, file_key);
  const auto by_passphrase = open_with_passphrase(*decoded, "correct horse");
  ASSERT_TRUE(by_file && by_passphrase);
  EXPECT_TRUE(same(*by_file, master));
  EXPECT_TRUE(same(*by_passphrase, master));

  EXPECT_EQ(test::code_of(open_with_key_file(*decoded, SecretKey::random())),
            ErrorCode::permission_denied);
  EXPECT_EQ(test::code_of(open_with_passphrase(*decoded, "correct horse ")),
            ErrorCode::permission_denied);
}

TEST(KeySlots, EmptyPassphraseIsRefused) {
  EXPECT_EQ(test::code_of(make_passphrase_slot(SecretKey::random(), "", "none")),
            ErrorCode::invalid_argument);
}

TEST(KeySlots, EveryTamperedByteOfASlotKeepsItShut) {
  const SecretKey master = test::fixed_key(3), file_key = test::fixed_key(4);
  StoreDescriptor descriptor = descriptor_for(master);
  const KeySlot slot = make_key_file_slot(master, file_key, "agent");
  descriptor.slots = {slot};
  ASSERT_TRUE(open_with_key_file(descriptor, file_key));
  const auto expect_shut = [&](const KeySlot& tampered) {
    descriptor.slots = {tampered};
    EXPECT_EQ(test::code_of(open_with_key_file(descriptor, file_key)),
              ErrorCode::permission_denied);
  };
  for (std::size_t at = 0; at < slot.wrapped.size(); ++at) {
    KeySlot tampered = slot;
    tampered.wrapped[at] ^= 0x40;
    expect_shut(tampered);
  }
  for (std::size_t at = 0; at < slot.salt.size(); ++at) {
    KeySlot tampered = slot;
    tampered.salt[at] ^= 1;
    expect_shut(tampered);
  }
  KeySlot tampered = slot;
  tampered.scrypt_log_n = 1;
  expect_shut(tampered);
  tampered = slot;
  tampered.type = KeySlot::Type::passphrase;
  expect_shut(tampered);
}

TEST(KeySlots, SlotThatOpensToAnotherStoresMasterIsNotBelieved) {
  const SecretKey master = test::fixed_key(3), other = test::fixed_key(8),
                  file_key = test::fixed_key(4);
  StoreDescriptor descriptor = descriptor_for(master);
  descriptor.slots = {make_key_file_slot(other, file_key, "planted")};
  EXPECT_EQ(test::code_of(open_with_key_file(descriptor, file_key)), ErrorCode::permission_denied);
  descriptor.slots.push_back(make_key_file_slot(master, file_key, "true"));
  EXPECT_TRUE(open_with_key_file(descriptor, file_key));
}

TEST(KeySlots, HostileScryptParametersAreRefusedAtOnceAndDoNotShutTheOtherSlots) {
  const SecretKey master = test::fixed_key(3);
  auto good = make_passphrase_slot(master, "passphrase", "good");
  ASSERT_TRUE(good);
  struct {
    std::uint8_t log_n, r, p;
  } const hostile[] = {{0, 8, 1},  {63, 8, 1},   {255, 8, 1}, {30, 8, 1},  {24, 64, 1},
                       {16, 0, 1}, {16, 255, 1}, {16, 8, 0},  {16, 8, 255}};
  for (const auto& parameters : hostile) {
    KeySlot bad = *good;
    bad.scrypt_log_n = parameters.log_n;
    bad.scrypt_r = parameters.r;
    bad.scrypt_p = parameters.p;
    StoreDescriptor descriptor = descriptor_for(master);
    descriptor.slots = {bad};
    EXPECT_EQ(test::code_of(open_with_passphrase(descriptor, "passphrase")),
              ErrorCode::invalid_argument);
  }
  StoreDescriptor descriptor = descriptor_for(master);
  KeySlot bad = *good;
  bad.scrypt_log_n = 63;
  descriptor.slots = {bad, *good};
  EXPECT_TRUE(open_with_passphrase(descriptor, "passphrase"));
}

TEST(KeySlots, LongNamesAreCutToWhatCanBeReadAgain) {
  const SecretKey master = test::fixed_key(3);
  StoreDescriptor descriptor = descriptor_for(master);
  descriptor.slots = {make_key_file_slot(master, test::fixed_key(4), std::string(4000, 'n'))};
  const auto decoded = decode_store_descriptor(encode(descriptor));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->slots[0].name, std::string(255, 'n'));
  EXPECT_TRUE(open_with_key_file(*decoded, test::fixed_key(4)));
}

class Descriptor : public testing::Test {
 protected:
  Descriptor() : descriptor_(descriptor_for(test::fixed_key(1))) {
    descriptor_.slots = {make_key_file_slot(test::fixed_key(1), test::fixed_key(2), "a"),
                         make_key_file_slot(test::fixed_key(1), test::fixed_key(3), "b")};
    bytes_ = encode(descriptor_);
  }
  StoreDescriptor descriptor_;
  Bytes bytes_;
};

TEST_F(Descriptor, ReadsWhatItWrote) {
  const auto decoded = decode_store_descriptor(bytes_);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->id, descriptor_.id);
  EXPECT_EQ(decoded->created_us, descriptor_.created_us);
  EXPECT_TRUE(decoded->encrypted);
  EXPECT_EQ(decoded->key_id, descriptor_.key_id);
  ASSERT_EQ(decoded->slots.size(), 2U);
  EXPECT_EQ(decoded->slots[1].name, "b");
  EXPECT_EQ(encode(*decoded), bytes_);

  StoreDescriptor plain;
  plain.id = descriptor_.id;
  plain.encrypted = false;
  const auto plain_decoded = decode_store_descriptor(encode(plain));
  ASSERT_TRUE(plain_decoded);
  EXPECT_FALSE(plain_decoded->encrypted);
}

TEST_F(Descriptor, EveryTruncationAndEveryChangedByteFails) {
  for (std::size_t size = 0; size < bytes_.size(); ++size)
    EXPECT_FALSE(decode_store_descriptor(ByteView(bytes_).first(size)));
  for (std::size_t at = 0; at < bytes_.size(); ++at) {
    for (const int flip : {1, 0x80, 0xff}) {
      Bytes damaged = bytes_;
      damaged[at] = static_cast<std::uint8_t>(damaged[at] ^ flip);
      EXPECT_FALSE(decode_store_descriptor(damaged));
    }
  }
  Bytes longer = bytes_;
  longer.push_back(0);
  EXPECT_FALSE(decode_store_descriptor(longer));
}

TEST_F(Descriptor, WithAValidDigestDecodesOnlyWhatEncodesToTheSame) {
  const Bytes body(bytes_.begin(), bytes_.end() - Digest::kSize);
  for (std::size_t at = 0; at < body.size(); ++at) {
    for (unsigned flip = 1; flip < 256; flip += 3) {
      Bytes forged = body;
      forged[at] = static_cast<std::uint8_t>(forged[at] ^ flip);
      const auto decoded = decode_store_descriptor(with_digest(forged));
      if (decoded) {
        ASSERT_EQ(encode(*decoded), with_digest(forged));
      }
    }
  }
  for (std::size_t size = 0; size < body.size(); ++size)
    EXPECT_FALSE(decode_store_descriptor(
        with_digest(Bytes(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(size)))));
}

TEST_F(Descriptor, NewerVersionIsSaidToBeOne) {
  Bytes newer(bytes_.begin(), bytes_.end() - Digest::kSize);
  newer[8] = 2;
  const auto decoded = decode_store_descriptor(with_digest(newer));
  EXPECT_EQ(test::code_of(decoded), ErrorCode::unsupported);
}

TEST(KeyFile, ReadsWhatItWroteAndForgivesWhatEditorsAppend) {
  const SecretKey key = SecretKey::random();
  const std::string text = format_key_file(key);
  EXPECT_EQ(text.size(), 15U + 64U + 1U);
  for (const std::string& variant : {text, text.substr(0, text.size() - 1), text + "\n",
                                     text.substr(0, text.size() - 1) + " \r\n"}) {
    const auto parsed = parse_key_file(variant);
    ASSERT_TRUE(parsed);
    EXPECT_TRUE(same(*parsed, key));
  }
}

TEST(KeyFile, RefusesEverythingElse) {
  const std::string text = format_key_file(SecretKey::random());
  const std::string digits = text.substr(15, 64);
  for (const std::string& wrong :
       {std::string(), std::string("\n"), std::string("tidemark-key-1"),
        std::string("tidemark-key-1 "), digits, "tidemark-key-2 " + digits,
        "tidemark-key-1 " + digits.substr(2), "tidemark-key-1 " + digits + "00",
        "tidemark-key-1 " + digits.substr(1) + "g", " tidemark-key-1 " + digits,
        "tidemark-key-1  " + digits, text + text})
    EXPECT_EQ(test::code_of(parse_key_file(wrong)), ErrorCode::invalid_argument) << wrong;
}

}  // namespace
}  // namespace tidemark
