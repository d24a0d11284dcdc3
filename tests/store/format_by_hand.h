// Encoders written a second time, from docs/format alone and from nothing but SHA-256, HKDF and
// AES-GCM: what they make must equal what the store makes. They take from their caller what the
// store draws at random.
#pragma once

#include <string>
#include <vector>

#include "base/crypto.h"

namespace tidemark::test {

struct BlobByHand {
  std::uint8_t kind = 1;   // 1 chunk, 2 node
  std::uint8_t codec = 0;  // 0 raw, 1 zstd
  Bytes plain;             // whole, for the id
  Bytes clear;             // node: its first bytes
  Bytes body;              // the rest, compressed as `codec` says
};

// `master` null: without encryption.
Bytes pack_by_hand(const SecretKey* master, ByteView salt, const std::vector<BlobByHand>& blobs);

struct SlotByHand {
  std::uint8_t type = 2;  // 1 passphrase, 2 key file
  std::string name;
  std::uint8_t log_n = 0, r = 0, p = 0;
  Bytes salt;
  Bytes slot_key;  // what the secret and the salt make
};

Bytes descriptor_by_hand(const SecretKey* master, ByteView store_id, std::uint64_t created_us,
                         const std::vector<SlotByHand>& slots);

}  // namespace tidemark::test
