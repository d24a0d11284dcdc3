// What a new image is asked for, in librbd's words. Not for other folders.
#pragma once

#include <string>

#include "snapshot/rbd/librbd.h"

namespace tidemark {

class ImageOptions {
 public:
  ImageOptions() { rbd_image_options_create(&options_); }
  ~ImageOptions() { rbd_image_options_destroy(options_); }
  ImageOptions(const ImageOptions&) = delete;
  ImageOptions& operator=(const ImageOptions&) = delete;
  int set(int option, std::uint64_t value) {
    return rbd_image_options_set_uint64(options_, option, value);
  }
  int set(int option, const std::string& value) {
    return rbd_image_options_set_string(options_, option, value.c_str());
  }
  rbd_image_options_t get() const { return options_; }

 private:
  rbd_image_options_t options_ = nullptr;
};

// Everything of `what` but its size and metadata.
Status fill_options(const CreateImage& what, ImageOptions& options);

}  // namespace tidemark
