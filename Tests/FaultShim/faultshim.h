// The state that faultshim.so keeps and faultshim-cut reads: one file, mapped into memory, so that it outlives SIGKILL.
//
//   offset  bytes  what
//   0       8      magic "RKVSHIM1"
//   8       8      number of slots
//   16      4096   the tracked directory, absolute, ended by NUL
//   4112    …      slots of 40 bytes, an open-addressed table by inode
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SHIM_MAGIC 0x314d494853564b52ull
#define SHIM_SLOTS 65536u // files alive at once in one data directory; over it the shim ends the process
#define SHIM_REMOVED UINT64_MAX

enum {
  SHIM_FROZEN = 1,      // a sync of this file failed: the kernel may have dropped its pages, so that no later sync counts
  SHIM_NAME_UNSYNCED = 2, // created, and its directory not synced since
};

struct shim_slot {
  _Atomic uint64_t inode;  // 0: never used. SHIM_REMOVED: free again
  uint64_t device;
  _Atomic uint64_t synced; // this many first bytes survive a power cut
  uint64_t parent;         // inode of the directory that holds the name
  _Atomic uint64_t flags;
};

struct shim_state {
  uint64_t magic;
  uint64_t slot_count;
  char directory[4096];
  struct shim_slot slots[SHIM_SLOTS];
};

static inline struct shim_slot *shim_find(struct shim_state *state, uint64_t device, uint64_t inode) {
  for (uint32_t i = 0; i < SHIM_SLOTS; i++) {
    struct shim_slot *slot = &state->slots[(inode * 0x9E3779B97F4A7C15ull + i) % SHIM_SLOTS];
    uint64_t held = atomic_load(&slot->inode);
    if (held == 0) return 0;
    if (held == inode && slot->device == device) return slot;
  }
  return 0;
}
