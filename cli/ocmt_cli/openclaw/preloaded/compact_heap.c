/*
 * Lets the kernel choose where a gateway's heap lies: side by side.
 *
 * V8 asks for each 256 KB of its heap at a random address of 46 bits (Heap::GetRandomMmapAddr), so
 * that each needs two page tables of its own: 20 to 25 MB in a gateway, which stay in RAM when all
 * else of a sleeper is in the swap. The address is but a hint. Without it the kernel places them
 * one beside the other, still from a random start (ASLR).
 *
 * Preloaded into the gateway alone: what it starts does not inherit it. No header and no library of
 * the machine that compiles it is used, as the image has its own.
 */

typedef unsigned long size;

extern long syscall(long number, ...);
extern int unsetenv(const char *name);

enum { MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_FIXED_NOREPLACE = 0x100000 };

#if defined(__x86_64__)
enum { NR_mmap = 9 };
#elif defined(__aarch64__)
enum { NR_mmap = 222 };
#endif

/* Above a heap's pieces: the range for compiled code is asked for near the program on purpose. */
static const size most = 4UL << 20;

void *mmap(void *hint, size length, int protection, int flags, int file, long offset) {
  const int kind = flags & (MAP_FIXED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE);
  if (kind == MAP_ANONYMOUS && length <= most)
    hint = 0;
  return (void *)syscall(NR_mmap, hint, length, protection, flags, file, offset);
}

void *mmap64(void *hint, size length, int protection, int flags, int file, long offset)
    __attribute__((alias("mmap")));

__attribute__((constructor)) static void not_for_children(void) { unsetenv("LD_PRELOAD"); }
