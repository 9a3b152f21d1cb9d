/** All timeouts of the link manager on one page, and why. */

/**
 * From spawn to serving: node's start, the import of the ICE agent (0.3 s of a processor), the TAP. Of
 * silence as `patience.ts` counts it: to begin anew would take longer.
 */
export const startTimeoutMs = 20_000;
/** How often the tunnel process is looked at, and asked for a sign of life. Its threads forward without it. */
export const lookPeriodMs = 1_000;
/**
 * Of silence after a question, counted the same way. A JavaScript thread that needs longer is stuck:
 * garbage collection takes tens of milliseconds.
 */
export const hungMs = 6_000;
/** Of calls whose silence is watched by these two: longer than either can take. */
export const watchedCallMs = 1_200_000;
/** First wait before a new start; the data path stands still meanwhile. */
export const restartFirstMs = 100;
/** Longest wait: a process that cannot start must not fill the log. */
export const restartCapMs = 10_000;
/** A process that served this long has earned a fresh backoff. */
export const stableMs = 30_000;
/** Any other call: table work and status only. */
export const callTimeoutMs = 3_000;
/** For the orderly end of the process; then SIGKILL. */
export const closeTimeoutMs = 3_000;
/** Descriptions of peers that are not wanted yet are kept this long: wishes follow presence. */
export const earlyDescriptionMs = 30_000;
/** And so many of them. */
export const maxEarlyDescriptions = 256;
/** A message in-band is acknowledged by the peer's process, repeated and given up within 8 s. */
export const inBandTimeoutMs = 10_000;
/** Messages in-band that wait for one peer; more are refused, and wait for the server instead. */
export const maxInBandWaiting = 16;
/** Changes of the member list within this time are told as one: a login brings everybody. */
export const membersDelayMs = 50;
/** How often traffic is looked at; on-demand links follow it, and they stand for minutes. */
export const trafficPeriodMs = 10_000;
