/**
 * Whether the network of this host has changed in a way that matters to paths: its addresses or its
 * default routes. Owns the watch on the kernel and the comparison; decides nothing about sessions.
 */
import { readFileSync } from 'node:fs';
import { type Clock, every } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { hostAddresses } from '../ice/addresses.ts';
import { defaultRoutes4, defaultRoutes6 } from './core/routes.ts';

/** One change is some events: address, routes, neighbours. It is looked at when they have settled. */
const settleMs = 100;
/** For a kernel that tells nothing (no netlink in a sandbox). */
const pollMs = 2_000;

/** Calls on any event of links, addresses or routes; returns what ends it. */
export type KernelEvents = (call: () => void) => () => void;

export interface NetworkWatchDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly kernelEvents: KernelEvents;
  readonly ignoredInterfaces: () => readonly string[];
  readonly onChanged: () => void;
}

/** Watches until the signal aborts. */
export function watchNetwork(deps: NetworkWatchDeps): void {
  const { clock, log, signal, onChanged } = deps;
  let known = fingerprint(deps.ignoredInterfaces());
  const look = (): void => {
    const found = fingerprint(deps.ignoredInterfaces());
    if (found === known) return;
    known = found;
    onChanged();
  };
  let settling = false;
  const event = (): void => {
    if (settling) return;
    settling = true;
    clock.after(settleMs, signal, () => {
      settling = false;
      look();
    });
  };
  try {
    const stop = deps.kernelEvents(event);
    signal.addEventListener('abort', stop, { once: true });
  } catch (error) {
    log.warn('network changes are polled', { reason: messageOf(error) });
    every(clock, pollMs, signal, look);
  }
}

/** Addresses that could be candidates, and default routes: equal texts mean that nothing changed. */
function fingerprint(ignored: readonly string[]): string {
  const routes = [
    ...defaultRoutes4(read('/proc/net/route')),
    ...defaultRoutes6(read('/proc/net/ipv6_route')),
  ];
  return [...hostAddresses(ignored, false), ...routes].sort().join('\n');
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // a kernel without that family
  }
}
