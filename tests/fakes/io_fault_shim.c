#define _GNU_SOURCE
#include "io_fault_shim.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum op {
  OP_OPEN,
  OP_WRITE,
  OP_READ,
  OP_SYNC,
  OP_RENAME,
  OP_LINK,
  OP_UNLINK,
  OP_MKDIR,
  OP_STAT,
  OP_LOCK,
  OP_READDIR,
  OP_ANY,
  OP_NONE
};
static const char* const op_names[] = {"open",   "write", "read", "sync", "rename",  "link",
                                       "unlink", "mkdir", "stat", "lock", "readdir", "any"};

enum mode { MODE_PASS, MODE_ERROR, MODE_ONWARD, MODE_LATE, MODE_SHORT, MODE_SWALLOW };
static const char* const mode_names[] = {"pass", "error", "onward", "late", "short", "swallow"};

static _Atomic int armed_op = OP_NONE;
static _Atomic int armed_mode = MODE_PASS;
static _Atomic int armed_errno = 0;
static _Atomic unsigned long armed_nth = 0, calls = 0, fired = 0;
static const char* _Atomic last_call = "";

static int index_of(const char* text, const char* const* names, int count, int otherwise) {
  for (int i = 0; i < count; ++i)
    if (strcmp(text, names[i]) == 0) return i;
  return otherwise;
}

void tm_io_fault_arm(const char* op, unsigned long nth, int errnum, const char* mode) {
  armed_op = OP_NONE;
  calls = fired = 0;
  last_call = "";
  armed_nth = nth;
  armed_errno = errnum;
  armed_mode = index_of(mode, mode_names, 6, MODE_PASS);
  armed_op = index_of(op, op_names, 12, OP_NONE);
}
void tm_io_fault_disarm(void) { armed_op = OP_NONE; }
unsigned long tm_io_fault_calls(void) { return calls; }
unsigned long tm_io_fault_fired(void) { return fired; }
const char* tm_io_fault_last(void) { return last_call; }

__attribute__((constructor)) static void arm_from_environment(void) {
  const char* text = getenv("TM_IO_FAULT");
  char op[16], mode[16];
  unsigned long nth;
  int errnum;
  if (text != NULL && sscanf(text, "%15[^:]:%lu:%d:%15s", op, &nth, &errnum, mode) == 4)
    tm_io_fault_arm(op, nth, errnum, mode);
}

/* What befalls this call. */
static enum mode judge(enum op op, int fd, const char* name) {
  const int armed = armed_op;
  if (armed == OP_NONE || (armed != OP_ANY && armed != (int)op) || (fd >= 0 && fd <= 2))
    return MODE_PASS;
  const unsigned long call = ++calls;
  const enum mode mode = (enum mode)armed_mode;
  const int onward = mode == MODE_ONWARD || mode == MODE_SWALLOW;
  if (onward ? call < armed_nth : call != armed_nth) return MODE_PASS;
  if (mode == MODE_SHORT && op != OP_WRITE && op != OP_READ) return MODE_PASS;
  if (mode == MODE_SWALLOW && op != OP_SYNC) return MODE_PASS;
  ++fired;
  last_call = name;
  return mode == MODE_ONWARD ? MODE_ERROR : mode;
}

#define REAL(type, name, ...)              \
  static type (*real)(__VA_ARGS__) = NULL; \
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, name)

/* Calls that give -1 or a descriptor, a count or 0. */
#define RUN(op, fd, name, type, call)            \
  do {                                           \
    const enum mode mode_ = judge(op, fd, name); \
    if (mode_ == MODE_SWALLOW) return 0;         \
    if (mode_ == MODE_ERROR) {                   \
      errno = armed_errno;                       \
      return -1;                                 \
    }                                            \
    const type result_ = (call);                 \
    if (mode_ == MODE_LATE && result_ >= 0) {    \
      if (op == OP_OPEN) close((int)result_);    \
      errno = armed_errno;                       \
      return -1;                                 \
    }                                            \
    return result_;                              \
  } while (0)

static size_t half_if(enum mode mode, size_t size) {
  return mode == MODE_SHORT && size > 1 ? size / 2 : size;
}

#define TRANSFER(op, fd, name, size, call)       \
  do {                                           \
    const enum mode mode_ = judge(op, fd, name); \
    if (mode_ == MODE_ERROR) {                   \
      errno = armed_errno;                       \
      return -1;                                 \
    }                                            \
    const size_t size_ = half_if(mode_, size);   \
    const ssize_t result_ = (call);              \
    if (mode_ == MODE_LATE && result_ >= 0) {    \
      errno = armed_errno;                       \
      return -1;                                 \
    }                                            \
    return result_;                              \
  } while (0)

long syscall(long number, ...) {
  REAL(long, "syscall", long, ...);
  va_list list;
  va_start(list, number);
  long a[6];
  for (int i = 0; i < 6; ++i) a[i] = va_arg(list, long);
  va_end(list);
  if (number == SYS_openat2)
    RUN(OP_OPEN, -1, "openat2", long, real(number, a[0], a[1], a[2], a[3], a[4], a[5]));
  return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static unsigned mode_of(int flags, va_list list) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, unsigned) : 0;
}

#define OPEN(name)                                              \
  int name(const char* path, int flags, ...) {                  \
    REAL(int, #name, const char*, int, ...);                    \
    va_list list;                                               \
    va_start(list, flags);                                      \
    const unsigned file_mode = mode_of(flags, list);            \
    va_end(list);                                               \
    RUN(OP_OPEN, -1, #name, int, real(path, flags, file_mode)); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                \
  int name(int fd, const char* path, int flags, ...) {              \
    REAL(int, #name, int, const char*, int, ...);                   \
    va_list list;                                                   \
    va_start(list, flags);                                          \
    const unsigned file_mode = mode_of(flags, list);                \
    va_end(list);                                                   \
    RUN(OP_OPEN, -1, #name, int, real(fd, path, flags, file_mode)); \
  }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void* data, size_t size) {
  REAL(ssize_t, "write", int, const void*, size_t);
  TRANSFER(OP_WRITE, fd, "write", size, real(fd, data, size_));
}

#define PWRITE(name)                                                    \
  ssize_t name(int fd, const void* data, size_t size, off_t offset) {   \
    REAL(ssize_t, #name, int, const void*, size_t, off_t);              \
    TRANSFER(OP_WRITE, fd, #name, size, real(fd, data, size_, offset)); \
  }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t read(int fd, void* data, size_t size) {
  REAL(ssize_t, "read", int, void*, size_t);
  TRANSFER(OP_READ, fd, "read", size, real(fd, data, size_));
}

#define PREAD(name)                                                    \
  ssize_t name(int fd, void* data, size_t size, off_t offset) {        \
    REAL(ssize_t, #name, int, void*, size_t, off_t);                   \
    TRANSFER(OP_READ, fd, #name, size, real(fd, data, size_, offset)); \
  }
PREAD(pread)
PREAD(pread64)

/* What a fortified program calls instead. */
#define PREAD_CHECKED(name, plain)                                           \
  ssize_t name(int fd, void* data, size_t size, off_t offset, size_t room) { \
    if (size > room) abort();                                                \
    return plain(fd, data, size, offset);                                    \
  }
PREAD_CHECKED(__pread_chk, pread)
PREAD_CHECKED(__pread64_chk, pread64)

#define ON_FD(op, name)                \
  int name(int fd) {                   \
    REAL(int, #name, int);             \
    RUN(op, fd, #name, int, real(fd)); \
  }
ON_FD(OP_SYNC, fsync)
ON_FD(OP_SYNC, fdatasync)
ON_FD(OP_SYNC, syncfs)

int rename(const char* from, const char* to) {
  REAL(int, "rename", const char*, const char*);
  RUN(OP_RENAME, -1, "rename", int, real(from, to));
}
int renameat(int from_fd, const char* from, int to_fd, const char* to) {
  REAL(int, "renameat", int, const char*, int, const char*);
  RUN(OP_RENAME, -1, "renameat", int, real(from_fd, from, to_fd, to));
}
int renameat2(int from_fd, const char* from, int to_fd, const char* to, unsigned flags) {
  REAL(int, "renameat2", int, const char*, int, const char*, unsigned);
  RUN(OP_RENAME, -1, "renameat2", int, real(from_fd, from, to_fd, to, flags));
}
int linkat(int from_fd, const char* from, int to_fd, const char* to, int flags) {
  REAL(int, "linkat", int, const char*, int, const char*, int);
  RUN(OP_LINK, -1, "linkat", int, real(from_fd, from, to_fd, to, flags));
}
int unlink(const char* path) {
  REAL(int, "unlink", const char*);
  RUN(OP_UNLINK, -1, "unlink", int, real(path));
}
int unlinkat(int fd, const char* path, int flags) {
  REAL(int, "unlinkat", int, const char*, int);
  RUN(OP_UNLINK, -1, "unlinkat", int, real(fd, path, flags));
}
int mkdir(const char* path, mode_t file_mode) {
  REAL(int, "mkdir", const char*, mode_t);
  RUN(OP_MKDIR, -1, "mkdir", int, real(path, file_mode));
}
int mkdirat(int fd, const char* path, mode_t file_mode) {
  REAL(int, "mkdirat", int, const char*, mode_t);
  RUN(OP_MKDIR, -1, "mkdirat", int, real(fd, path, file_mode));
}
int fstat(int fd, struct stat* st) {
  REAL(int, "fstat", int, struct stat*);
  RUN(OP_STAT, fd, "fstat", int, real(fd, st));
}
int fstatat(int fd, const char* path, struct stat* st, int flags) {
  REAL(int, "fstatat", int, const char*, struct stat*, int);
  RUN(OP_STAT, -1, "fstatat", int, real(fd, path, st, flags));
}
int flock(int fd, int operation) {
  REAL(int, "flock", int, int);
  RUN(OP_LOCK, fd, "flock", int, real(fd, operation));
}

struct dirent* readdir(DIR* directory) {
  REAL(struct dirent*, "readdir", DIR*);
  if (judge(OP_READDIR, -1, "readdir") != MODE_PASS) {
    errno = armed_errno;
    return NULL;
  }
  return real(directory);
}
