// A Backend that fails as it is told: stands before any other one.
//
//   FaultyBackend faulty(memory);
//   faulty.fail(BackendOp::commit, 3, Error(ErrorCode::unavailable, "cut"));   // the third commit
//   faulty.add({.op = BackendOp::read, .calls = kEvery, .when = is_pack, .kind = FaultKind::flip});
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/backend.h"

namespace tidemark {

// What a fault can befall. `list` is the call, `list_item` one blob that it is about to hand on;
// `append` and `commit` are the Writer's.
enum class BackendOp {
  create,
  replace,
  writer,
  append,
  commit,
  read,
  size,
  list,
  list_item,
  remove,
  space,
  lock_writer
};
std::string_view to_string(BackendOp op);

enum class FaultKind {
  error,        // fails, and nothing has happened
  lost_answer,  // happens, and fails all the same: the answer got lost on the way
  flip,         // read: one bit of the middle byte differs
  short_read,   // read: a byte is missing at the end, with success
  hide,         // list_item: passed over, as by a listing that wrongly calls itself complete
  delay,        // only takes its time
};

inline constexpr std::uint64_t kEvery = std::numeric_limits<std::uint64_t>::max();

struct Fault {
  BackendOp op = BackendOp::read;
  // Calls that match and pass unharmed before the fault sets in, and how many it then befalls.
  std::uint64_t after = 0;
  std::uint64_t calls = 1;
  // Of the blob's name (for list: the prefix); nothing matches every name.
  std::function<bool(std::string_view)> when;
  FaultKind kind = FaultKind::error;
  Error error{ErrorCode::unavailable, "injected fault"};
  std::chrono::milliseconds delay{0};  // before anything else
};

// One fault that came to pass.
struct InjectedFault {
  BackendOp op;
  FaultKind kind;
  std::string name;
};

// Safe from any thread. The backend behind it must outlive it, unless it is owned.
class FaultyBackend final : public Backend {
 public:
  explicit FaultyBackend(Backend& behind) : behind_(&behind) {}
  explicit FaultyBackend(std::unique_ptr<Backend> behind)
      : owned_(std::move(behind)), behind_(owned_.get()) {}

  void add(Fault fault);
  // The `nth` call of `op` from now on fails, counting from 1.
  void fail(BackendOp op, std::uint64_t nth, Error error);
  // Forgets all faults, the limit of space and the loss of locks; keeps the log.
  void clear();
  // From now on so many bytes can be written; what would exceed them is `resource_exhausted`.
  void set_space_left(std::uint64_t bytes);
  // Locks taken so far are no longer held.
  void lose_locks();
  // Called before each operation, on its thread, with nothing locked: a place to wait, or to look.
  // REQUIRES: set before the backend is used by several threads.
  void set_observer(std::function<void(BackendOp, std::string_view)> observer);

  std::vector<InjectedFault> log() const;
  std::uint64_t calls(BackendOp op) const;

  std::string url() const override { return behind_->url(); }
  std::uint64_t blob_bytes_max() const override { return behind_->blob_bytes_max(); }
  Status create(std::string_view name, ByteView data) override;
  Status replace(std::string_view name, ByteView data) override;
  Result<std::unique_ptr<Writer>> writer(std::string_view name) override;
  Result<Bytes> read(std::string_view name, std::uint64_t offset, std::size_t size) override;
  Result<std::uint64_t> size(std::string_view name) override;
  Status list(std::string_view prefix, const std::function<Status(const BlobInfo&)>& each) override;
  Status remove(std::string_view name) override;
  Result<std::optional<BackendSpace>> space() override;
  Result<std::unique_ptr<WriterLock>> lock_writer(std::string_view owner) override;

 private:
  class FaultyWriter;
  class FaultyLock;
  struct Verdict {
    FaultKind kind;
    Error error;
  };

  // What befalls this call, if anything; waits out delays.
  std::optional<Verdict> judge(BackendOp op, std::string_view name);
  Status take_space(std::uint64_t bytes);
  Status put(BackendOp op, std::string_view name, ByteView data,
             const std::function<Status()>& do_it);

  const std::unique_ptr<Backend> owned_;
  Backend* const behind_;
  std::function<void(BackendOp, std::string_view)> observer_;
  mutable std::mutex mutex_;
  std::vector<Fault> faults_;                                          // guarded by mutex_
  std::vector<InjectedFault> log_;                                     // guarded by mutex_
  std::vector<std::uint64_t> calls_ = std::vector<std::uint64_t>(16);  // guarded by mutex_
  std::optional<std::uint64_t> space_left_;                            // guarded by mutex_
  std::uint64_t locks_lost_ = 0;                                       // guarded by mutex_
};

}  // namespace tidemark
