#include "store/keys.h"

#include <algorithm>

#include "base/assert.h"

namespace tidemark {
namespace {

constexpr std::string_view kDescriptorMagic = "TMSTORE1";
constexpr std::uint16_t kDescriptorVersion = 1;
constexpr std::size_t kSlotNameBytesMax = 255;
constexpr std::size_t kWrappedBytes = SecretKey::kSize + kGcmTagBytes;
constexpr std::string_view kKeyFileMagic = "tidemark-key-1 ";

constexpr unsigned kScryptLogN = 16, kScryptR = 8, kScryptP = 1;  // 64 MiB, about 0.2 s

// A slot's wrapping key is derived from its random salt and wraps one master key once, so the nonce
// may be constant.
constexpr GcmNonce kSlotNonce{};

Bytes slot_aad(const KeySlot& slot) {
  ByteWriter w;
  w.raw(std::string_view("tidemark key slot 1"));
  w.u8(static_cast<std::uint8_t>(slot.type));
  w.u8(slot.scrypt_log_n);
  w.u8(slot.scrypt_r);
  w.u8(slot.scrypt_p);
  w.raw(slot.salt);
  return w.take();
}

void wrap(KeySlot& slot, const SecretKey& slot_key, const SecretKey& master) {
  slot.wrapped.clear();
  aes_gcm_seal(slot_key, kSlotNonce, slot_aad(slot), master.view(), slot.wrapped);
}

Result<SecretKey> unwrap(const KeySlot& slot, const SecretKey& slot_key) {
  TM_TRY(Bytes plain, aes_gcm_open(slot_key, kSlotNonce, slot_aad(slot), slot.wrapped));
  if (plain.size() != SecretKey::kSize)
    return Error(ErrorCode::corruption, "key slot: wrong length");
  SecretKey master{ByteView(plain)};
  wipe(plain);
  return master;
}

SecretKey file_slot_key(const KeySlot& slot, const SecretKey& file_key) {
  return hkdf(file_key, slot.salt, "tidemark key file slot 1");
}

// A name too long to be read back would make the whole descriptor unreadable.
std::string slot_name(std::string name) {
  name.resize(std::min(name.size(), kSlotNameBytesMax));
  return name;
}

Error no_slot_opens(std::string_view what) {
  return Error(ErrorCode::permission_denied, std::string(what) + " opens no key slot of this store")
      .with_hint("use the key file or passphrase that belongs to this store");
}

bool matches(const StoreDescriptor& descriptor, const SecretKey& master) {
  return StoreKeys(master).key_id() == descriptor.key_id;
}

KeySlot read_slot(ByteReader& r) {
  KeySlot slot;
  const std::uint8_t type = r.u8();
  if (type != 1 && type != 2) r.fail();
  slot.type = static_cast<KeySlot::Type>(type);
  slot.name = std::string(r.sized_text(kSlotNameBytesMax));
  slot.scrypt_log_n = r.u8();
  slot.scrypt_r = r.u8();
  slot.scrypt_p = r.u8();
  const ByteView salt = r.raw(slot.salt.size());
  if (salt.size() == slot.salt.size()) std::copy(salt.begin(), salt.end(), slot.salt.begin());
  const ByteView wrapped = r.sized(kWrappedBytes);
  slot.wrapped.assign(wrapped.begin(), wrapped.end());
  if (wrapped.size() != kWrappedBytes) r.fail();
  return slot;
}

}  // namespace

StoreKeys::StoreKeys(const SecretKey& master) : encrypted_(true) {
  chunk_key_ = hkdf(master, {}, "tidemark chunk ids 1");
  pack_key_ = hkdf(master, {}, "tidemark packs 1");
  record_key_ = hkdf(master, {}, "tidemark point records 1");
  meta_key_ = hkdf(master, {}, "tidemark point metadata 1");
  key_id_ = Digest::from(hkdf(master, {}, "tidemark key id 1").view());
}

StoreKeys StoreKeys::unencrypted() { return StoreKeys(); }

ChunkId StoreKeys::chunk_id(ByteView plain) const {
  const Digest digest = encrypted_ ? hmac_sha256(chunk_key_.view(), plain) : sha256(plain);
  return ChunkId::from(digest.view());
}

SecretKey StoreKeys::pack_key(ByteView salt) const {
  return hkdf(pack_key_, salt, "tidemark pack 1");
}

SecretKey StoreKeys::meta_key(const PointId& point, const MetaSalt& salt) const {
  ByteWriter w;
  w.raw(point.view());
  w.raw(salt.view());
  return hkdf(meta_key_, w.bytes(), "tidemark point 2");
}

SecretKey StoreKeys::meta_key_v1(const PointId& point) const {
  return hkdf(meta_key_, point.view(), "tidemark point 1");
}

Digest StoreKeys::record_mac(ByteView record) const {
  return encrypted_ ? hmac_sha256(record_key_.view(), record) : Digest{};
}

StoreKeys StoreKeys::clone() const {
  StoreKeys copy;
  copy.encrypted_ = encrypted_;
  copy.key_id_ = key_id_;
  copy.chunk_key_ = chunk_key_.clone();
  copy.pack_key_ = pack_key_.clone();
  copy.record_key_ = record_key_.clone();
  copy.meta_key_ = meta_key_.clone();
  return copy;
}

Bytes encode(const StoreDescriptor& descriptor) {
  TM_CHECK(descriptor.slots.size() <= StoreDescriptor::kSlotsMax);
  ByteWriter w;
  w.raw(kDescriptorMagic);
  w.u16(kDescriptorVersion);
  w.u8(descriptor.encrypted ? 1 : 0);
  w.raw(descriptor.id.view());
  w.u64(static_cast<std::uint64_t>(descriptor.created_us));
  w.raw(descriptor.key_id.view());
  w.varint(descriptor.slots.size());
  for (const KeySlot& slot : descriptor.slots) {
    TM_CHECK(slot.name.size() <= kSlotNameBytesMax && slot.wrapped.size() == kWrappedBytes);
    w.u8(static_cast<std::uint8_t>(slot.type));
    w.sized(slot.name);
    w.u8(slot.scrypt_log_n);
    w.u8(slot.scrypt_r);
    w.u8(slot.scrypt_p);
    w.raw(slot.salt);
    w.sized(slot.wrapped);
  }
  w.raw(sha256(w.bytes()).view());
  return w.take();
}

Result<StoreDescriptor> decode_store_descriptor(ByteView bytes) {
  const Error damaged(ErrorCode::corruption, "store descriptor: damaged");
  if (bytes.size() < kDescriptorMagic.size() + 34 ||
      as_text(bytes.first(kDescriptorMagic.size())) != kDescriptorMagic)
    return Error(ErrorCode::corruption, "store descriptor: not a Tidemark store");
  ByteReader r(bytes.first(bytes.size() - Digest::kSize));
  r.raw(kDescriptorMagic.size());
  if (r.u16() != kDescriptorVersion)
    return Error(ErrorCode::unsupported, "store descriptor: made by a newer version");
  if (sha256(bytes.first(bytes.size() - Digest::kSize)) != Digest::from(bytes.last(Digest::kSize)))
    return damaged;
  StoreDescriptor descriptor;
  const std::uint8_t encrypted = r.u8();
  descriptor.encrypted = encrypted == 1;
  descriptor.id = StoreId::read(r);
  descriptor.created_us = static_cast<std::int64_t>(r.u64());
  descriptor.key_id = Digest::read(r);
  const std::uint64_t slots = r.varint_max(StoreDescriptor::kSlotsMax);
  for (std::uint64_t i = 0; i < slots && r.ok(); ++i) descriptor.slots.push_back(read_slot(r));
  // Without encryption there is no key that could have an id or a slot.
  const bool keyless = descriptor.key_id.is_null() && descriptor.slots.empty();
  if (!r.done() || encrypted > 1 || (!descriptor.encrypted && !keyless)) return damaged;
  return descriptor;
}

std::string format_key_file(const SecretKey& key) {
  return std::string(kKeyFileMagic) + to_hex(key.view()) + "\n";
}

Result<SecretKey> parse_key_file(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
    text.remove_suffix(1);
  if (!text.starts_with(kKeyFileMagic))
    return Error(ErrorCode::invalid_argument, "not a Tidemark key file");
  auto bytes = from_hex(text.substr(kKeyFileMagic.size()));
  if (!bytes || bytes->size() != SecretKey::kSize)
    return Error(ErrorCode::invalid_argument, "key file: damaged");
  SecretKey key{ByteView(*bytes)};
  wipe(*bytes);
  return key;
}

KeySlot make_key_file_slot(const SecretKey& master, const SecretKey& file_key, std::string name) {
  KeySlot slot;
  slot.type = KeySlot::Type::key_file;
  slot.name = slot_name(std::move(name));
  random_bytes(slot.salt);
  wrap(slot, file_slot_key(slot, file_key), master);
  return slot;
}

Result<KeySlot> make_passphrase_slot(const SecretKey& master, std::string_view passphrase,
                                     std::string name) {
  if (passphrase.empty()) return Error(ErrorCode::invalid_argument, "the passphrase is empty");
  KeySlot slot;
  slot.type = KeySlot::Type::passphrase;
  slot.name = slot_name(std::move(name));
  slot.scrypt_log_n = kScryptLogN;
  slot.scrypt_r = kScryptR;
  slot.scrypt_p = kScryptP;
  random_bytes(slot.salt);
  TM_TRY(const SecretKey key, scrypt(passphrase, slot.salt, kScryptLogN, kScryptR, kScryptP));
  wrap(slot, key, master);
  return slot;
}

Result<SecretKey> open_with_key_file(const StoreDescriptor& descriptor, const SecretKey& file_key) {
  for (const KeySlot& slot : descriptor.slots) {
    if (slot.type != KeySlot::Type::key_file) continue;
    auto master = unwrap(slot, file_slot_key(slot, file_key));
    if (master && matches(descriptor, *master)) return master;
  }
  return no_slot_opens("the key file");
}

Result<SecretKey> open_with_passphrase(const StoreDescriptor& descriptor,
                                       std::string_view passphrase) {
  Error failure = no_slot_opens("the passphrase");
  for (const KeySlot& slot : descriptor.slots) {
    if (slot.type != KeySlot::Type::passphrase) continue;
    auto key = scrypt(passphrase, slot.salt, slot.scrypt_log_n, slot.scrypt_r, slot.scrypt_p);
    if (!key) {
      // One slot that cannot be tried must not keep the others shut.
      failure = std::move(key).error().context("key slot '" + slot.name + "'");
      continue;
    }
    auto master = unwrap(slot, *key);
    if (master && matches(descriptor, *master)) return master;
  }
  return failure;
}

}  // namespace tidemark
