// faultshim.so: a disk that fails, for a process that does not know (LD_PRELOAD). See README.md.
//
// It keeps, by inode, how many bytes of each file below FAULTSHIM_DIR have been synced, and makes calls fail as the
// control file says. Real calls are made as system calls: no dlsym before the first file is opened, no recursion.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "faultshim.h"

#define EXPORTED __attribute__((visibility("default")))
#define PATH_MAX_BYTES 4096
#define RULES_MAX 64
#define FDS_MAX 65536

// --- State --------------------------------------------------------------------------------------------------------

static bool active;
static char directory[PATH_MAX_BYTES];
static size_t directory_bytes;
static const char *control_path;
static int log_fd = -1;
static struct shim_state *state;
static pthread_mutex_t state_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

// What is known of a descriptor. Closes inside libc are not seen, hence `unknown` is looked up again, and an open that
// is seen always sets it anew.
enum { UNKNOWN, ELSEWHERE, TRACKED };
static _Atomic char descriptors[FDS_MAX];

static void set_descriptor(int fd, char what) {
  if (fd >= 0 && fd < FDS_MAX) atomic_store(&descriptors[fd], what);
}

// --- The log ------------------------------------------------------------------------------------------------------

// Not through the exported function below: the shim keeps true time.
static int true_time(clockid_t clock, struct timespec *t) {
  static int (*_Atomic real)(clockid_t, struct timespec *);
  int (*known)(clockid_t, struct timespec *) = atomic_load(&real);
  if (!known) atomic_store(&real, known = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime"));
  return known ? known(clock, t) : (int)syscall(SYS_clock_gettime, clock, t);
}

static uint64_t ms_of(clockid_t clock) {
  struct timespec t;
  true_time(clock, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t now_ms(void) { return ms_of(CLOCK_REALTIME); }

// One line: milliseconds since 1970, pid, fault, call, path, detail.
static void note(const char *fault, const char *call, const char *path, const char *detail) {
  if (log_fd < 0) return;
  char line[PATH_MAX_BYTES + 256];
  int bytes = snprintf(line, sizeof line, "%llu %d %s %s %s %s\n", (unsigned long long)now_ms(), (int)getpid(), fault,
                       call, path, detail);
  if (bytes > (int)sizeof line - 1) bytes = sizeof line - 1;
  syscall(SYS_write, log_fd, line, (size_t)bytes);
}

static _Noreturn void give_up(const char *why, const char *what) {
  char line[PATH_MAX_BYTES + 256];
  int bytes = snprintf(line, sizeof line, "faultshim: %s: %s\n", why, what);
  syscall(SYS_write, 2, line, (size_t)bytes);
  syscall(SYS_exit_group, 97);
  __builtin_unreachable();
}

// --- Setting up ---------------------------------------------------------------------------------------------------

// The kernel shows real paths; the directory may not exist yet, its parent should.
static void set_directory(const char *given) {
  char real[PATH_MAX_BYTES];
  if (!realpath(given, real)) {
    char parent[PATH_MAX_BYTES];
    snprintf(parent, sizeof parent, "%s", given);
    size_t end = strlen(parent);
    while (end > 1 && parent[end - 1] == '/') parent[--end] = 0;
    char *slash = strrchr(parent, '/');
    if (!slash || slash == parent) give_up("FAULTSHIM_DIR must be an absolute path with a parent", given);
    *slash = 0;
    char real_parent[PATH_MAX_BYTES];
    if (!realpath(parent, real_parent)) give_up("FAULTSHIM_DIR has no parent directory", given);
    if (strlen(real_parent) + strlen(slash + 1) + 2 > sizeof real) give_up("FAULTSHIM_DIR is too long", given);
    strcpy(real, real_parent);
    strcat(real, "/");
    strcat(real, slash + 1);
  }
  strcpy(directory, real);
  directory_bytes = strlen(directory);
}

static void take_lock(int fd, const char *path) {
  for (int tries = 0; tries < 200; tries++) {
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return;
    usleep(10000);
  }
  give_up("another process uses this state", path);
}

static void map_state(const char *path) {
  int flags = MAP_SHARED, fd = -1;
  if (path) {
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) give_up("cannot open FAULTSHIM_STATE", path);
    take_lock(fd, path); // held, by the descriptor left open, until the process is really gone
    if (syscall(SYS_ftruncate, fd, sizeof(struct shim_state)) != 0) give_up("cannot size FAULTSHIM_STATE", path);
  } else {
    flags = MAP_PRIVATE | MAP_ANONYMOUS; // faults only; nothing can be cut afterwards
  }
  void *memory = (void *)syscall(SYS_mmap, 0, sizeof(struct shim_state), PROT_READ | PROT_WRITE, flags, fd, 0);
  if (memory == MAP_FAILED) give_up("cannot map FAULTSHIM_STATE", path ? path : "(memory)");
  state = memory;
  if (state->magic == 0) {
    state->slot_count = SHIM_SLOTS;
    strcpy(state->directory, directory);
    state->magic = SHIM_MAGIC;
  } else if (state->magic != SHIM_MAGIC || state->slot_count != SHIM_SLOTS || strcmp(state->directory, directory)) {
    give_up("FAULTSHIM_STATE is of another directory or another shim; remove it", path);
  }
}

static void set_up_once(void) {
  const char *given = getenv("FAULTSHIM_DIR");
  if (!given || !*given) return;
  set_directory(given);
  control_path = getenv("FAULTSHIM_CONTROL");
  const char *log_path = getenv("FAULTSHIM_LOG");
  if (log_path) log_fd = (int)syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  map_state(getenv("FAULTSHIM_STATE"));
  active = true;
  note("attached", "-", directory, "");
}

static bool set_up(void) {
  pthread_once(&once, set_up_once);
  return active;
}

__attribute__((constructor)) static void on_load(void) { set_up(); }

// --- Paths --------------------------------------------------------------------------------------------------------

static bool below_directory(const char *path) {
  return strncmp(path, directory, directory_bytes) == 0 && (path[directory_bytes] == '/' || path[directory_bytes] == 0);
}

static bool path_of(int fd, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  long bytes = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX_BYTES - 1);
  if (bytes <= 0) return false;
  path[bytes] = 0;
  char *deleted = strstr(path, " (deleted)");
  if (deleted && deleted[10] == 0) *deleted = 0;
  return path[0] == '/';
}

// A name as its caller gave it, made absolute: the directory's real path, and the last part as it is.
static bool absolute(int dirfd, const char *name, char *path) {
  char base[PATH_MAX_BYTES], joined[2 * PATH_MAX_BYTES];
  if (name[0] == '/') {
    base[0] = 0;
  } else if (dirfd == AT_FDCWD) {
    if (syscall(SYS_getcwd, base, sizeof base) < 0) return false;
  } else if (!path_of(dirfd, base)) {
    return false;
  }
  snprintf(joined, sizeof joined, "%s/%s", base, name);
  char *slash = strrchr(joined, '/');
  *slash = 0;
  if (!realpath(*joined ? joined : "/", base)) return false;
  return snprintf(path, PATH_MAX_BYTES, "%s/%s", base, slash + 1) < PATH_MAX_BYTES;
}

static uint64_t parent_inode(const char *path) {
  char parent[PATH_MAX_BYTES];
  snprintf(parent, sizeof parent, "%s", path);
  char *slash = strrchr(parent, '/');
  if (!slash) return 0;
  *slash = 0;
  struct stat s;
  return fstatat(AT_FDCWD, parent, &s, 0) == 0 ? s.st_ino : 0;
}

static bool is_tracked(int fd) {
  if (!set_up() || fd < 0) return false;
  if (fd < FDS_MAX) {
    char known = atomic_load(&descriptors[fd]);
    if (known != UNKNOWN) return known == TRACKED;
  }
  char path[PATH_MAX_BYTES];
  bool tracked = path_of(fd, path) && below_directory(path);
  set_descriptor(fd, tracked ? TRACKED : ELSEWHERE);
  return tracked;
}

// --- What is synced -----------------------------------------------------------------------------------------------

static struct shim_slot *claim_slot(const struct stat *s) {
  struct shim_slot *slot = shim_find(state, s->st_dev, s->st_ino);
  for (uint32_t i = 0; !slot && i < SHIM_SLOTS; i++) {
    struct shim_slot *candidate = &state->slots[(s->st_ino * 0x9E3779B97F4A7C15ull + i) % SHIM_SLOTS];
    uint64_t held = atomic_load(&candidate->inode);
    if (held == 0 || held == SHIM_REMOVED) slot = candidate;
  }
  if (!slot) give_up("more files than slots", directory);
  return slot;
}

// A file that was opened for writing. What it held before the shim first saw it counts as synced.
static void on_opened(const char *path, const struct stat *s, bool created) {
  pthread_mutex_lock(&state_lock);
  struct shim_slot *slot = claim_slot(s);
  bool known = atomic_load(&slot->inode) == s->st_ino && slot->device == s->st_dev;
  if (!known || created) {
    slot->device = s->st_dev;
    slot->parent = created ? parent_inode(path) : 0;
    atomic_store(&slot->flags, created ? SHIM_NAME_UNSYNCED : 0);
    atomic_store(&slot->synced, (uint64_t)s->st_size);
    atomic_store(&slot->inode, s->st_ino); // last: a kill in between leaves no half-made slot
  } else if (s->st_size == 0) {
    atomic_store(&slot->synced, 0);
    atomic_fetch_and(&slot->flags, ~(uint64_t)SHIM_FROZEN);
  }
  pthread_mutex_unlock(&state_lock);
}

static void on_truncated(const struct stat *s) {
  pthread_mutex_lock(&state_lock);
  struct shim_slot *slot = shim_find(state, s->st_dev, s->st_ino);
  if (slot && atomic_load(&slot->synced) > (uint64_t)s->st_size) atomic_store(&slot->synced, (uint64_t)s->st_size);
  if (slot && s->st_size == 0) atomic_fetch_and(&slot->flags, ~(uint64_t)SHIM_FROZEN);
  pthread_mutex_unlock(&state_lock);
}

// `s` is from before the sync: what is appended while it runs is not part of it.
static void on_synced(const struct stat *s) {
  pthread_mutex_lock(&state_lock);
  if (S_ISDIR(s->st_mode)) {
    for (uint32_t i = 0; i < SHIM_SLOTS; i++)
      if (state->slots[i].parent == s->st_ino && state->slots[i].device == s->st_dev)
        atomic_fetch_and(&state->slots[i].flags, ~(uint64_t)SHIM_NAME_UNSYNCED);
  } else {
    struct shim_slot *slot = shim_find(state, s->st_dev, s->st_ino);
    if (slot && !(atomic_load(&slot->flags) & SHIM_FROZEN) && atomic_load(&slot->synced) < (uint64_t)s->st_size)
      atomic_store(&slot->synced, (uint64_t)s->st_size);
  }
  pthread_mutex_unlock(&state_lock);
}

static void on_sync_failed(const struct stat *s) {
  pthread_mutex_lock(&state_lock);
  struct shim_slot *slot = shim_find(state, s->st_dev, s->st_ino);
  if (slot) atomic_fetch_or(&slot->flags, SHIM_FROZEN);
  pthread_mutex_unlock(&state_lock);
}

static void on_removed(const struct stat *s) {
  if (s->st_nlink > 1) return;
  pthread_mutex_lock(&state_lock);
  struct shim_slot *slot = shim_find(state, s->st_dev, s->st_ino);
  if (slot) atomic_store(&slot->inode, SHIM_REMOVED);
  pthread_mutex_unlock(&state_lock);
}

static void on_renamed(const char *path, const struct stat *s, bool replaced) {
  pthread_mutex_lock(&state_lock);
  struct shim_slot *slot = shim_find(state, s->st_dev, s->st_ino);
  // Losing a rename that replaced a file would have to bring that file back, which is not modelled.
  if (slot && replaced) atomic_fetch_and(&slot->flags, ~(uint64_t)SHIM_NAME_UNSYNCED);
  if (slot && !replaced) slot->parent = parent_inode(path);
  pthread_mutex_unlock(&state_lock);
}

static int on_walked(const char *path, const struct stat *s, int type, struct FTW *where) {
  (void)path, (void)where;
  if (type == FTW_F || type == FTW_D) on_synced(s);
  return 0;
}

// Overwriting what is synced cannot be undone by cutting a tail: say so in the log, that no test relies on it.
static void note_overwrite(int fd, off_t offset, const char *call) {
  struct stat s;
  if (offset < 0 || fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) return;
  pthread_mutex_lock(&state_lock);
  struct shim_slot *slot = shim_find(state, s.st_dev, s.st_ino);
  bool over = slot && (uint64_t)offset < atomic_load(&slot->synced);
  pthread_mutex_unlock(&state_lock);
  char path[PATH_MAX_BYTES];
  if (over && path_of(fd, path)) note("unmodelled-overwrite", call, path, "");
}

// --- Rules --------------------------------------------------------------------------------------------------------

enum kind { EIO_WRITE, EIO_SYNC, NO_SPACE_SYNC, EIO_READ, NO_SPACE, SHORT_WRITE, SLOW_SYNC, HOLD_SYNC, CLOCK, KINDS };
static const char *const kind_names[KINDS] = {"eio-write",   "eio-sync",  "enospc-sync", "eio-read", "enospc",
                                              "short-write", "slow-sync", "hold-sync",   "clock"};

struct rule {
  enum kind kind;
  char pattern[256];
  long ms;
  long after;  // matching calls that pass first
  long times;  // faults at most; -1: no end
  long matched, fired;
  bool torn;   // short-write: its prefix is written, the next call fails
  char text[512];
};

static struct rule rules[RULES_MAX];
static int rule_count;
static pthread_mutex_t rules_lock = PTHREAD_MUTEX_INITIALIZER;

static bool parse_kind(struct rule *rule, const char *word) {
  for (int kind = 0; kind < KINDS; kind++)
    if (strcmp(word, kind_names[kind]) == 0) {
      rule->kind = (enum kind)kind;
      return true;
    }
  return false;
}

static bool parse_options(struct rule *rule, char **rest) {
  for (char *word; (word = strtok_r(0, " \t", rest));) {
    char *value = 0;
    if (strcmp(word, "once") == 0) {
      rule->times = 1;
    } else if (strcmp(word, "after") == 0 && (value = strtok_r(0, " \t", rest))) {
      rule->after = atol(value);
    } else if (strcmp(word, "times") == 0 && (value = strtok_r(0, " \t", rest))) {
      rule->times = atol(value);
    } else if (rule->pattern[0] == 0) {
      snprintf(rule->pattern, sizeof rule->pattern, "%s", word);
    } else {
      return false;
    }
  }
  return true;
}

static void parse_rule(const char *text, struct rule *rule) {
  memset(rule, 0, sizeof *rule);
  rule->times = -1;
  snprintf(rule->text, sizeof rule->text, "%s", text);
  char copy[512], *rest = 0;
  snprintf(copy, sizeof copy, "%s", text);
  char *word = strtok_r(copy, " \t", &rest);
  if (!word || !parse_kind(rule, word)) give_up("no such rule in FAULTSHIM_CONTROL", text);
  if (rule->kind == SLOW_SYNC) {
    char *ms = strtok_r(0, " \t", &rest);
    if (!ms || (rule->ms = atol(ms)) <= 0) give_up("slow-sync needs its milliseconds", text);
  }
  if (rule->kind == CLOCK) {
    char *ms = strtok_r(0, " \t", &rest), *end = ms;
    if (!ms || (rule->ms = strtol(ms, &end, 10), *end)) give_up("clock needs its milliseconds", text);
  }
  if (!parse_options(rule, &rest)) give_up("malformed rule in FAULTSHIM_CONTROL", text);
  if (rule->pattern[0] == 0) strcpy(rule->pattern, "*");
}

// How far the wall clock that the process is shown is ahead of the true one.
static _Atomic long clock_ahead_ms;

static void set_clock(void) {
  long ahead = 0;
  for (int i = 0; i < rule_count; i++)
    if (rules[i].kind == CLOCK) ahead = rules[i].ms;
  atomic_store(&clock_ahead_ms, ahead);
}

// A rule that was there before keeps its counts.
static void adopt(char *text) {
  static struct rule fresh[RULES_MAX];
  int count = 0;
  char *rest = 0;
  for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(0, "\n", &rest)) {
    line += strspn(line, " \t");
    if (*line == 0 || *line == '#') continue;
    if (count == RULES_MAX) give_up("more rules than 64", control_path);
    parse_rule(line, &fresh[count]);
    for (int i = 0; i < rule_count; i++)
      if (strcmp(rules[i].text, fresh[count].text) == 0) fresh[count] = rules[i];
    count++;
  }
  memcpy(rules, fresh, sizeof rules);
  rule_count = count;
  set_clock();
}

static bool same_time(struct timespec a, struct timespec b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

// Reads the control file if it changed. File times stand still for some milliseconds: a file so young is read again.
static void refresh_rules(void) {
  static struct stat seen;
  static bool there;
  struct stat s;
  if (!control_path) return;
  if (fstatat(AT_FDCWD, control_path, &s, 0) != 0) {
    if (there) {
      rule_count = 0;
      set_clock();
    }
    there = false;
    return;
  }
  uint64_t changed_ms = (uint64_t)s.st_mtim.tv_sec * 1000 + (uint64_t)s.st_mtim.tv_nsec / 1000000;
  bool same = there && s.st_ino == seen.st_ino && s.st_size == seen.st_size && same_time(s.st_mtim, seen.st_mtim);
  if (same && now_ms() > changed_ms + 50) return;
  static char text[32768];
  int fd = (int)syscall(SYS_openat, AT_FDCWD, control_path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return;
  long bytes = syscall(SYS_read, fd, text, sizeof text - 1);
  syscall(SYS_close, fd);
  if (bytes < 0) return;
  text[bytes] = 0;
  adopt(text);
  seen = s;
  there = true;
}

static bool matches(const struct rule *rule, const char *path) {
  const char *slash = strrchr(path, '/');
  return fnmatch(rule->pattern, path, 0) == 0 || fnmatch(rule->pattern, slash ? slash + 1 : path, 0) == 0;
}

// Whether a rule of this kind strikes now; a copy of it, as it was when it struck.
static bool strikes(enum kind kind, const char *path, struct rule *struck) {
  bool found = false;
  pthread_mutex_lock(&rules_lock);
  refresh_rules();
  for (int i = 0; i < rule_count && !found; i++) {
    struct rule *rule = &rules[i];
    if (rule->kind != kind || !matches(rule, path)) continue;
    if (rule->torn || (++rule->matched > rule->after && (rule->times < 0 || rule->fired < rule->times))) {
      *struck = *rule;
      // A torn write is one fault of two calls: the prefix, then the failure.
      if (kind == SHORT_WRITE) rule->torn = !rule->torn;
      if (!rule->torn) rule->fired++;
      found = true;
    }
  }
  pthread_mutex_unlock(&rules_lock);
  return found;
}

static bool any_rules(void) {
  pthread_mutex_lock(&rules_lock);
  refresh_rules();
  bool any = rule_count > 0;
  pthread_mutex_unlock(&rules_lock);
  return any;
}

static bool still_there(const struct rule *held) {
  bool found = false;
  pthread_mutex_lock(&rules_lock);
  refresh_rules();
  for (int i = 0; i < rule_count; i++) found |= strcmp(rules[i].text, held->text) == 0;
  pthread_mutex_unlock(&rules_lock);
  return found;
}

// --- The wall clock -----------------------------------------------------------------------------------------------

// Looks for a new rule now and then only: programs read the clock often.
static long clock_shift_ms(void) {
  static _Atomic uint64_t looked_at;
  uint64_t now = ms_of(CLOCK_MONOTONIC);
  if (now - atomic_load(&looked_at) > 10) {
    atomic_store(&looked_at, now);
    any_rules();
  }
  return atomic_load(&clock_ahead_ms);
}

EXPORTED int clock_gettime(clockid_t clock, struct timespec *t) {
  int before = errno, result = true_time(clock, t);
  if (result != 0 || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) || !set_up()) return result;
  long shift = clock_shift_ms();
  t->tv_sec += shift / 1000;
  t->tv_nsec += shift % 1000 * 1000000;
  if (t->tv_nsec < 0) t->tv_nsec += 1000000000, t->tv_sec--;
  if (t->tv_nsec >= 1000000000) t->tv_nsec -= 1000000000, t->tv_sec++;
  errno = before;
  return 0;
}

EXPORTED int gettimeofday(struct timeval *restrict t, void *restrict zone) {
  (void)zone;
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  t->tv_sec = now.tv_sec;
  t->tv_usec = now.tv_nsec / 1000;
  return 0;
}

EXPORTED time_t time(time_t *t) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (t) *t = now.tv_sec;
  return now.tv_sec;
}

// --- Syncs --------------------------------------------------------------------------------------------------------

static void sleep_ms(long ms) {
  struct timespec t = {ms / 1000, (ms % 1000) * 1000000};
  while (nanosleep(&t, &t) != 0 && errno == EINTR) {}
}

static void hold(const struct rule *rule, const char *call, const char *path) {
  const char *given = getenv("FAULTSHIM_HOLD_MAX_MS");
  uint64_t end = now_ms() + (given ? (uint64_t)atol(given) : 120000);
  note("hold-sync", call, path, "");
  while (still_there(rule) && now_ms() < end) sleep_ms(2);
  note("released", call, path, now_ms() < end ? "" : "held too long");
}

// The error with which the sync must fail, or 0.
static int sync_fault(const char *call, const char *path) {
  struct rule rule;
  if (!any_rules()) return 0;
  if (strikes(SLOW_SYNC, path, &rule)) {
    note("slow-sync", call, path, "");
    sleep_ms(rule.ms);
  }
  if (strikes(HOLD_SYNC, path, &rule)) hold(&rule, call, path);
  if (!strikes(EIO_SYNC, path, &rule) && !strikes(NO_SPACE_SYNC, path, &rule)) return 0;
  note(kind_names[rule.kind], call, path, "");
  return rule.kind == EIO_SYNC ? EIO : ENOSPC;
}

static int sync_with(long number, int fd, const char *call) {
  int before = errno;
  char path[PATH_MAX_BYTES];
  struct stat s;
  if (!is_tracked(fd) || !path_of(fd, path)) return (int)syscall(number, fd);
  int fault = sync_fault(call, path);
  if (fstat(fd, &s) != 0) return -1;
  if (fault || syscall(number, fd) != 0) {
    int error = fault ? fault : errno;
    on_sync_failed(&s);
    errno = error;
    return -1;
  }
  on_synced(&s);
  errno = before;
  return 0;
}

EXPORTED int fsync(int fd) { return sync_with(SYS_fsync, fd, "fsync"); }
EXPORTED int fdatasync(int fd) { return sync_with(SYS_fdatasync, fd, "fdatasync"); }

EXPORTED int syncfs(int fd) {
  if (!set_up()) return (int)syscall(SYS_syncfs, fd);
  int fault = sync_fault("syncfs", directory);
  if (fault) {
    errno = fault;
    return -1;
  }
  int result = (int)syscall(SYS_syncfs, fd);
  if (result == 0) nftw(directory, on_walked, 16, FTW_PHYS);
  return result;
}

// --- Writes -------------------------------------------------------------------------------------------------------

struct write_call {
  int fd;
  const struct iovec *parts;
  int part_count;
  off_t offset; // -1: where the descriptor stands
  const char *name;
};

static ssize_t really_write(const struct write_call *w) {
  if (w->offset < 0) return syscall(SYS_writev, w->fd, w->parts, w->part_count);
  return syscall(SYS_pwritev, w->fd, w->parts, w->part_count, w->offset, 0);
}

static size_t total(const struct write_call *w) {
  size_t bytes = 0;
  for (int i = 0; i < w->part_count; i++) bytes += w->parts[i].iov_len;
  return bytes;
}

static ssize_t write_prefix(const struct write_call *w, size_t bytes) {
  struct iovec parts[64];
  struct write_call shorter = *w;
  shorter.parts = parts;
  shorter.part_count = 0;
  for (int i = 0; i < w->part_count && i < 64 && bytes > 0; i++) {
    parts[i] = w->parts[i];
    if (parts[i].iov_len > bytes) parts[i].iov_len = bytes;
    bytes -= parts[i].iov_len;
    shorter.part_count++;
  }
  return really_write(&shorter);
}

static ssize_t fail(int error, const char *fault, const char *call, const char *path) {
  note(fault, call, path, "");
  errno = error;
  return -1;
}

static ssize_t write_under_rules(const struct write_call *w) {
  char path[PATH_MAX_BYTES];
  struct rule rule;
  if (!path_of(w->fd, path)) return really_write(w);
  if (strikes(EIO_WRITE, path, &rule)) return fail(EIO, "eio-write", w->name, path);
  if (strikes(NO_SPACE, path, &rule)) return fail(ENOSPC, "enospc", w->name, path);
  if (strikes(SHORT_WRITE, path, &rule)) {
    size_t half = total(w) / 2;
    if (rule.torn || half == 0) return fail(EIO, "short-write", w->name, path);
    char detail[64];
    snprintf(detail, sizeof detail, "%zu of %zu bytes", half, total(w));
    note("short-write", w->name, path, detail);
    return write_prefix(w, half);
  }
  return really_write(w);
}

// A write that returns synced (O_DSYNC, O_SYNC).
static void on_written_through(const struct write_call *w, int flags, off_t start, ssize_t bytes) {
  struct stat s;
  if (bytes <= 0 || !(flags & (O_DSYNC | O_SYNC)) || fstat(w->fd, &s) != 0) return;
  off_t end = w->offset >= 0 ? w->offset + bytes : flags & O_APPEND ? s.st_size : start + bytes;
  if (end < s.st_size) s.st_size = end;
  on_synced(&s);
}

static ssize_t write_call(const struct write_call *w) {
  if (!is_tracked(w->fd)) return really_write(w);
  int before = errno;
  int flags = (int)syscall(SYS_fcntl, w->fd, F_GETFL);
  off_t start = w->offset >= 0 ? w->offset : flags & O_APPEND ? -1 : (off_t)syscall(SYS_lseek, w->fd, 0, SEEK_CUR);
  note_overwrite(w->fd, start, w->name);
  ssize_t result = any_rules() ? write_under_rules(w) : really_write(w);
  if (result < 0) return result;
  on_written_through(w, flags, start, result);
  errno = before;
  return result;
}

EXPORTED ssize_t write(int fd, const void *bytes, size_t count) {
  if (!is_tracked(fd)) return syscall(SYS_write, fd, bytes, count);
  struct iovec part = {(void *)bytes, count};
  return write_call(&(struct write_call){fd, &part, 1, -1, "write"});
}

EXPORTED ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
  if (!is_tracked(fd)) return syscall(SYS_pwrite64, fd, bytes, count, offset);
  struct iovec part = {(void *)bytes, count};
  return write_call(&(struct write_call){fd, &part, 1, offset, "pwrite"});
}
EXPORTED ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
  return pwrite(fd, bytes, count, offset);
}

EXPORTED ssize_t writev(int fd, const struct iovec *parts, int count) {
  return write_call(&(struct write_call){fd, parts, count, -1, "writev"});
}
EXPORTED ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  if (!is_tracked(fd)) return syscall(SYS_pwritev, fd, parts, count, offset, 0);
  return write_call(&(struct write_call){fd, parts, count, offset, "pwritev"});
}
EXPORTED ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  return pwritev(fd, parts, count, offset);
}

// --- Reads --------------------------------------------------------------------------------------------------------

static bool read_fault(int fd, const char *call) {
  char path[PATH_MAX_BYTES];
  struct rule rule;
  int before = errno;
  bool fails = is_tracked(fd) && any_rules() && path_of(fd, path) && strikes(EIO_READ, path, &rule);
  if (fails) note("eio-read", call, path, "");
  errno = fails ? EIO : before;
  return fails;
}

EXPORTED ssize_t read(int fd, void *bytes, size_t count) {
  return read_fault(fd, "read") ? -1 : syscall(SYS_read, fd, bytes, count);
}
EXPORTED ssize_t pread(int fd, void *bytes, size_t count, off_t offset) {
  return read_fault(fd, "pread") ? -1 : syscall(SYS_pread64, fd, bytes, count, offset);
}
EXPORTED ssize_t pread64(int fd, void *bytes, size_t count, off64_t offset) { return pread(fd, bytes, count, offset); }

// --- Space --------------------------------------------------------------------------------------------------------

static bool space_fault(int fd, const char *call) {
  char path[PATH_MAX_BYTES];
  struct rule rule;
  bool fails = is_tracked(fd) && any_rules() && path_of(fd, path) && strikes(NO_SPACE, path, &rule);
  if (fails) note("enospc", call, path, "");
  return fails;
}

EXPORTED int fallocate(int fd, int mode, off_t offset, off_t length) {
  if (space_fault(fd, "fallocate")) {
    errno = ENOSPC;
    return -1;
  }
  return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}
EXPORTED int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  return fallocate(fd, mode, offset, length);
}
EXPORTED int posix_fallocate(int fd, off_t offset, off_t length) {
  if (space_fault(fd, "posix_fallocate")) return ENOSPC;
  return syscall(SYS_fallocate, fd, 0, offset, length) == 0 ? 0 : errno;
}
EXPORTED int posix_fallocate64(int fd, off64_t offset, off64_t length) { return posix_fallocate(fd, offset, length); }

EXPORTED int ftruncate(int fd, off_t length) {
  int result = (int)syscall(SYS_ftruncate, fd, length);
  struct stat s;
  if (result == 0 && is_tracked(fd) && fstat(fd, &s) == 0) on_truncated(&s);
  return result;
}
EXPORTED int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

EXPORTED int truncate(const char *path, off_t length) {
  int result = (int)syscall(SYS_truncate, path, length);
  struct stat s;
  if (result == 0 && set_up() && fstatat(AT_FDCWD, path, &s, 0) == 0) on_truncated(&s);
  return result;
}
EXPORTED int truncate64(const char *path, off64_t length) { return truncate(path, length); }

EXPORTED void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
  if (fd >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE) && is_tracked(fd)) {
    char path[PATH_MAX_BYTES];
    if (path_of(fd, path)) note("unmodelled-mmap", "mmap", path, "");
  }
  return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
}
EXPORTED void *mmap64(void *at, size_t bytes, int protection, int flags, int fd, off64_t offset) {
  return mmap(at, bytes, protection, flags, fd, offset);
}

// --- Opening and closing ------------------------------------------------------------------------------------------

// A descriptor that was just opened for writing, or to a file that was just made.
static void look_at(int fd, bool created) {
  char path[PATH_MAX_BYTES];
  struct stat s;
  bool tracked = path_of(fd, path) && below_directory(path);
  set_descriptor(fd, tracked ? TRACKED : ELSEWHERE);
  if (tracked && fstat(fd, &s) == 0 && S_ISREG(s.st_mode)) on_opened(path, &s, created);
}

static bool no_space_for(int dirfd, const char *name) {
  char path[PATH_MAX_BYTES];
  struct rule rule;
  if (!any_rules() || !absolute(dirfd, name, path) || !below_directory(path)) return false;
  if (!strikes(NO_SPACE, path, &rule)) return false;
  note("enospc", "open", path, "");
  return true;
}

static int open_call(int dirfd, const char *name, int flags, mode_t mode) {
  if (!set_up()) return (int)syscall(SYS_openat, dirfd, name, flags, mode);
  int before = errno;
  bool created = (flags & O_CREAT) && syscall(SYS_faccessat, dirfd, name, F_OK) != 0;
  if (created && no_space_for(dirfd, name)) {
    errno = ENOSPC;
    return -1;
  }
  int fd = (int)syscall(SYS_openat, dirfd, name, flags, mode);
  if (fd < 0) return fd;
  set_descriptor(fd, UNKNOWN);
  if ((flags & O_ACCMODE) != O_RDONLY || created) look_at(fd, created);
  errno = before;
  return fd;
}

#define MODE_ARGUMENT(flags)                   \
  mode_t mode = 0;                             \
  if ((flags) & (O_CREAT | __O_TMPFILE)) {     \
    va_list arguments;                         \
    va_start(arguments, flags);                \
    mode = va_arg(arguments, mode_t);          \
    va_end(arguments);                         \
  }

EXPORTED int open(const char *name, int flags, ...) {
  MODE_ARGUMENT(flags)
  return open_call(AT_FDCWD, name, flags, mode);
}
EXPORTED int open64(const char *name, int flags, ...) {
  MODE_ARGUMENT(flags)
  return open_call(AT_FDCWD, name, flags, mode);
}
EXPORTED int openat(int dirfd, const char *name, int flags, ...) {
  MODE_ARGUMENT(flags)
  return open_call(dirfd, name, flags, mode);
}
EXPORTED int openat64(int dirfd, const char *name, int flags, ...) {
  MODE_ARGUMENT(flags)
  return open_call(dirfd, name, flags, mode);
}
// What _FORTIFY_SOURCE makes of them.
EXPORTED int __open_2(const char *name, int flags) { return open_call(AT_FDCWD, name, flags, 0); }
EXPORTED int __open64_2(const char *name, int flags) { return open_call(AT_FDCWD, name, flags, 0); }
EXPORTED int __openat_2(int dirfd, const char *name, int flags) { return open_call(dirfd, name, flags, 0); }
EXPORTED int __openat64_2(int dirfd, const char *name, int flags) { return open_call(dirfd, name, flags, 0); }
EXPORTED int creat(const char *name, mode_t mode) {
  return open_call(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
EXPORTED int creat64(const char *name, mode_t mode) { return creat(name, mode); }

EXPORTED int close(int fd) {
  set_descriptor(fd, UNKNOWN);
  return (int)syscall(SYS_close, fd);
}
EXPORTED int dup2(int fd, int to) {
  if (fd != to) set_descriptor(to, UNKNOWN);
  return fd == to ? (fcntl(fd, F_GETFD) < 0 ? -1 : to) : (int)syscall(SYS_dup3, fd, to, 0);
}
EXPORTED int dup3(int fd, int to, int flags) {
  set_descriptor(to, UNKNOWN);
  return (int)syscall(SYS_dup3, fd, to, flags);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

// Streams write inside libc, unseen: their length is known and their syncs count, but no write of theirs can be failed.
static FILE *opened_stream(FILE *file, const char *mode) {
  if (file && set_up() && strpbrk(mode, "wa+")) {
    int before = errno;
    look_at(fileno(file), false);
    errno = before;
  }
  return file;
}
EXPORTED FILE *fopen(const char *name, const char *mode) { return opened_stream(NEXT(fopen)(name, mode), mode); }
EXPORTED FILE *fopen64(const char *name, const char *mode) { return opened_stream(NEXT(fopen64)(name, mode), mode); }
EXPORTED int fclose(FILE *file) {
  set_descriptor(fileno(file), UNKNOWN);
  return NEXT(fclose)(file);
}

static int made(int fd) {
  if (fd >= 0 && set_up()) look_at(fd, true);
  return fd;
}
EXPORTED int mkstemp(char *name) { return made(NEXT(mkstemp)(name)); }
EXPORTED int mkstemp64(char *name) { return made(NEXT(mkstemp)(name)); }
EXPORTED int mkostemp(char *name, int flags) { return made(NEXT(mkostemp)(name, flags)); }
EXPORTED int mkostemp64(char *name, int flags) { return made(NEXT(mkostemp)(name, flags)); }
EXPORTED int mkstemps(char *name, int suffix) { return made(NEXT(mkstemps)(name, suffix)); }
EXPORTED int mkostemps(char *name, int suffix, int flags) { return made(NEXT(mkostemps)(name, suffix, flags)); }

// --- Names --------------------------------------------------------------------------------------------------------

static int unlink_call(int dirfd, const char *name, int flags) {
  struct stat s;
  bool known = set_up() && !(flags & AT_REMOVEDIR) && fstatat(dirfd, name, &s, AT_SYMLINK_NOFOLLOW) == 0;
  int result = (int)syscall(SYS_unlinkat, dirfd, name, flags);
  if (result == 0 && known) on_removed(&s);
  return result;
}
EXPORTED int unlink(const char *name) { return unlink_call(AT_FDCWD, name, 0); }
EXPORTED int unlinkat(int dirfd, const char *name, int flags) { return unlink_call(dirfd, name, flags); }
EXPORTED int remove(const char *name) {
  struct stat s;
  bool is_directory = fstatat(AT_FDCWD, name, &s, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(s.st_mode);
  return unlink_call(AT_FDCWD, name, is_directory ? AT_REMOVEDIR : 0);
}

static int rename_call(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
  if (!set_up()) return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
  int before = errno;
  struct stat moved, target;
  bool known = fstatat(from_fd, from, &moved, AT_SYMLINK_NOFOLLOW) == 0;
  bool replaces = fstatat(to_fd, to, &target, AT_SYMLINK_NOFOLLOW) == 0;
  if (syscall(SYS_renameat2, from_fd, from, to_fd, to, flags) != 0) return -1;
  char path[PATH_MAX_BYTES];
  bool exchanged = flags & RENAME_EXCHANGE;
  if (replaces && known && !exchanged && target.st_ino != moved.st_ino) on_removed(&target);
  if (known && absolute(to_fd, to, path)) on_renamed(path, &moved, replaces);
  errno = before;
  return 0;
}
EXPORTED int rename(const char *from, const char *to) { return rename_call(AT_FDCWD, from, AT_FDCWD, to, 0); }
EXPORTED int renameat(int from_fd, const char *from, int to_fd, const char *to) {
  return rename_call(from_fd, from, to_fd, to, 0);
}
EXPORTED int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
  return rename_call(from_fd, from, to_fd, to, flags);
}
