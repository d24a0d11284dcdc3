#include "tests/store/format_by_hand.h"

namespace tidemark::test {
namespace {

// Little-endian, as all integers.
void number(Bytes& out, std::uint64_t v, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::uint8_t>(v >> (8 * i)));
}
void text(Bytes& out, std::string_view v) { append(out, as_bytes(v)); }
void varint(Bytes& out, std::uint64_t v) {
  for (; v > 127; v /= 128) out.push_back(static_cast<std::uint8_t>(128 + v % 128));
  out.push_back(static_cast<std::uint8_t>(v));
}

SecretKey derived(const SecretKey& master, std::string_view use) { return hkdf(master, {}, use); }

Bytes key_id_of(const SecretKey* master) {
  if (master == nullptr) return Bytes(32, 0);
  const SecretKey id = derived(*master, "tidemark key id 1");
  return Bytes(id.view().begin(), id.view().end());
}

}  // namespace

Bytes pack_by_hand(const SecretKey* master, ByteView salt, const std::vector<BlobByHand>& blobs) {
  Bytes pack;
  text(pack, std::string_view("TMPACK\x00\x01", 8));
  number(pack, 1, 2);
  number(pack, master == nullptr ? 0 : 1, 2);
  number(pack, 64, 4);
  append(pack, ByteView(key_id_of(master)).first(16));
  append(pack, salt);
  const Bytes header = pack;
  Bytes index;
  for (std::size_t i = 0; i < blobs.size(); ++i) {
    const BlobByHand& blob = blobs[i];
    const Digest id =
        master == nullptr
            ? sha256(blob.plain)
            : hmac_sha256(derived(*master, "tidemark chunk ids 1").view(), blob.plain);
    const std::size_t begin = pack.size();
    if (blob.kind == 2) {
      varint(pack, blob.clear.size());
      append(pack, blob.clear);
    }
    if (master == nullptr) {
      append(pack, blob.body);
    } else {
      const SecretKey key = hkdf(derived(*master, "tidemark packs 1"), salt, "tidemark pack 1");
      GcmNonce nonce{};
      nonce[0] = static_cast<std::uint8_t>(i);
      Bytes aad = header;
      number(aad, blob.kind, 1);
      number(aad, blob.codec, 1);
      number(aad, i, 4);
      number(aad, blob.plain.size(), 4);
      append(aad, id.view());
      append(aad, blob.clear);
      aes_gcm_seal(key, nonce, aad, blob.body, pack);
    }
    append(index, id.view());
    number(index, blob.kind, 1);
    number(index, blob.codec, 1);
    varint(index, pack.size() - begin);
    varint(index, blob.plain.size());
  }
  const std::size_t index_offset = pack.size();
  append(pack, index);
  number(pack, index_offset, 8);
  number(pack, index.size(), 4);
  number(pack, blobs.size(), 4);
  append(pack, sha256(index).view());
  number(pack, 1, 2);
  number(pack, 0, 6);
  text(pack, "TMPKEND\x01");
  return pack;
}

Bytes descriptor_by_hand(const SecretKey* master, ByteView store_id, std::uint64_t created_us,
                         const std::vector<SlotByHand>& slots) {
  Bytes out;
  text(out, "TMSTORE1");
  number(out, 1, 2);
  number(out, master == nullptr ? 0 : 1, 1);
  append(out, store_id);
  number(out, created_us, 8);
  append(out, key_id_of(master));
  varint(out, slots.size());
  for (const SlotByHand& slot : slots) {
    Bytes aad;
    text(aad, "tidemark key slot 1");
    for (const std::uint8_t v : {slot.type, slot.log_n, slot.r, slot.p}) number(aad, v, 1);
    append(aad, slot.salt);
    number(out, slot.type, 1);
    varint(out, slot.name.size());
    text(out, slot.name);
    for (const std::uint8_t v : {slot.log_n, slot.r, slot.p}) number(out, v, 1);
    append(out, slot.salt);
    varint(out, 48);
    aes_gcm_seal(SecretKey(slot.slot_key), GcmNonce{}, aad, master->view(), out);
  }
  append(out, sha256(out).view());
  return out;
}

}  // namespace tidemark::test
