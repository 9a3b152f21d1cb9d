/**
 * Ours, by its command line: direct over the measured cable, relayed by coturn on the control segment,
 * and through a third node there. Owns the XMPP server, the relay and that node; their processor time
 * is not counted.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createCa } from '../../support/ca.ts';
import { type Coturn, startCoturn } from '../../support/coturn.ts';
import { type EvioNode, startNode } from '../../support/node.ts';
import { startProsody } from '../../support/prosody.ts';
import { evioLauncher } from '../../support/repository.ts';
import type { Way } from '../results.ts';
import { ends, type Pair, type Program, type Running } from './program.ts';

const missing = (): string | null =>
  existsSync(evioLauncher) ? null : `${evioLauncher} is not there`;

export const evio: Program = {
  name: 'evio',
  missing,
  install: { kind: 'nothing' },
  start: (pair) => start(pair, 'direct'),
};

export const evioTurn: Program = {
  name: 'evio-turn',
  program: 'evio',
  way: 'turn',
  missing,
  install: { kind: 'nothing' },
  start: (pair) => start(pair, 'turn'),
};

export const evioRing: Program = {
  name: 'evio-ring',
  program: 'evio',
  way: 'ring',
  missing,
  install: { kind: 'nothing' },
  start: (pair) => start(pair, 'ring'),
};

const accounts = ['a', 'b', 'pub'];

async function start(pair: Pair, path: 'direct' | Way): Promise<Running> {
  const { lab, pub } = pair;
  const ca = await createCa(join(lab.folder, 'evio-ca'));
  const prosody = await startProsody(lab, {
    ...pub,
    ca,
    users: Object.fromEntries(accounts.map((name) => [name, `secret-${name}`])),
    groups: { lab: accounts },
  });
  const coturn = path === 'turn' ? await startCoturn(lab, pub) : undefined;
  if (path !== 'direct') await onlyOverPub(pair);
  const node = (ns: string, address: string, ignored: readonly string[]): EvioNode =>
    startNode(lab, {
      ns,
      name: ns,
      address,
      xmpp: { ...prosody, password: `secret-${ns}`, caFile: ca.certFile },
      logLevel: 'warn',
      ...servers(coturn),
      config: { LinkManager: { IgnoredNetInterfaces: ignored } },
    });
  const ignored = [path === 'direct' ? 'ctl0' : 'eth0'];
  const nodes = ends(pair).map(([here]) => node(here.ns, here.overlay, ignored));
  const between = path === 'ring' ? [node(pub.ns, '10.77.0.3', [])] : [];
  const [a, b] = nodes;
  if (a === undefined || b === undefined) throw new Error('two ends');
  const kind = new RegExp(path);
  await Promise.all([a.waitUp('b', 30_000, kind), b.waitUp('a', 30_000, kind)]);
  return {
    addresses: { a: a.address, b: b.address },
    pids: { a: [a.pid], b: [b.pid] },
    async stop() {
      await Promise.all([...nodes, ...between].map((each) => each.stop()));
      await prosody.stop();
      await coturn?.stop();
      if (path !== 'direct') for (const ns of ['a', 'b']) await lab.nft(ns, 'delete table ip only');
    },
  };
}

const servers = (coturn: Coturn | undefined) =>
  coturn === undefined
    ? {}
    : {
        stun: [coturn.endpoint],
        turn: [{ Address: coturn.endpoint, User: 'u', Password: 'p' }],
      };

/** UDP of each end may go to the public segment only. */
async function onlyOverPub({ lab, pub }: Pair): Promise<void> {
  for (const ns of ['a', 'b']) {
    const rule = `ip daddr != { ${pub.address}, 10.77.0.0/24 } meta l4proto udp drop`;
    const chain = `chain out { type filter hook output priority 0; ${rule}; }`;
    await lab.nft(ns, `table ip only { ${chain}; }`);
  }
}
