/**
 * CHECK of the CNI specification: whether an attachment is as the result of its ADD says. Owns what
 * is compared; changes nothing.
 */
import { checkNetns, defaultRoutesIn, linkIn } from './attach.ts';
import { CniError } from './cni-error.ts';
import { delegate } from './delegate.ts';
import type { PluginResult } from './schema.ts';
import { callOf, delegatedType, keyOf, type VerbCall, type VerbDeps } from './verbs.ts';

/** Throws what differs between the result of ADD and what is there. */
export async function check(deps: VerbDeps, call: VerbCall): Promise<void> {
  const { conf, ifname, netns } = call;
  const expected = conf.prevResult ?? null;
  if (expected === null) throw new CniError('invalid-config', 'prevResult: is required for CHECK');
  checkNetns(netns);
  const key = keyOf(conf.name, call.containerId, ifname);
  const record = deps.store.get(key);
  if (record === undefined) throw differs(`container ${call.containerId} is not attached`);
  const [host, inside] = await Promise.all([
    linkIn(deps.exec, '', record.hostInterface),
    linkIn(deps.exec, netns, ifname),
  ]);
  if (host === null) throw differs(`interface ${record.hostInterface} is not on the host`);
  if (host.master !== record.bridge) {
    throw differs(`interface ${record.hostInterface} is not a port of ${record.bridge}`);
  }
  if (inside === null) throw differs(`interface ${ifname} is not in ${netns}`);
  if (inside.flags?.includes('UP') !== true) throw differs(`interface ${ifname} is down`);
  if (inside.address !== record.mac)
    throw differs(`interface ${ifname} has mac ${inside.address}, not ${record.mac}`);
  const present = new Set(inside.addr_info?.map((a) => `${a.local}/${a.prefixlen}`));
  for (const { address } of ownIps(expected, ifname)) {
    if (!present.has(address))
      throw differs(`interface ${ifname} does not have address ${address}`);
  }
  for (const { gateway } of record.addresses) {
    const routes = await defaultRoutesIn(deps.exec, netns, gateway.includes(':') ? 6 : 4);
    if (!routes.some((route) => route.gateway === gateway))
      throw differs(`no default route via ${gateway}`);
  }
  const type = delegatedType(conf);
  if (type !== null) await delegate(type, callOf('CHECK', call), call.config);
}

const differs = (what: string): CniError => new CniError('check-failed', what);

/** The addresses of a result that are of our interface: others of the chain may have added theirs. */
function ownIps(result: PluginResult, ifname: string): readonly { readonly address: string }[] {
  const index = result.interfaces?.findLastIndex(
    (each) => each.name === ifname && (each.sandbox ?? '') !== '',
  );
  return (result.ips ?? []).filter((ip) => ip.interface === undefined || ip.interface === index);
}
