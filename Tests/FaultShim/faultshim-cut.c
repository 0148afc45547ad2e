// faultshim-cut [--names] [--dry-run] STATE: what a power cut leaves of the directory that faultshim.so tracked in STATE.
//
// Every file loses what was not synced. With --names a file whose directory was never synced after its creation goes
// altogether. Exit codes: 0 done, 1 error (a process still uses STATE among them), 2 usage.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faultshim.h"

static struct shim_state *state;
static bool names, dry_run;
static unsigned long files_cut, files_lost, bytes_lost;

static void die(const char *what, const char *path) {
  fprintf(stderr, "faultshim-cut: %s %s: %s\n", what, path, strerror(errno));
  exit(1);
}

static void lose(const char *path, const struct stat *s, struct shim_slot *slot) {
  printf("lost %s (%lld bytes): its name was never synced\n", path, (long long)s->st_size);
  files_lost++;
  bytes_lost += (unsigned long)s->st_size;
  if (dry_run) return;
  if (unlink(path) != 0) die("cannot remove", path);
  if (s->st_nlink <= 1) atomic_store(&slot->inode, SHIM_REMOVED);
}

static void cut(const char *path, const struct stat *s, struct shim_slot *slot) {
  off_t synced = (off_t)atomic_load(&slot->synced);
  if (s->st_size > synced) {
    printf("cut %s from %lld to %lld bytes\n", path, (long long)s->st_size, (long long)synced);
    files_cut++;
    bytes_lost += (unsigned long)(s->st_size - synced);
    if (!dry_run && truncate(path, synced) != 0) die("cannot cut", path);
  }
  // After the restart the kernel knows of no lost pages any more.
  if (!dry_run) atomic_store(&slot->flags, 0);
}

static int visit(const char *path, const struct stat *s, int type, struct FTW *where) {
  (void)where;
  if (type != FTW_F || !S_ISREG(s->st_mode)) return 0;
  struct shim_slot *slot = shim_find(state, s->st_dev, s->st_ino);
  if (!slot) return 0;
  if (names && (atomic_load(&slot->flags) & SHIM_NAME_UNSYNCED)) {
    lose(path, s, slot);
  } else {
    cut(path, s, slot);
  }
  return 0;
}

static void open_state(const char *path) {
  int fd = open(path, O_RDWR | O_CLOEXEC);
  struct stat s;
  if (fd < 0 || fstat(fd, &s) != 0) die("cannot open", path);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) die("a process still uses", path);
  errno = EINVAL;
  if (s.st_size != sizeof(struct shim_state)) die("not a state of this shim:", path);
  state = mmap(0, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (state == MAP_FAILED) die("cannot map", path);
  errno = EINVAL;
  if (state->magic != SHIM_MAGIC || state->slot_count != SHIM_SLOTS) die("not a state of this shim:", path);
}

int main(int count, char **arguments) {
  int i = 1;
  for (; i < count && arguments[i][0] == '-'; i++) {
    if (strcmp(arguments[i], "--names") == 0) names = true;
    else if (strcmp(arguments[i], "--dry-run") == 0) dry_run = true;
    else break;
  }
  if (i + 1 != count || arguments[i][0] == '-') {
    fprintf(stderr, "usage: faultshim-cut [--names] [--dry-run] STATE\n");
    return 2;
  }
  open_state(arguments[i]);
  if (nftw(state->directory, visit, 32, FTW_PHYS) != 0) die("cannot walk", state->directory);
  printf("%lu files cut, %lu files lost, %lu bytes\n", files_cut, files_lost, bytes_lost);
  return 0;
}
