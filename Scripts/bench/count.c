// Counts what a process does, for `Scripts/bench.sh count`: loaded before everything else, it keeps its counters in a
// shared file, $RINGKV_COUNTS/PID, which count.py reads before and after a load.
//
// What is seen: calls through the dynamic linker, from the program and from its libraries. What is not: what a library
// calls inside itself, and what the compiler made inline.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

// In the order of FIELDS in count.py.
enum { ALLOCATIONS, COPIES, COPIED_BYTES, RETAINS, RELEASES, RECEIVES, SENDS, POLLS, YIELDS, WRITES, READS, SIGNALS, SYNCS, FIELDS };

// Copies that are counted: a value, not a header.
enum { COPY_BYTES_MIN = 512 };

static atomic_uint_fast64_t unmapped[FIELDS];
static atomic_uint_fast64_t *counts = unmapped;

static inline void add(int field, uint64_t amount) {
  atomic_fetch_add_explicit(&counts[field], amount, memory_order_relaxed);
}

__attribute__((constructor)) static void map_counts(void) {
  const char *directory = getenv("RINGKV_COUNTS");
  char path[4096];
  if (!directory || snprintf(path, sizeof path, "%s/%d", directory, (int)getpid()) >= (int)sizeof path) return;
  int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0 || ftruncate(file, sizeof unmapped) != 0) return;
  void *memory = mmap(NULL, sizeof unmapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory != MAP_FAILED) counts = memory;
  close(file);
}

// The function that this one stands before. No constructor may have run yet when the first call comes.
#define NEXT(result, name, ...)                                                       \
  static result (*next)(__VA_ARGS__);                                                 \
  if (!next) next = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

// dlsym allocates, so these go to the C library by the names that it keeps for that.
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
void *malloc(size_t size) { add(ALLOCATIONS, 1); return __libc_malloc(size); }
void *calloc(size_t count, size_t size) { add(ALLOCATIONS, 1); return __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { add(ALLOCATIONS, 1); return __libc_realloc(old, size); }
void *aligned_alloc(size_t alignment, size_t size) { add(ALLOCATIONS, 1); return __libc_memalign(alignment, size); }
int posix_memalign(void **result, size_t alignment, size_t size) {
  add(ALLOCATIONS, 1);
  *result = __libc_memalign(alignment, size);
  return *result ? 0 : 12;
}

static inline void count_copy(size_t size) {
  if (size < COPY_BYTES_MIN) return;
  add(COPIES, 1);
  add(COPIED_BYTES, size);
}
void *memcpy(void *to, const void *from, size_t size) {
  count_copy(size);
  void *result = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
  return result;
}
void *memmove(void *to, const void *from, size_t size) {
  if ((uintptr_t)to - (uintptr_t)from >= size) return memcpy(to, from, size);
  count_copy(size);
  void *result = to;
  const char *source = (const char *)from + size - 1;
  char *target = (char *)to + size - 1;
  __asm__ volatile("std; rep movsb; cld" : "+D"(target), "+S"(source), "+c"(size) : : "memory");
  return result;
}

#define REFERENCE(field, name) \
  void *name(void *object) {   \
    NEXT(void *, name, void *); \
    add(field, 1);             \
    return next(object);       \
  }
REFERENCE(RETAINS, swift_retain)
REFERENCE(RETAINS, swift_bridgeObjectRetain)
REFERENCE(RETAINS, swift_unownedRetainStrong)
REFERENCE(RELEASES, swift_release)
REFERENCE(RELEASES, swift_bridgeObjectRelease)

ssize_t recv(int file, void *bytes, size_t size, int flags) {
  NEXT(ssize_t, recv, int, void *, size_t, int);
  add(RECEIVES, 1);
  return next(file, bytes, size, flags);
}
ssize_t send(int file, const void *bytes, size_t size, int flags) {
  NEXT(ssize_t, send, int, const void *, size_t, int);
  add(SENDS, 1);
  return next(file, bytes, size, flags);
}
int epoll_wait(int set, void *events, int most, int milliseconds) {
  NEXT(int, epoll_wait, int, void *, int, int);
  add(POLLS, 1);
  return next(set, events, most, milliseconds);
}
int sched_yield(void) {
  NEXT(int, sched_yield, void);
  add(YIELDS, 1);
  return next();
}
ssize_t write(int file, const void *bytes, size_t size) {
  NEXT(ssize_t, write, int, const void *, size_t);
  add(WRITES, 1);
  return next(file, bytes, size);
}
ssize_t pread64(int file, void *bytes, size_t size, off_t at) {
  NEXT(ssize_t, pread64, int, void *, size_t, off_t);
  add(READS, 1);
  return next(file, bytes, size, at);
}
int eventfd_write(int file, uint64_t amount) {
  NEXT(int, eventfd_write, int, uint64_t);
  add(SIGNALS, 1);
  return next(file, amount);
}
int timerfd_settime(int file, int flags, const void *new_value, void *old_value) {
  NEXT(int, timerfd_settime, int, int, const void *, void *);
  add(SIGNALS, 1);
  return next(file, flags, new_value, old_value);
}
int fdatasync(int file) {
  NEXT(int, fdatasync, int);
  add(SYNCS, 1);
  return next(file);
}
