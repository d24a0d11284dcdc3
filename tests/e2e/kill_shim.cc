// A library to preload that kills its process right before the N-th step of it that others can see:
// a change of an image, of an object beside it, or of a name in a file system.
//   TM_KILL_AT=N    the step to die at; 0 or nothing: none
//   TM_KILL_LOG     a file that gets a line for each step
// What RocksDB does to its own files is none. Children are not concerned.
#include <dlfcn.h>
#include <fcntl.h>
#include <rados/librados.h>
#include <rbd/librbd.h>
#include <stdio.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace {

unsigned long number_from(const char* variable) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? 0 : std::strtoul(text, nullptr, 10);
}

int log_from(const char* variable) {
  const char* const path = std::getenv(variable);
  return path == nullptr ? -1 : ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

const unsigned long die_at = number_from("TM_KILL_AT");
const int step_log = log_from("TM_KILL_LOG");
const int alone = ::unsetenv("LD_PRELOAD");  // children are not concerned
std::atomic<unsigned long> steps{0};

void step(const char* name) {
  if (step_log < 0 && die_at == 0) return;
  const unsigned long number = ++steps;
  const std::string line = std::to_string(number) + " " + name + "\n";
  if (step_log >= 0 && ::write(step_log, line.data(), line.size()) < 0) std::abort();
  if (number == die_at) ::kill(::getpid(), SIGKILL);
}

bool of_rocksdb(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  return name.ends_with(".sst") || name.ends_with(".log") || name.ends_with(".dbtmp") ||
         name.starts_with("MANIFEST") || name.starts_with("OPTIONS") || name.starts_with("LOG") ||
         name.starts_with("CURRENT");
}

void name_step(const char* call, const char* path) {
  if (!of_rocksdb(path)) step((std::string(call) + " " + path).c_str());
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

#define TM_STEP(name, parameters, arguments)                 \
  extern "C" int name parameters {                           \
    static auto* const real = next<decltype(::name)>(#name); \
    step(#name);                                             \
    return real arguments;                                   \
  }
#define TM_NAME_STEP(name, parameters, arguments, path)    \
  extern "C" int name parameters noexcept {                \
    static auto* const real = next<int parameters>(#name); \
    name_step(#name, path);                                \
    return real arguments;                                 \
  }

TM_STEP(rbd_create4,
        (rados_ioctx_t io, const char* name, uint64_t size, rbd_image_options_t options),
        (io, name, size, options))
TM_STEP(rbd_clone3,
        (rados_ioctx_t io, const char* parent, const char* snapshot, rados_ioctx_t to,
         const char* name, rbd_image_options_t options),
        (io, parent, snapshot, to, name, options))
TM_STEP(rbd_remove, (rados_ioctx_t io, const char* name), (io, name))
TM_STEP(rbd_rename, (rados_ioctx_t io, const char* from, const char* to), (io, from, to))
TM_STEP(rbd_resize2,
        (rbd_image_t image, uint64_t size, bool shrink, librbd_progress_fn_t told, void* data),
        (image, size, shrink, told, data))
TM_STEP(rbd_snap_create, (rbd_image_t image, const char* name), (image, name))
TM_STEP(rbd_snap_remove_by_id, (rbd_image_t image, uint64_t id), (image, id))
TM_STEP(rbd_metadata_set, (rbd_image_t image, const char* key, const char* value),
        (image, key, value))
TM_STEP(rbd_lock_acquire, (rbd_image_t image, rbd_lock_mode_t mode), (image, mode))
TM_STEP(rbd_flush, (rbd_image_t image), (image))
TM_STEP(rbd_close, (rbd_image_t image), (image))
TM_STEP(rbd_aio_write,
        (rbd_image_t image, uint64_t at, size_t size, const char* data, rbd_completion_t done),
        (image, at, size, data, done))
TM_STEP(rbd_aio_write2,
        (rbd_image_t image, uint64_t at, size_t size, const char* data, rbd_completion_t done,
         int flags),
        (image, at, size, data, done, flags))
TM_STEP(rbd_migration_prepare_import,
        (const char* source, rados_ioctx_t io, const char* name, rbd_image_options_t options),
        (source, io, name, options))
TM_STEP(rbd_migration_execute_with_progress,
        (rados_ioctx_t io, const char* name, librbd_progress_fn_t told, void* data),
        (io, name, told, data))
TM_STEP(rbd_migration_commit, (rados_ioctx_t io, const char* name), (io, name))
TM_STEP(rados_write_op_operate,
        (rados_write_op_t op, rados_ioctx_t io, const char* object, time_t* time, int flags),
        (op, io, object, time, flags))
TM_STEP(rados_write_full, (rados_ioctx_t io, const char* object, const char* data, size_t size),
        (io, object, data, size))
TM_STEP(rados_remove, (rados_ioctx_t io, const char* object), (io, object))
TM_NAME_STEP(rename, (const char* from, const char* to), (from, to), to)
TM_NAME_STEP(renameat, (int from_dir, const char* from, int to_dir, const char* to),
             (from_dir, from, to_dir, to), to)
TM_NAME_STEP(renameat2,
             (int from_dir, const char* from, int to_dir, const char* to, unsigned flags),
             (from_dir, from, to_dir, to, flags), to)
TM_NAME_STEP(linkat, (int from_dir, const char* from, int to_dir, const char* to, int flags),
             (from_dir, from, to_dir, to, flags), to)
TM_NAME_STEP(unlink, (const char* path), (path), path)
TM_NAME_STEP(unlinkat, (int directory, const char* path, int flags), (directory, path, flags), path)
