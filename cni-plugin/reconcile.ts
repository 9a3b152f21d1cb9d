/**
 * Records and kernel brought together: GC of the CNI specification, and what the controller does by
 * itself, at its start and each minute. Owns which attachment is dead; an attachment that a call
 * works on is left to it.
 */
import { detach, hostLinks, type IpLink, isNetns, join } from './attach.ts';
import { toCniError } from './cni-error.ts';
import { delegate } from './delegate.ts';
import { callOf, delegatedType, keyOf, release, type VerbCall, type VerbDeps } from './verbs.ts';

/** Releases what is not among the valid attachments. Without a list only what is dead goes. */
export async function collect(
  deps: VerbDeps,
  call: VerbCall,
  isBusy: (key: string) => boolean,
): Promise<void> {
  const { conf } = call;
  const given = conf['cni.dev/valid-attachments'] ?? conf['cni.dev/attachments'] ?? null;
  const valid =
    given === null ? null : new Set(given.map((a) => keyOf(conf.name, a.containerID, a.ifname)));
  const failures: unknown[] = [];
  if (valid !== null) {
    for (const record of deps.store.list().filter((each) => each.network === conf.name)) {
      if (valid.has(record.key) || isBusy(record.key)) continue;
      await release(deps, record, null).catch((error: unknown) => failures.push(error));
    }
  }
  await reconcile(deps, isBusy);
  const type = delegatedType(conf);
  if (type !== null && valid !== null) await delegate(type, callOf('GC', call), call.config);
  if (failures.length > 0) throw failures[0];
}

/**
 * Brings records and kernel together: frees what ADD had begun when we ended, and what no namespace
 * holds any more; removes interfaces of ours that nobody knows. Returns how many were released.
 * A record lives as long as its interface or its namespace is there.
 */
export async function reconcile(deps: VerbDeps, isBusy: (key: string) => boolean): Promise<number> {
  const links = await hostLinks(deps.exec);
  const present = new Set(links.map(({ ifname }) => ifname));
  let released = 0;
  for (const record of deps.store.list()) {
    if (isBusy(record.key)) continue;
    const isOfThisBoot = record.bootId === deps.bootId;
    const isBegun = record.state === 'adding';
    const lives = isOfThisBoot && (present.has(record.hostInterface) || isNetns(record.netns));
    if (lives && !isBegun) continue;
    try {
      await release(deps, record, null);
      released += 1;
      deps.log.info('attachment released', {
        device: record.hostInterface,
        name: record.pod?.name ?? record.containerId,
        reason: isBegun ? 'it was never answered' : 'its namespace is gone',
      });
    } catch (error) {
      deps.log.warn('attachment not released', {
        device: record.hostInterface,
        error: toCniError(error).message,
      });
    }
  }
  await putBack(deps, links);
  const known = new Set(deps.store.list().map(({ hostInterface }) => hostInterface));
  for (const { ifname, ifalias } of links) {
    const key = /^evio:cni:([0-9a-f]{64})$/.exec(ifalias ?? '')?.[1];
    if (key === undefined || known.has(ifname) || isBusy(key) || deps.store.get(key) !== undefined)
      continue;
    await detach(deps.exec, ifname);
    deps.log.info('interface of no attachment removed', { device: ifname });
  }
  return released;
}

/** A bridge that was removed and made again has lost its ports: the pods' are put back. */
async function putBack(deps: VerbDeps, links: readonly IpLink[]): Promise<void> {
  for (const { hostInterface, bridge } of deps.store.list()) {
    const link = links.find(({ ifname }) => ifname === hostInterface);
    if (link === undefined || link.master === bridge) continue;
    try {
      await join(deps.exec, hostInterface, bridge);
      deps.log.info('interface put back on its bridge', { device: hostInterface });
    } catch (error) {
      // The bridge may not be there yet; the next time it is.
      deps.log.debug('interface not put back', {
        device: hostInterface,
        error: toCniError(error).details,
      });
    }
  }
}
