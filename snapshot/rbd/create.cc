#include "snapshot/rbd/create.h"

namespace tidemark {
namespace {

// Features that librbd sets and clears by itself, and refuses to be told.
constexpr std::uint64_t kFeaturesImplied = RBD_FEATURE_STRIPINGV2 | RBD_FEATURE_DATA_POOL |
                                           RBD_FEATURE_OPERATIONS | RBD_FEATURE_MIGRATING |
                                           RBD_FEATURE_NON_PRIMARY;

}  // namespace

Status fill_options(const CreateImage& what, ImageOptions& options) {
  int result = options.set(RBD_IMAGE_OPTION_ORDER, what.order);
  // A stripe of one unit per object is what no striping is called in ImageInfo.
  const bool striped =
      what.stripe_count > 1 || (what.stripe_unit != 0 && what.stripe_unit != 1ull << what.order);
  if (result >= 0 && striped) {
    result = options.set(RBD_IMAGE_OPTION_STRIPE_UNIT, what.stripe_unit);
    if (result >= 0) result = options.set(RBD_IMAGE_OPTION_STRIPE_COUNT, what.stripe_count);
  }
  if (result >= 0 && what.features) {
    result = options.set(RBD_IMAGE_OPTION_FEATURES, *what.features & ~kFeaturesImplied);
  }
  if (result >= 0 && !what.data_pool.empty()) {
    result = options.set(RBD_IMAGE_OPTION_DATA_POOL, what.data_pool);
  }
  if (result < 0) return rbd_error(result, "set the options of an image");
  return {};
}

}  // namespace tidemark
