#include "snapshot/rbd/migration.h"

#include <fmt/format.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "snapshot/rbd/create.h"
#include "snapshot/rbd/librbd.h"

namespace tidemark {
namespace {

constexpr std::size_t kNoteBytesMax = 4096;

using Progress = std::function<bool(std::uint64_t, std::uint64_t)>;

int tell(std::uint64_t done, std::uint64_t of, void* progress) {
  return (*static_cast<const Progress*>(progress))(done, of) ? 0 : -ECANCELED;
}

}  // namespace

Result<ImportState> ImageImport::state() {
  const SignalsBlocked signals;
  TM_TRY(const IoContext io, IoContext::open(*cluster_, name_.pool, name_.ns));
  rbd_image_migration_status_t status{};
  const int result = rbd_migration_status(io.get(), name_.image.c_str(), &status, sizeof status);
  // An image that does not migrate is EINVAL.
  if (result == -ENOENT || result == -EINVAL) return ImportState::none;
  if (result < 0) return rbd_error(result, fmt::format("migration of {}", name_.text()));
  const auto state = status.state;
  rbd_migration_status_cleanup(&status);
  switch (state) {
    case RBD_IMAGE_MIGRATION_STATE_PREPARED:
      return ImportState::prepared;
    case RBD_IMAGE_MIGRATION_STATE_EXECUTING:
      return ImportState::executing;
    case RBD_IMAGE_MIGRATION_STATE_EXECUTED:
      return ImportState::executed;
    default:
      return ImportState::other;
  }
}

Status ImageImport::prepare(const CreateImage& what, const std::string& url) {
  const SignalsBlocked signals;
  TM_TRY(const IoContext io, IoContext::open(*cluster_, name_.pool, name_.ns));
  ImageOptions options;
  TM_DO(fill_options(what, options));
  const nlohmann::json source = {{"type", "raw"}, {"stream", {{"type", "http"}, {"url", url}}}};
  const int result = rbd_migration_prepare_import(source.dump().c_str(), io.get(),
                                                  name_.image.c_str(), options.get());
  if (result < 0) return rbd_error(result, fmt::format("import {} from {}", name_.text(), url));
  return {};
}

Status ImageImport::execute(const Progress& progress) {
  const SignalsBlocked signals;
  TM_TRY(const IoContext io, IoContext::open(*cluster_, name_.pool, name_.ns));
  Progress told = progress;
  const int result =
      rbd_migration_execute_with_progress(io.get(), name_.image.c_str(), tell, &told);
  if (result < 0) return rbd_error(result, fmt::format("copy the data of {}", name_.text()));
  return {};
}

Status ImageImport::commit() {
  const SignalsBlocked signals;
  TM_TRY(const IoContext io, IoContext::open(*cluster_, name_.pool, name_.ns));
  const int result = rbd_migration_commit(io.get(), name_.image.c_str());
  if (result < 0) return rbd_error(result, fmt::format("complete the import of {}", name_.text()));
  return {};
}

Status ImageImport::abort() {
  const SignalsBlocked signals;
  TM_TRY(const IoContext io, IoContext::open(*cluster_, name_.pool, name_.ns));
  const int result = rbd_migration_abort(io.get(), name_.image.c_str());
  if (result < 0) return rbd_error(result, fmt::format("abort the import of {}", name_.text()));
  return {};
}

Status ImageImport::write_note(const std::string& text) {
  TM_TRY(const IoContext io, IoContext::open(*cluster_, name_.pool, name_.ns));
  const int result = rados_write_full(io.get(), note_object().c_str(), text.data(), text.size());
  if (result < 0) return rbd_error(result, "write " + note_object());
  return {};
}

Result<std::optional<std::string>> ImageImport::read_note() {
  TM_TRY(const IoContext io, IoContext::open(*cluster_, name_.pool, name_.ns));
  std::string text(kNoteBytesMax, '\0');
  const int result = rados_read(io.get(), note_object().c_str(), text.data(), text.size(), 0);
  if (result == -ENOENT) return std::optional<std::string>();
  if (result < 0) return rbd_error(result, "read " + note_object());
  text.resize(static_cast<std::size_t>(result));
  return std::optional(std::move(text));
}

Status ImageImport::remove_note() {
  TM_TRY(const IoContext io, IoContext::open(*cluster_, name_.pool, name_.ns));
  const int result = rados_remove(io.get(), note_object().c_str());
  if (result < 0 && result != -ENOENT) return rbd_error(result, "remove " + note_object());
  return {};
}

}  // namespace tidemark
