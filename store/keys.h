// The keys of a store, and the slots that guard them. Format: docs/format/store.md.
//
// A store has one random master key. It is never written down in clear: each key slot holds a copy,
// wrapped under a key that comes from a passphrase (scrypt) or from a key file. From the master key
// follow, by HKDF: the key of chunk ids, the key from which each pack's own key is derived, the key
// of point records and the key of their private part.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/crypto.h"
#include "base/ids.h"

namespace tidemark {

class StoreKeys {
 public:
  // Of an encrypted store.
  explicit StoreKeys(const SecretKey& master);
  // Of a store without encryption: ids are plain SHA-256, nothing is sealed.
  static StoreKeys unencrypted();

  bool encrypted() const { return encrypted_; }
  // Tells keys apart without giving them away; null for an unencrypted store.
  const Digest& key_id() const { return key_id_; }

  ChunkId chunk_id(ByteView plain) const;
  // REQUIRES (both): encrypted().
  SecretKey pack_key(ByteView salt) const;
  // Seals the metadata of a record once, as its salt is drawn for it.
  SecretKey meta_key(const PointId& point, const MetaSalt& salt) const;
  // The same of records of version 1.
  SecretKey meta_key_v1(const PointId& point) const;
  // Of a point record; null for an unencrypted store.
  Digest record_mac(ByteView record) const;

  StoreKeys clone() const;
  StoreKeys(StoreKeys&&) noexcept = default;
  StoreKeys& operator=(StoreKeys&&) noexcept = default;

 private:
  StoreKeys() = default;
  bool encrypted_ = false;
  Digest key_id_;
  SecretKey chunk_key_, pack_key_, record_key_, meta_key_;
};

// One wrapped copy of the master key.
struct KeySlot {
  enum class Type : std::uint8_t { passphrase = 1, key_file = 2 };
  Type type = Type::key_file;
  std::string name;  // for people: "recovery sheet", "osaka agent"
  std::uint8_t scrypt_log_n = 0, scrypt_r = 0, scrypt_p = 0;
  std::array<std::uint8_t, 32> salt{};
  Bytes wrapped;  // sealed master key
};

// What the blob "store" of a backend says: who the store is and how its key is guarded.
struct StoreDescriptor {
  static constexpr std::string_view kBlobName = "store";
  static constexpr std::size_t kSlotsMax = 32;
  StoreId id;
  std::int64_t created_us = 0;
  bool encrypted = true;
  Digest key_id;
  std::vector<KeySlot> slots;
};

// REQUIRES: no more than kSlotsMax slots, each made by one of the functions below.
Bytes encode(const StoreDescriptor& descriptor);
Result<StoreDescriptor> decode_store_descriptor(ByteView bytes);

// A key file holds 32 random bytes as text: "tidemark-key-1 <64 hex digits>\n".
std::string format_key_file(const SecretKey& key);
Result<SecretKey> parse_key_file(std::string_view text);

// Wraps the master key. The slot's key is used for this one wrapping only. A name of more than 255
// bytes is cut.
KeySlot make_key_file_slot(const SecretKey& master, const SecretKey& file_key, std::string name);
Result<KeySlot> make_passphrase_slot(const SecretKey& master, std::string_view passphrase,
                                     std::string name);
// The master key, from whichever slot the secret opens; `permission_denied` where none does. Where
// a passphrase opens none, but a slot could not be tried (not enough memory, scrypt parameters out
// of range), that slot's error.
Result<SecretKey> open_with_key_file(const StoreDescriptor& descriptor, const SecretKey& file_key);
Result<SecretKey> open_with_passphrase(const StoreDescriptor& descriptor,
                                       std::string_view passphrase);

}  // namespace tidemark
