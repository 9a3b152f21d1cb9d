/**
 * Identities for tests, in temporary folders of the scope, and authorities over them with a clock
 * that the test sets. Owns the folders.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, systemClock } from '../../base/clock.ts';
import { silentLogger } from '../../base/log.ts';
import {
  loadIdentity,
  type NodeIdentity,
  PeerAuthority,
  PinStore,
} from '../../controller/identity/index.ts';
import type { Scope } from './scope.ts';

/** 2026-01-01, so that tests do not depend on the day. */
export const startMs = 1_767_225_600_000;

export function temporaryFolder(scope: Scope): string {
  const folder = mkdtempSync(join(tmpdir(), 'evio-identity-'));
  scope.defer(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export const load = (stateDirectory: string): Promise<NodeIdentity> =>
  loadIdentity({ stateDirectory, expectedNode: null, nowMs: startMs });

/** A wall clock that stands until it is set. */
export interface SetClock extends Clock {
  wallMs: number;
}
export const setClock = (): SetClock => {
  const clock = { ...systemClock, wallMs: startMs, wallNow: () => clock.wallMs };
  return clock;
};

export interface TestAuthority {
  readonly identity: NodeIdentity;
  readonly authority: PeerAuthority;
  readonly pins: PinStore;
  readonly clock: SetClock;
}

export async function makeAuthority(scope: Scope): Promise<TestAuthority> {
  const stateDirectory = temporaryFolder(scope);
  const clock = setClock();
  const identity = await load(stateDirectory);
  const wallNow = (): number => clock.wallNow();
  const pins = await PinStore.open({ stateDirectory, log: silentLogger, wallNow });
  scope.defer(() => pins.flush());
  return {
    identity,
    clock,
    pins,
    authority: new PeerAuthority({
      identity,
      clock,
      trust: () => pins,
      certificate: () => identity.certificateDer,
    }),
  };
}
