/*
 * Lets a gateway's timers stand still while it is frozen.
 *
 * The kernel's monotonic clock runs on while a container is paused, so that at the thaw every timer
 * of the gateway is due at once: it starts on all its chores before it answers, and ends its worker
 * threads, which the next message then waits for. Here an event loop's time is that in which the
 * process could run, as on a laptop that was closed. The clocks that programs read (Date,
 * performance.now, process.hrtime) tell the truth; what is scheduled by them, such as OpenClaw's
 * jobs, is armed anew when its suspension ends.
 *
 * libuv takes a loop's time, and only that, from CLOCK_MONOTONIC_COARSE where this is exact to a
 * millisecond (its src/unix/linux.c, uv__hrtime). We say that it is, and answer for it.
 *
 * Frozen is a process whose own beat stops. One that gets no CPU for as long is taken for frozen
 * too: its timers come late, by the time in which none of them could have run.
 */

struct timespec {
  long seconds, nanoseconds;
};
typedef int clock_reader(int clock, struct timespec *time);

extern long syscall(long number, ...);
extern void *dlsym(void *handle, const char *name);
extern int nanosleep(const struct timespec *duration, struct timespec *left);
extern int pthread_create(unsigned long *thread, const void *attributes, void *(*run)(void *),
                          void *argument);
extern int pthread_detach(unsigned long thread);
extern int pthread_sigmask(int how, const void *set, void *before);

enum { CLOCK_MONOTONIC = 1, CLOCK_MONOTONIC_COARSE = 6, SIG_SETMASK = 2 };

#if defined(__x86_64__)
enum { NR_clock_gettime = 228, NR_clock_getres = 229 };
#elif defined(__aarch64__)
enum { NR_clock_gettime = 113, NR_clock_getres = 114 };
#endif

static void *const next_library = (void *)-1; /* RTLD_NEXT */
static const long second = 1000000000;
static const long frozen_after = second;
static const struct timespec between_beats = {0, 250 * 1000 * 1000};

static clock_reader *without_syscall;
static int claimed, begun, settling;
static long last_beat;   /* changed after `stood_still`, so that who sees it sees both */
static long stood_still; /* nanoseconds in all */

static int read_clock(int clock, struct timespec *time) {
  if (without_syscall)
    return without_syscall(clock, time);
  return (int)syscall(NR_clock_gettime, (long)clock, time);
}

static long monotonic(void) {
  struct timespec time;
  read_clock(CLOCK_MONOTONIC, &time);
  return time.seconds * second + time.nanoseconds;
}

static long get(long *value) { return __atomic_load_n(value, __ATOMIC_ACQUIRE); }

static void set(long *value, long to) { __atomic_store_n(value, to, __ATOMIC_RELEASE); }

/*
 * Add a freeze that just ended to what stood still; once, whoever notices it first. It began up to
 * a beat after the last one: counted from there, time does not go back.
 */
static void settle(void) {
  while (__atomic_exchange_n(&settling, 1, __ATOMIC_ACQUIRE))
    ;
  const long now = monotonic(), missed = now - get(&last_beat);
  if (missed > frozen_after) {
    set(&stood_still, get(&stood_still) + missed - between_beats.nanoseconds);
    set(&last_beat, now);
  }
  __atomic_store_n(&settling, 0, __ATOMIC_RELEASE);
}

/* The time in which this process was not frozen. It may be frozen between any two lines here. */
static long awake(void) {
  for (;;) {
    const long before = get(&stood_still), now = monotonic(), beat = get(&last_beat);
    if (now - beat > frozen_after)
      settle();
    else if (now >= beat && before == get(&stood_still))
      return now - before;
  }
}

static void *keep_beating(void *nothing) {
  for (;;) {
    nanosleep(&between_beats, 0);
    awake();
    long beat = get(&last_beat), now = monotonic();
    if (now > beat && now - beat <= frozen_after)
      __atomic_compare_exchange_n(&last_beat, &beat, now, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
  }
  return nothing;
}

/* At a process's first event loop: what has none needs no beat. */
static void begin(void) {
  if (__atomic_exchange_n(&claimed, 1, __ATOMIC_ACQ_REL))
    return;
  without_syscall = (clock_reader *)dlsym(next_library, "clock_gettime");
  set(&last_beat, monotonic());
  unsigned long all[16], before[16], thread; /* a sigset_t is 128 bytes */
  for (int word = 0; word < 16; word++)
    all[word] = ~0UL;
  pthread_sigmask(SIG_SETMASK, all, before); /* signals are for the gateway's own threads */
  if (pthread_create(&thread, 0, keep_beating, 0) == 0) {
    pthread_detach(thread);
    __atomic_store_n(&begun, 1, __ATOMIC_RELEASE);
  }
  pthread_sigmask(SIG_SETMASK, before, 0);
}

int clock_getres(int clock, struct timespec *resolution) {
  if (clock != CLOCK_MONOTONIC_COARSE)
    return (int)syscall(NR_clock_getres, (long)clock, resolution);
  begin();
  if (resolution)
    *resolution = (struct timespec){0, 1};
  return 0;
}

int clock_gettime(int clock, struct timespec *time) {
  const int ours = clock == CLOCK_MONOTONIC_COARSE && __atomic_load_n(&begun, __ATOMIC_ACQUIRE);
  if (!ours)
    return read_clock(clock, time);
  const long now = awake();
  *time = (struct timespec){now / second, now % second};
  return 0;
}
