#include "snapshot/rbd/create.h"

#include <fmt/core.h>

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

Status RbdImage::clone(CephCluster& cluster, const RbdImageName& parent,
                       const std::string& snapshot, const RbdImageName& name) {
  const SignalsBlocked signals;
  const std::string doing = fmt::format("clone {}@{} as {}", parent.text(), snapshot, name.text());
  TM_TRY(const IoContext from, IoContext::open(cluster, parent.pool, parent.ns));
  TM_TRY(const IoContext to, IoContext::open(cluster, name.pool, name.ns));
  ImageOptions options;
  int result = options.set(RBD_IMAGE_OPTION_CLONE_FORMAT, std::uint64_t{2});
  if (result >= 0)
    result = rbd_clone3(from.get(), parent.image.c_str(), snapshot.c_str(), to.get(),
                        name.image.c_str(), options.get());
  if (result < 0) return rbd_error(result, doing);
  return {};
}

}  // namespace tidemark
