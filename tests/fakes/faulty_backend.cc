#include "tests/fakes/faulty_backend.h"

#include <thread>

namespace tidemark {

std::string_view to_string(BackendOp op) {
  switch (op) {
    case BackendOp::create:
      return "create";
    case BackendOp::replace:
      return "replace";
    case BackendOp::writer:
      return "writer";
    case BackendOp::append:
      return "append";
    case BackendOp::commit:
      return "commit";
    case BackendOp::read:
      return "read";
    case BackendOp::size:
      return "size";
    case BackendOp::list:
      return "list";
    case BackendOp::list_item:
      return "list_item";
    case BackendOp::remove:
      return "remove";
    case BackendOp::space:
      return "space";
    case BackendOp::lock_writer:
      return "lock_writer";
  }
  return "unknown";
}

class FaultyBackend::FaultyWriter final : public Backend::Writer {
 public:
  FaultyWriter(FaultyBackend& faulty, std::string name, std::unique_ptr<Writer> behind)
      : faulty_(faulty), name_(std::move(name)), behind_(std::move(behind)) {}

  Status append(ByteView data) override {
    if (failed_) return ended();
    auto status =
        faulty_.put(BackendOp::append, name_, data, [&] { return behind_->append(data); });
    // As the real ones: after a failed append nothing may be committed.
    failed_ = !status;
    return status;
  }
  Status commit() override {
    if (failed_) return ended();
    failed_ = true;
    return faulty_.put(BackendOp::commit, name_, {}, [&] { return behind_->commit(); });
  }

 private:
  Error ended() const { return {ErrorCode::internal, name_ + ": written to after its end"}; }
  FaultyBackend& faulty_;
  const std::string name_;
  const std::unique_ptr<Writer> behind_;
  bool failed_ = false;
};

class FaultyBackend::FaultyLock final : public WriterLock {
 public:
  FaultyLock(FaultyBackend& faulty, std::unique_ptr<WriterLock> behind)
      : faulty_(faulty), behind_(std::move(behind)) {
    std::lock_guard lock(faulty_.mutex_);
    lost_before_ = faulty_.locks_lost_;
  }
  bool held() const override {
    std::lock_guard lock(faulty_.mutex_);
    return lost_before_ == faulty_.locks_lost_ && behind_->held();
  }

 private:
  FaultyBackend& faulty_;
  const std::unique_ptr<WriterLock> behind_;
  std::uint64_t lost_before_ = 0;
};

void FaultyBackend::add(Fault fault) {
  std::lock_guard lock(mutex_);
  faults_.push_back(std::move(fault));
}

void FaultyBackend::fail(BackendOp op, std::uint64_t nth, Error error) {
  Fault fault;
  fault.op = op;
  fault.after = nth - 1;
  fault.error = std::move(error);
  add(std::move(fault));
}

void FaultyBackend::clear() {
  std::lock_guard lock(mutex_);
  faults_.clear();
  space_left_.reset();
}

void FaultyBackend::set_space_left(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  space_left_ = bytes;
}

void FaultyBackend::lose_locks() {
  std::lock_guard lock(mutex_);
  ++locks_lost_;
}

void FaultyBackend::set_observer(std::function<void(BackendOp, std::string_view)> observer) {
  observer_ = std::move(observer);
}

std::vector<InjectedFault> FaultyBackend::log() const {
  std::lock_guard lock(mutex_);
  return log_;
}

std::uint64_t FaultyBackend::calls(BackendOp op) const {
  std::lock_guard lock(mutex_);
  return calls_[static_cast<std::size_t>(op)];
}

// Every fault that matches counts the call; the first one that is due befalls it. Delays add up.
std::optional<FaultyBackend::Verdict> FaultyBackend::judge(BackendOp op, std::string_view name) {
  if (observer_) observer_(op, name);
  std::optional<Verdict> verdict;
  std::chrono::milliseconds delay{0};
  {
    std::lock_guard lock(mutex_);
    ++calls_[static_cast<std::size_t>(op)];
    for (Fault& fault : faults_) {
      if (fault.op != op || (fault.when && !fault.when(name))) continue;
      if (fault.after > 0) {
        --fault.after;
        continue;
      }
      if (fault.calls == 0) continue;
      if (fault.kind != FaultKind::delay && verdict) continue;
      if (fault.calls != kEvery) --fault.calls;
      delay += fault.delay;
      log_.push_back({.op = op, .kind = fault.kind, .name = std::string(name)});
      if (fault.kind != FaultKind::delay) verdict = Verdict{fault.kind, fault.error};
    }
  }
  if (delay.count() > 0) std::this_thread::sleep_for(delay);
  return verdict;
}

Status FaultyBackend::take_space(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  if (!space_left_) return {};
  if (bytes > *space_left_) return Error(ErrorCode::resource_exhausted, "injected: no space left");
  *space_left_ -= bytes;
  return {};
}

Status FaultyBackend::put(BackendOp op, std::string_view name, ByteView data,
                          const std::function<Status()>& do_it) {
  const auto verdict = judge(op, name);
  if (verdict && verdict->kind != FaultKind::lost_answer) return verdict->error;
  TM_DO(take_space(data.size()));
  auto status = do_it();
  if (verdict && status) return verdict->error;
  return status;
}

Status FaultyBackend::create(std::string_view name, ByteView data) {
  return put(BackendOp::create, name, data, [&] { return behind_->create(name, data); });
}

Status FaultyBackend::replace(std::string_view name, ByteView data) {
  return put(BackendOp::replace, name, data, [&] { return behind_->replace(name, data); });
}

Result<std::unique_ptr<Backend::Writer>> FaultyBackend::writer(std::string_view name) {
  if (const auto verdict = judge(BackendOp::writer, name)) return verdict->error;
  TM_TRY(auto behind, behind_->writer(name));
  return std::unique_ptr<Writer>(
      std::make_unique<FaultyWriter>(*this, std::string(name), std::move(behind)));
}

Result<Bytes> FaultyBackend::read(std::string_view name, std::uint64_t offset, std::size_t size) {
  const auto verdict = judge(BackendOp::read, name);
  const bool damages =
      verdict && (verdict->kind == FaultKind::flip || verdict->kind == FaultKind::short_read);
  if (verdict && !damages) return verdict->error;
  TM_TRY(Bytes bytes, behind_->read(name, offset, size));
  if (!damages || bytes.empty()) return bytes;
  if (verdict->kind == FaultKind::flip)
    bytes[bytes.size() / 2] ^= 1;
  else
    bytes.pop_back();
  return bytes;
}

Result<std::uint64_t> FaultyBackend::size(std::string_view name) {
  if (const auto verdict = judge(BackendOp::size, name)) return verdict->error;
  return behind_->size(name);
}

Status FaultyBackend::list(std::string_view prefix,
                           const std::function<Status(const BlobInfo&)>& each) {
  if (const auto verdict = judge(BackendOp::list, prefix)) return verdict->error;
  return behind_->list(prefix, [&](const BlobInfo& blob) -> Status {
    const auto verdict = judge(BackendOp::list_item, blob.name);
    if (verdict && verdict->kind == FaultKind::hide) return {};
    if (verdict) return verdict->error;
    return each(blob);
  });
}

Status FaultyBackend::remove(std::string_view name) {
  return put(BackendOp::remove, name, {}, [&] { return behind_->remove(name); });
}

Result<std::optional<BackendSpace>> FaultyBackend::space() {
  if (const auto verdict = judge(BackendOp::space, "")) return verdict->error;
  return behind_->space();
}

Result<std::unique_ptr<WriterLock>> FaultyBackend::lock_writer(std::string_view owner) {
  if (const auto verdict = judge(BackendOp::lock_writer, owner)) return verdict->error;
  TM_TRY(auto behind, behind_->lock_writer(owner));
  return std::unique_ptr<WriterLock>(std::make_unique<FaultyLock>(*this, std::move(behind)));
}

}  // namespace tidemark
