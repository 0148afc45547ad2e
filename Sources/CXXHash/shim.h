// xxHash, compiled into its caller: no library to link, no call across a boundary.
#pragma once
#define XXH_INLINE_ALL
#include <xxhash.h>

// xxHash renames its functions by macros, which Swift does not import: two names of our own.
static inline uint64_t xxh3_64(const void *bytes, size_t count, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes, count, seed);
}
static inline XXH128_hash_t xxh3_128(const void *bytes, size_t count, uint64_t seed) {
  return XXH3_128bits_withSeed(bytes, count, seed);
}
