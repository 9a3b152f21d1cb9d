/**
 * The CNI plugin as the controller runs it: opens the state, brings it together with the kernel, now
 * and every minute, and answers calls. Owns the lifetime of all that.
 */
import { join } from 'node:path';
import { type Clock, every } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Exec } from '../base/exec.ts';
import type { OverlayId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { CniRequest } from '../controller/local-api/schema.ts';
import { isNetns, readBootId, setMtu } from './attach.ts';
import { type AttachmentRecord, AttachmentStore } from './ipam.ts';
import type { PodNetworks } from './network.ts';
import { type CniAnswer, Skeleton } from './skel.ts';
import { reconcile, type VerbDeps } from './verbs.ts';

export type { PodNetwork, PodNetworks, PodRange } from './network.ts';
export type { CniAnswer } from './skel.ts';

/** Namespaces may end without DEL (a runtime that was killed): they are looked for so often. */
const reconcileEveryMs = 60_000;

export interface CniDeps {
  readonly exec: Exec;
  readonly clock: Clock;
  readonly log: Logger;
  readonly networks: PodNetworks;
  readonly stateDirectory: string;
}

export interface Cni {
  /** Takes back what a crash left. */
  start(): Promise<void>;
  stop(): Promise<void>;
  answer(request: CniRequest, signal: AbortSignal): Promise<CniAnswer>;
  /** How many pods are attached to an overlay. */
  count(overlay: OverlayId): number;
  /** The host of an overlay was set up: what is attached is looked after. */
  tidy(): void;
  /** Gives the attached pods of an overlay another MTU. */
  setMtu(overlay: OverlayId, mtu: number): Promise<void>;
}

export function createCni(deps: CniDeps): Cni {
  const { exec, log, clock } = deps;
  const store = new AttachmentStore(join(deps.stateDirectory, 'cni'), log);
  const verbs: VerbDeps = {
    exec,
    clock,
    log,
    store,
    networks: deps.networks,
    bootId: readBootId(),
  };
  const skeleton = new Skeleton(verbs);
  const over = new AbortController();
  const live = (overlay: OverlayId): readonly AttachmentRecord[] =>
    store.list().filter((each) => each.overlay === overlay && each.state === 'ready');
  let work: Promise<unknown> = Promise.resolve();
  const tidy = (): Promise<unknown> => {
    work = work
      .then(() => reconcile(verbs, (key) => skeleton.isBusy(key)))
      .catch((error: unknown) =>
        log.warn('attachments not reconciled', { error: messageOf(error) }),
      );
    return work;
  };
  return {
    async start() {
      await tidy();
      every(clock, reconcileEveryMs, over.signal, () => void tidy());
    },
    async stop() {
      over.abort();
      await work;
    },
    answer: (request, signal) => skeleton.answer(request, signal),
    tidy: () => void tidy(),
    count: (overlay) => live(overlay).length,
    async setMtu(overlay, mtu) {
      for (const record of live(overlay)) {
        if (record.mtu === mtu || !isNetns(record.netns)) continue;
        try {
          await setMtu(exec, record, mtu);
          if (store.get(record.key)?.state === 'ready') store.put({ ...record, mtu });
        } catch (error) {
          log.warn('mtu of a pod not set', {
            device: record.hostInterface,
            mtu,
            error: messageOf(error),
          });
        }
      }
    },
  };
}
