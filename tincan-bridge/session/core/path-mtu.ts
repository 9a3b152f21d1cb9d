/**
 * How large a frame the path in use carries: found out by probes of exactly that size (RFC 8899), so
 * that a narrow path is noticed whether or not ICMP comes back. Owns the search; what it sends is a
 * padded ping and, right behind it, a small one: when only the small one is answered, the size is at
 * fault and not the path. Pure. Sizes are Ethernet frames, header included.
 */
import { type Step, step } from '../../../base/machine.ts';
import { ethernetHeaderBytes } from './path.ts';

/** Misses that prove it: with 5 % of random loss, one wrong verdict in 160 000. */
const missesAllowed = 4;
/** Between two tries: longer than a burst that fills a queue. */
const spacingMs = 100;
/** A large ping may be overtaken by the small one behind it. */
const graceMs = 40;
/** Neither answered for this long says nothing about sizes. */
const silentMs = 1_000;
/** A size that carries nothing now is looked at this often; one that does, at each tick. */
const idleCheckMs = 30_000;
/** A larger size is tried again after this: the kernel forgets what ICMP said after 10 minutes. */
export const raiseMs = 11 * 60_000;

/**
 * Sizes to fall back to at once: the smallest MTU of IPv6 inside, and the smallest datagram that DTLS
 * and ICE needed to get here (1200 bytes of UDP payload). Between them and the failed one is searched.
 */
export const safeFrames: readonly number[] = [1_280 + ethernetHeaderBytes, 1_162];

interface Probe {
  readonly bytes: number;
  readonly misses: number;
  readonly sentMs: number;
  readonly smallMs: number | null;
}

export interface PathMtu {
  /** What the kind of the path allows at most. */
  readonly most: number;
  /** Frames of at most this size are sent. */
  readonly fits: number;
  /** Smallest size that is known not to pass. */
  readonly failed: number;
  readonly probe: Probe | null;
  readonly checkAtMs: number;
  readonly raiseAtMs: number;
}

export type PathMtuInput =
  /** A new path. */
  | { readonly kind: 'begin'; readonly most: number }
  /** Once a second. `busy`: it carries traffic, or the kernel refused to send some. */
  | { readonly kind: 'tick'; readonly busy: boolean }
  | { readonly kind: 'passed'; readonly bytes: number }
  | { readonly kind: 'small-passed' }
  /** The kernel sends the small one, not the large one. */
  | { readonly kind: 'refused' }
  | { readonly kind: 'timer' };

export type PathMtuEffect =
  | { readonly kind: 'probe'; readonly bytes: number }
  | { readonly kind: 'timer'; readonly atMs: number }
  /** Frames above `bytes` are answered from now on. `settled`: the search has ended. */
  | { readonly kind: 'fits'; readonly bytes: number; readonly settled: boolean };

export type PathMtuStep = Step<PathMtu, PathMtuEffect>;

export const initialPathMtu: PathMtu = {
  most: 0,
  fits: 0,
  failed: 1,
  probe: null,
  checkAtMs: 0,
  raiseAtMs: 0,
};

export function nextPathMtu(state: PathMtu, input: PathMtuInput, nowMs: number): PathMtuStep {
  const { probe } = state;
  switch (input.kind) {
    case 'begin': {
      const { most } = input;
      return ask({ ...initialPathMtu, most, fits: most, failed: most + 1 }, most, nowMs);
    }
    case 'tick':
      return onTick(state, input.busy, nowMs);
    case 'passed':
      return probe !== null && input.bytes >= probe.bytes
        ? passed(state, probe.bytes, nowMs)
        : step(state);
    case 'refused':
      return probe === null ? step(state) : failed(state, probe.bytes, nowMs);
    case 'small-passed': {
      if (probe === null || probe.smallMs !== null) return step(state);
      const atMs = Math.max(nowMs + graceMs, probe.sentMs + spacingMs);
      return step({ ...state, probe: { ...probe, smallMs: nowMs } }, { kind: 'timer', atMs });
    }
    case 'timer':
      return onTimer(state, nowMs);
  }
}

function onTick(state: PathMtu, busy: boolean, nowMs: number): PathMtuStep {
  if (state.probe !== null || state.most === 0) return step(state);
  if (state.fits < state.most && nowMs >= state.raiseAtMs) {
    return ask({ ...state, failed: state.most + 1 }, state.most, nowMs);
  }
  return busy || nowMs >= state.checkAtMs ? ask(state, state.fits, nowMs) : step(state);
}

function onTimer(state: PathMtu, nowMs: number): PathMtuStep {
  const { probe } = state;
  if (probe === null) return step(state);
  if (probe.smallMs === null) {
    if (nowMs - probe.sentMs >= silentMs) return ask(state, probe.bytes, nowMs, probe.misses);
    return step(state, { kind: 'timer', atMs: probe.sentMs + silentMs });
  }
  const dueMs = Math.max(probe.smallMs + graceMs, probe.sentMs + spacingMs);
  if (nowMs < dueMs) return step(state, { kind: 'timer', atMs: dueMs });
  const misses = probe.misses + 1;
  return misses >= missesAllowed
    ? failed(state, probe.bytes, nowMs)
    : ask(state, probe.bytes, nowMs, misses);
}

function ask(state: PathMtu, bytes: number, nowMs: number, misses = 0): PathMtuStep {
  return step(
    { ...state, probe: { bytes, misses, sentMs: nowMs, smallMs: null } },
    { kind: 'probe', bytes },
    { kind: 'timer', atMs: nowMs + silentMs },
  );
}

function passed(state: PathMtu, bytes: number, nowMs: number): PathMtuStep {
  const fits = Math.max(state.fits, bytes);
  return search({ ...state, fits, failed: Math.max(state.failed, fits + 1) }, nowMs);
}

function failed(state: PathMtu, bytes: number, nowMs: number): PathMtuStep {
  if (state.fits < bytes) return search({ ...state, failed: bytes }, nowMs);
  const fits = safeFrames.find((safe) => safe < bytes);
  if (fits === undefined) return settle(state, nowMs); // below what brought us here: the path is ill
  const next = ask({ ...state, fits, failed: bytes }, fits, nowMs);
  return step(next.state, { kind: 'fits', bytes: fits, settled: false }, ...next.effects);
}

/** Halves what is unknown between a size that passes and one that does not. */
function search(state: PathMtu, nowMs: number): PathMtuStep {
  const { fits, failed: tooMuch } = state;
  if (fits + 1 >= tooMuch) return settle(state, nowMs);
  return ask(state, tooMuch > state.most ? state.most : (fits + tooMuch) >> 1, nowMs);
}

function settle(state: PathMtu, nowMs: number): PathMtuStep {
  const raised = state.fits < state.most && nowMs < state.raiseAtMs;
  return step(
    {
      ...state,
      probe: null,
      checkAtMs: nowMs + idleCheckMs,
      raiseAtMs: raised ? state.raiseAtMs : nowMs + raiseMs,
    },
    { kind: 'fits', bytes: state.fits, settled: true },
  );
}
