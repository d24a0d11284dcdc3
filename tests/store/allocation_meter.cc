#include "tests/store/allocation_meter.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TM_SANITIZER_HOOKS 1
// From sanitizer/allocator_interface.h, which g++ does not install.
extern "C" {
int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void*, std::size_t),
                                              void (*)(const volatile void*));
int __sanitizer_get_ownership(const volatile void*);
std::size_t __sanitizer_get_allocated_size(const volatile void*);
}
#endif

namespace {

std::atomic<long> held_bytes{0};
std::atomic<long> peak_held_bytes{0};

void count(long bytes) {
  const long now = held_bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  long peak = peak_held_bytes.load(std::memory_order_relaxed);
  while (now > peak && !peak_held_bytes.compare_exchange_weak(peak, now)) {
  }
}

#ifdef TM_SANITIZER_HOOKS
void on_malloc(const volatile void*, std::size_t size) { count(static_cast<long>(size)); }
void on_free(const volatile void* p) {
  if (p != nullptr && __sanitizer_get_ownership(p) != 0)
    count(-static_cast<long>(__sanitizer_get_allocated_size(p)));
}
const int hooks_installed = __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
#endif

}  // namespace

#ifndef TM_SANITIZER_HOOKS
void* operator new(std::size_t size) {
  void* const p = std::malloc(size == 0 ? 1 : size);
  if (p == nullptr) throw std::bad_alloc();
  count(static_cast<long>(malloc_usable_size(p)));
  return p;
}
void* operator new[](std::size_t size) { return operator new(size); }
void operator delete(void* p) noexcept {
  if (p != nullptr) count(-static_cast<long>(malloc_usable_size(p)));
  std::free(p);
}
void operator delete[](void* p) noexcept { operator delete(p); }
void operator delete(void* p, std::size_t) noexcept { operator delete(p); }
void operator delete[](void* p, std::size_t) noexcept { operator delete(p); }
#endif

namespace tidemark::test {

AllocationMeter::AllocationMeter() {
#ifdef TM_SANITIZER_HOOKS
  static_cast<void>(hooks_installed);
#endif
  held_bytes = 0;
  peak_held_bytes = 0;
}

std::size_t AllocationMeter::peak_bytes() const {
  return static_cast<std::size_t>(peak_held_bytes.load());
}

}  // namespace tidemark::test
