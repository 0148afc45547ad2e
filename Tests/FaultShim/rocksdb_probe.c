// rocksdb_probe DB STEP…: RocksDB with the options that matter to the shim, in a process of its own (see selftest.py).
//
//   put PREFIX N sync|os   puts PREFIX0 … PREFIXN-1        count PREFIX   prints how many keys begin so
//   acknowledge N          prints each number once it is synced
//   flush, compact, die (SIGKILL)
// Exit code 3: the database refused, with its message on stderr.
#include <rocksdb/c.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static rocksdb_t *db;
static char *error;

static void check(const char *what) {
  if (!error) return;
  fprintf(stderr, "rocksdb_probe: %s: %s\n", what, error);
  _exit(3);
}

static void put(const char *prefix, long number, int sync) {
  char key[64], value[200];
  snprintf(key, sizeof key, "%s%ld", prefix, number);
  memset(value, 'v', sizeof value);
  rocksdb_writeoptions_t *options = rocksdb_writeoptions_create();
  rocksdb_writeoptions_set_sync(options, sync);
  rocksdb_put(db, options, key, strlen(key), value, sizeof value, &error);
  check("put");
  rocksdb_writeoptions_destroy(options);
}

static void count(const char *prefix) {
  rocksdb_readoptions_t *options = rocksdb_readoptions_create();
  rocksdb_iterator_t *i = rocksdb_create_iterator(db, options);
  long found = 0;
  for (rocksdb_iter_seek(i, prefix, strlen(prefix)); rocksdb_iter_valid(i); rocksdb_iter_next(i)) {
    size_t bytes;
    const char *key = rocksdb_iter_key(i, &bytes);
    if (bytes < strlen(prefix) || memcmp(key, prefix, strlen(prefix)) != 0) break;
    found++;
  }
  rocksdb_iter_get_error(i, &error);
  check("count");
  rocksdb_iter_destroy(i);
  rocksdb_readoptions_destroy(options);
  printf("%ld\n", found);
}

static void flush(void) {
  rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
  rocksdb_flush(db, options, &error);
  check("flush");
  rocksdb_flushoptions_destroy(options);
}

int main(int argument_count, char **arguments) {
  rocksdb_options_t *options = rocksdb_options_create();
  rocksdb_options_set_create_if_missing(options, 1);
  rocksdb_options_set_wal_recovery_mode(options, rocksdb_tolerate_corrupted_tail_records_recovery);
  db = rocksdb_open(options, arguments[1], &error);
  check("open");
  for (int i = 2; i < argument_count; i++) {
    const char *step = arguments[i];
    if (strcmp(step, "put") == 0 && i + 3 < argument_count) {
      int sync = strcmp(arguments[i + 3], "sync") == 0;
      for (long n = 0; n < atol(arguments[i + 2]); n++) put(arguments[i + 1], n, sync);
      i += 3;
    } else if (strcmp(step, "acknowledge") == 0 && i + 1 < argument_count) {
      long last = atol(arguments[++i]);
      for (long n = 1; n <= last; n++) put("ack", n, 1), printf("%ld\n", n), fflush(stdout);
    } else if (strcmp(step, "count") == 0 && i + 1 < argument_count) {
      count(arguments[++i]);
    } else if (strcmp(step, "flush") == 0) {
      flush();
    } else if (strcmp(step, "compact") == 0) {
      rocksdb_compact_range(db, 0, 0, 0, 0);
    } else if (strcmp(step, "die") == 0) {
      fflush(stdout);
      kill(getpid(), SIGKILL);
    } else {
      fprintf(stderr, "rocksdb_probe: no step '%s'\n", step);
      return 2;
    }
  }
  rocksdb_close(db);
  rocksdb_options_destroy(options);
  return 0;
}
