// The images that a clone shows data of: its parent, the parent's parent, and so on.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "snapshot/rbd/librbd.h"

namespace tidemark {

struct Ancestor {
  std::unique_ptr<RbdImage::Impl> image;  // at the snapshot that was cloned, in the trash or not
  std::uint64_t shown_bytes = 0;          // the clone may show this many of its first bytes
};

// Opens the ancestors of what `image` is opened at, the parent first; none where it is no clone.
// `refused` where one of them is gone: the clone was flattened since `image` was opened.
Result<std::vector<Ancestor>> open_ancestors(RbdImage::Impl& image);

}  // namespace tidemark
