/**
 * Trying again what a changing network broke off. When a computer joins another Wi-Fi, a VPN starts or
 * a container gets its address, Chromium ends each request that still waits for a connection, with
 * ERR_NETWORK_CHANGED.
 */

/** Before the second, third and fourth try: shorter than a person takes to reload. */
export const WAITS_MS: readonly number[] = [200, 800, 2_000];

/** The result of `task`, which may be started several times; its last error if each try failed. */
export async function again<T>(
  task: () => Promise<T>,
  waits: readonly number[] = WAITS_MS,
): Promise<T> {
  for (const wait of waits) {
    try {
      return await task();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  return task();
}
