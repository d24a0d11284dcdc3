// What a drill brought back, as a disk that is read: an open image, or a raw file.
#pragma once

#include <filesystem>
#include <memory>
#include <stop_token>

#include "snapshot/rbd/image.h"
#include "transport/block_view.h"

namespace tidemark {

// Takes a snapshot of the image, called "tidemark-drill", and reads that: what changes the image
// afterwards is not seen. Which regions (4 MiB) may hold data is listed first; others are holes.
// The snapshot stays.
inline constexpr const char* kDrillSnapshot = "tidemark-drill";
Result<std::unique_ptr<BlockView>> open_image_disk(std::shared_ptr<CephCluster> cluster,
                                                   const RbdImageName& name, std::stop_token stop);
// Holes are those of the file system.
Result<std::unique_ptr<BlockView>> open_file_disk(const std::filesystem::path& path);

}  // namespace tidemark
