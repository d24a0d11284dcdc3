#include "snapshot/rbd/image.h"

#include <fmt/format.h>

#include "base/assert.h"
#include "snapshot/rbd/librbd.h"

namespace tidemark {

namespace {

// What an asynchronous operation needs when it ends.
struct Operation {
  RbdImage::Impl* impl;
  RbdImage::Done done;
  std::int64_t expected;  // bytes that a read must return
  const char* what;
  std::uint64_t offset;
  std::uint64_t size;
};

void end_operation(RbdImage::Impl& impl) {
  const std::lock_guard lock(impl.mutex);
  if (--impl.under_way == 0) impl.idle.notify_all();
}

void on_complete(rbd_completion_t completion, void* argument) {
  const std::unique_ptr<Operation> operation(static_cast<Operation*>(argument));
  const std::int64_t result = rbd_aio_get_return_value(completion);
  rbd_aio_release(completion);
  const auto doing = [&] {
    return fmt::format("{} {} bytes at {} of {}", operation->what, operation->size,
                       operation->offset, operation->impl->text());
  };
  if (result < 0) {
    operation->done(rbd_error(result, doing()));
  } else if (result < operation->expected) {
    operation->done(
        Error(ErrorCode::internal, fmt::format("{}: only {} came back", doing(), result)));
  } else {
    operation->done({});
  }
  end_operation(*operation->impl);
}

// Starts what `issue` issues with a completion that ends in `done`.
template <class Issue>
void start(RbdImage::Impl& impl, const char* what, std::uint64_t offset, std::uint64_t size,
           std::int64_t expected, RbdImage::Done done, Issue issue) {
  auto operation =
      std::make_unique<Operation>(Operation{&impl, std::move(done), expected, what, offset, size});
  rbd_completion_t completion = nullptr;
  int result = rbd_aio_create_completion(operation.get(), on_complete, &completion);
  if (result == 0) {
    {
      const std::lock_guard lock(impl.mutex);
      ++impl.under_way;
    }
    Operation* const held = operation.release();
    result = issue(completion);
    if (result >= 0) return;  // on_complete owns it now
    operation.reset(held);
    rbd_aio_release(completion);
    end_operation(impl);
  }
  operation->done(rbd_error(result, fmt::format("{} {}", what, impl.text())));
}

Error out_of_range(const RbdImage::Impl& impl, const char* what, std::uint64_t offset,
                   std::uint64_t size, std::uint64_t image_size) {
  return Error(ErrorCode::invalid_argument,
               fmt::format("{} {} bytes at {} of {}: it has {} bytes", what, size, offset,
                           impl.text(), image_size));
}

Result<std::unique_ptr<RbdImage::Impl>> open_image(std::shared_ptr<CephCluster> cluster,
                                                   const RbdImageName& name, bool writable) {
  const SignalsBlocked signals;  // the first image of a connection starts librbd's threads
  auto impl = std::make_unique<RbdImage::Impl>();
  TM_TRY(impl->io, IoContext::open(*cluster, name.pool, name.ns));
  rbd_image_t image = nullptr;
  const int result = writable
                         ? rbd_open(impl->io.get(), name.image.c_str(), &image, nullptr)
                         : rbd_open_read_only(impl->io.get(), name.image.c_str(), &image, nullptr);
  if (result == -ENOENT) {
    return Error(ErrorCode::not_found, fmt::format("open {}: no such image", name.text()));
  }
  if (result < 0) return rbd_error(result, fmt::format("open {}", name.text()));
  impl->image = RbdHandle(image);
  impl->cluster = std::move(cluster);
  impl->name = name;
  impl->writable = writable;
  return impl;
}

}  // namespace

std::string RbdImage::Impl::text() const {
  return snapshot ? fmt::format("{} snapshot {}", name.text(), *snapshot) : name.text();
}

RbdImage::RbdImage(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

RbdImage::~RbdImage() {
  std::unique_lock lock(impl_->mutex);
  impl_->idle.wait(lock, [&] { return impl_->under_way == 0; });
}

const RbdImageName& RbdImage::name() const { return impl_->name; }

std::uint64_t RbdImage::size() const {
  std::uint64_t size = 0;
  return rbd_get_size(impl_->image.get(), &size) < 0 ? 0 : size;
}

Result<std::unique_ptr<RbdImage>> RbdImage::open_read_only(std::shared_ptr<CephCluster> cluster,
                                                           const RbdImageName& name) {
  TM_TRY(auto impl, open_image(std::move(cluster), name, false));
  return std::make_unique<RbdImage>(std::move(impl));
}

Result<std::unique_ptr<RbdImage>> RbdImage::open_read_write(std::shared_ptr<CephCluster> cluster,
                                                            const RbdImageName& name) {
  TM_TRY(auto impl, open_image(std::move(cluster), name, true));
  return std::make_unique<RbdImage>(std::move(impl));
}

Result<std::unique_ptr<RbdImage>> RbdImage::open_snapshot(std::shared_ptr<CephCluster> cluster,
                                                          const RbdImageName& name,
                                                          std::uint64_t snapshot_id) {
  TM_TRY(auto impl, open_image(std::move(cluster), name, false));
  const std::string doing = fmt::format("open {} at snapshot {}", name.text(), snapshot_id);
  const Error gone(ErrorCode::not_found, doing + ": no such snapshot");
  const int result = rbd_snap_set_by_id(impl->image.get(), snapshot_id);
  if (result == -ENOENT) return gone;
  if (result < 0) return rbd_error(result, doing);
  TM_TRY(const bool in_trash, rbd_snapshot_in_trash(impl->image.get(), snapshot_id));
  if (in_trash) return gone;
  impl->snapshot = snapshot_id;
  return std::make_unique<RbdImage>(std::move(impl));
}

void RbdImage::read(std::uint64_t offset, ByteSpan into, Done done) {
  const std::uint64_t limit = size();
  if (into.size() > limit || offset > limit - into.size()) {
    done(out_of_range(*impl_, "read", offset, into.size(), limit));
    return;
  }
  if (into.empty()) {
    done({});
    return;
  }
  // What a backup reads is read once: it should not displace what clients have cached in the OSDs.
  constexpr int kFlags = LIBRADOS_OP_FLAG_FADVISE_SEQUENTIAL | LIBRADOS_OP_FLAG_FADVISE_NOCACHE;
  start(*impl_, "read", offset, into.size(), static_cast<std::int64_t>(into.size()),
        std::move(done), [&](rbd_completion_t completion) {
          return rbd_aio_read2(impl_->image.get(), offset, into.size(),
                               reinterpret_cast<char*>(into.data()), completion, kFlags);
        });
}

void RbdImage::write(std::uint64_t offset, ByteView data, Done done) {
  const std::uint64_t limit = size();
  if (data.size() > limit || offset > limit - data.size()) {
    done(out_of_range(*impl_, "write", offset, data.size(), limit));
    return;
  }
  if (data.empty()) {
    done({});
    return;
  }
  start(*impl_, "write", offset, data.size(), 0, std::move(done), [&](rbd_completion_t completion) {
    return rbd_aio_write2(impl_->image.get(), offset, data.size(),
                          reinterpret_cast<const char*>(data.data()), completion,
                          LIBRADOS_OP_FLAG_FADVISE_NOCACHE);
  });
}

void RbdImage::write_nothing(Done done) {
  start(*impl_, "claim", 0, 0, 0, std::move(done), [&](rbd_completion_t completion) {
    return rbd_aio_write(impl_->image.get(), 0, 0, "", completion);
  });
}

void RbdImage::write_zeroes(std::uint64_t offset, std::uint64_t size_bytes, Done done) {
  const std::uint64_t limit = size();
  if (size_bytes > limit || offset > limit - size_bytes) {
    done(out_of_range(*impl_, "zero", offset, size_bytes, limit));
    return;
  }
  if (size_bytes == 0) {
    done({});
    return;
  }
  start(*impl_, "zero", offset, size_bytes, 0, std::move(done), [&](rbd_completion_t completion) {
    return rbd_aio_write_zeroes(impl_->image.get(), offset, size_bytes, completion, 0, 0);
  });
}

Status RbdImage::flush() {
  const int result = rbd_flush(impl_->image.get());
  if (result < 0) return rbd_error(result, fmt::format("flush {}", impl_->text()));
  return {};
}

Status RbdImage::read_sync(std::uint64_t offset, ByteSpan into) {
  std::mutex mutex;
  std::condition_variable ended;
  std::optional<Status> outcome;
  read(offset, into, [&](Status status) {
    const std::lock_guard lock(mutex);
    outcome = std::move(status);
    ended.notify_one();
  });
  std::unique_lock lock(mutex);
  ended.wait(lock, [&] { return outcome.has_value(); });
  return *std::move(outcome);
}

}  // namespace tidemark
