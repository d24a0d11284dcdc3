#include "catalog/internal/control.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>

#include "base/bytes.h"

namespace tidemark::catalog {
namespace {

constexpr std::string_view kMagic = "TMCATCTL";
constexpr std::size_t kSlotBytes = 48;
// A slot has a sector, and more, to itself: writing one cannot tear the other.
constexpr std::size_t kSlotDistance = 4096;
constexpr std::size_t kFileBytes = kSlotDistance + kSlotBytes;

struct Slot {
  std::uint32_t schema = 0;
  StoreId store;
  std::uint64_t synced = 0;
};

Bytes encode_slot(const Slot& slot) {
  ByteWriter writer;
  writer.raw(kMagic);
  writer.u32(slot.schema);
  writer.u32(0);
  writer.raw(slot.store.view());
  writer.u64(slot.synced);
  writer.u64(XXH64(writer.bytes().data(), writer.size(), 0));
  return writer.take();
}

std::optional<Slot> decode_slot(ByteView bytes) {
  ByteReader reader(bytes);
  Slot slot;
  if (as_text(reader.raw(kMagic.size())) != kMagic) return std::nullopt;
  slot.schema = reader.u32();
  reader.u32();
  slot.store = StoreId::read(reader);
  slot.synced = reader.u64();
  const std::uint64_t sum = XXH64(bytes.data(), reader.position(), 0);
  if (reader.u64() != sum || !reader.done()) return std::nullopt;
  return slot;
}

}  // namespace

Status Control::create(const std::filesystem::path& path, std::uint32_t schema,
                       const StoreId& store) {
  const Bytes slot = encode_slot({schema, store, 0});
  Bytes file(kFileBytes, 0);
  std::copy(slot.begin(), slot.end(), file.begin());
  std::copy(slot.begin(), slot.end(), file.begin() + kSlotDistance);
  return write_file_durably(path, file);
}

Result<Control> Control::open(const std::filesystem::path& path) {
  Control control;
  TM_TRY(control.file_, open_file(path, O_RDWR));
  const auto bytes = read_at(control.file_.get(), 0, kFileBytes);
  if (!bytes) return bytes.error().context("read " + path.string());
  bool found = false;
  for (const std::size_t offset : {std::size_t{0}, kSlotDistance}) {
    const auto slot = decode_slot(ByteView(*bytes).subspan(offset, kSlotBytes));
    if (!slot || (found && slot->synced < control.synced_)) continue;
    control.schema_ = slot->schema;
    control.store_ = slot->store;
    control.synced_ = slot->synced;
    found = true;
  }
  if (!found) return Error(ErrorCode::corruption, path.string() + ": not a catalog's control file");
  return control;
}

Status Control::advance(std::uint64_t synced) {
  const std::uint64_t offset = synced % 2 == 0 ? 0 : kSlotDistance;
  TM_DO(write_at(file_.get(), encode_slot({schema_, store_, synced}), offset));
  if (::fdatasync(file_.get()) != 0) return errno_error(errno, "sync the catalog's control file");
  synced_ = synced;
  return {};
}

}  // namespace tidemark::catalog
