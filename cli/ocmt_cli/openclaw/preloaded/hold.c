/*
 * Holds a gateway right before it reads its state, for as long as /etc/openclaw/hold exists.
 *
 * A gateway that restarts in its process (SIGUSR2) closes everything, gives up its locks, and takes
 * them again before it reads anything: first of all the file lock below, on its main thread. While
 * `hold` exists, that lock is taken, as by another gateway: OpenClaw tries again after a while, and
 * meanwhile closes what it still had open. Once `hold-still` exists too, the next try waits here,
 * so that it ends within milliseconds of the hold. What was loaded stays in memory, and another
 * agent's state can be put in the place of the gateway's own. A gateway that boots while `hold`
 * exists waits as well.
 *
 * The agent server writes /etc/openclaw, which agents can only read. `.held` in the gateway's state
 * tells it that the gateway waits.
 */

typedef unsigned long size;

extern long syscall(long number, ...);
extern char *getenv(const char *name);
extern int *__errno_location(void);

struct timespec {
  long seconds, nanoseconds;
};
extern int nanosleep(const struct timespec *duration, struct timespec *left);

#if defined(__x86_64__)
enum { NR_close = 3, NR_getpid = 39, NR_fcntl = 72, NR_gettid = 186, NR_openat = 257,
       NR_faccessat = 269 };
#elif defined(__aarch64__)
enum { NR_close = 57, NR_getpid = 172, NR_fcntl = 25, NR_gettid = 178, NR_openat = 56,
       NR_faccessat = 48 };
#endif

enum { AT_FDCWD = -100, F_SETLK = 6, F_UNLCK = 2, EAGAIN = 11 };
enum { O_WRONLY_CREAT_CLOEXEC = 01 | 0100 | 02000000 };

static const char hold[] = "/etc/openclaw/hold", hold_still[] = "/etc/openclaw/hold-still";
static const char held[] = "/.held", lock[] = "/gateway-lifecycle.";
static const struct timespec between_looks = {0, 5 * 1000 * 1000};

static int lock_file = -1; /* of the main thread, and used by it alone */

static int is_main_thread(void) { return syscall(NR_getpid) == syscall(NR_gettid); }

static int exists(const char *file) {
  return syscall(NR_faccessat, (long)AT_FDCWD, file, 0L) == 0;
}

static int is_lock(const char *path) {
  const char *name = path;
  for (; *path; path++)
    if (*path == '/')
      name = path;
  for (const char *wanted = lock; *wanted; wanted++)
    if (*name++ != *wanted)
      return 0;
  return 1;
}

static void say_held(void) {
  char file[4096];
  size length = 0;
  const char *state = getenv("OPENCLAW_STATE_DIR");
  for (; state && *state && length < sizeof file - sizeof held; state++)
    file[length++] = *state;
  for (size at = 0; at < sizeof held; at++)
    file[length++] = held[at];
  const long made = syscall(NR_openat, (long)AT_FDCWD, file, (long)O_WRONLY_CREAT_CLOEXEC, 0600L);
  if (made >= 0)
    syscall(NR_close, made);
}

int open(const char *path, int flags, unsigned mode) {
  const int takes_lock = is_lock(path) && is_main_thread();
  if (takes_lock && exists(hold) && exists(hold_still)) {
    say_held();
    while (exists(hold))
      nanosleep(&between_looks, 0);
  }
  const int file = (int)syscall(NR_openat, (long)AT_FDCWD, path, (long)flags, (long)mode);
  if (takes_lock)
    lock_file = file;
  return file;
}

int open64(const char *path, int flags, unsigned mode) __attribute__((alias("open")));

int fcntl(int file, int command, void *argument) {
  if (command == F_SETLK && file == lock_file && *(short *)argument != F_UNLCK &&
      is_main_thread() && exists(hold)) {
    *__errno_location() = EAGAIN;
    return -1;
  }
  return (int)syscall(NR_fcntl, (long)file, (long)command, argument);
}

int close(int file) {
  if (file == lock_file && is_main_thread())
    lock_file = -1; /* the number is used again, for another file */
  return (int)syscall(NR_close, (long)file);
}

int fcntl64(int file, int command, void *argument) __attribute__((alias("fcntl")));
