// Images that are usable before their data is there: librbd's import-only live migration from a raw
// volume behind an HTTP URL. Whoever opens such an image reads from the URL what has not been
// copied yet, through its own librbd; writes go to the image.
// https://docs.ceph.com/en/pacific/rbd/rbd-live-migration/
//
//   absent --prepare--> prepared --execute--> executed --commit--> an ordinary image
//   prepared, executed --abort--> absent
//
// The source must be there until the commit: without it the image cannot even be opened. krbd
// cannot map an image that migrates.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "snapshot/rbd/image.h"

namespace tidemark {

enum class ImportState : std::uint8_t { none, prepared, executing, executed, other };

// Safe from any thread; one of them at a time should work on an image. Errors as of RbdImage.
class ImageImport {
 public:
  ImageImport(std::shared_ptr<CephCluster> cluster, RbdImageName name)
      : cluster_(std::move(cluster)), name_(std::move(name)) {}

  // `none` where the image is not there or does not migrate. Ceph opens the source to tell.
  Result<ImportState> state();
  // The image is there and usable when this returns. `already_exists` where one of its name is.
  Status prepare(const CreateImage& what, const std::string& url);
  // Copies what was not written meanwhile; goes on where an earlier call stopped. `progress` is
  // told parts done and of how many, and ends the call (`cancelled`) by returning false.
  Status execute(const std::function<bool(std::uint64_t done, std::uint64_t of)>& progress);
  Status commit();
  // Removes the image.
  Status abort();

  // A note beside the image, which can be read without opening it: where its source is.
  Status write_note(const std::string& text);
  Result<std::optional<std::string>> read_note();
  Status remove_note();

 private:
  std::string note_object() const { return "tidemark.instant." + name_.image; }
  std::shared_ptr<CephCluster> cluster_;
  RbdImageName name_;
};

}  // namespace tidemark
