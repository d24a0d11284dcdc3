// Which RADOS objects a range of an image is made of, and whether they exist at a snapshot.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "snapshot/rbd/librbd.h"

namespace tidemark {

// How bytes of an image are spread over objects.
struct ObjectLayout {
  std::uint64_t object_bytes = 0;
  std::uint64_t stripe_unit = 0;
  std::uint64_t stripe_count = 1;

  // Whole stripes: what lies in one period shares no object with another one.
  std::uint64_t period() const { return object_bytes * stripe_count; }
  // The numbers of the objects that hold the range, ascending.
  std::vector<std::uint64_t> objects_of(std::uint64_t offset, std::uint64_t size) const;
};

Result<ObjectLayout> read_layout(rbd_image_t image);

// Asks the OSDs themselves whether data objects exist at a snapshot. An object map may call an
// object existing that is not; and without a map there is no other way to tell an object that hides
// the parent's data by being empty from one that is not there. Safe from several threads.
class ObjectProbe {
 public:
  static Result<std::unique_ptr<ObjectProbe>> open(RbdImage::Impl& image,
                                                   std::uint64_t snapshot_id);
  // One flag for each object.
  Result<std::vector<bool>> exist(const std::vector<std::uint64_t>& objects) const;

 private:
  IoContext io_;
  std::string prefix_;
};

}  // namespace tidemark
