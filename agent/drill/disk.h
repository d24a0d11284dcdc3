// What a drill brought back, as a disk that is read: an open image, or a raw file.
#pragma once

#include <filesystem>
#include <memory>
#include <stop_token>

#include "snapshot/rbd/image.h"
#include "transport/block_view.h"

namespace tidemark {

// Lists first which regions (4 MiB) of the image may hold data; others are holes. The image must
// not change meanwhile, and is closed with the view.
Result<std::unique_ptr<BlockView>> open_image_disk(std::shared_ptr<CephCluster> cluster,
                                                   const RbdImageName& name, std::stop_token stop);
// Holes are those of the file system.
Result<std::unique_ptr<BlockView>> open_file_disk(const std::filesystem::path& path);

}  // namespace tidemark
