/**
 * Ours, by its command line: direct over the measured cable, and relayed by coturn on the control
 * segment. Owns the XMPP server and the relay that it needs; their processor time is not counted.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createCa } from '../../support/ca.ts';
import { type Coturn, startCoturn } from '../../support/coturn.ts';
import { startNode } from '../../support/node.ts';
import { startProsody } from '../../support/prosody.ts';
import { evioLauncher } from '../../support/repository.ts';
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
  missing,
  install: { kind: 'nothing' },
  start: (pair) => start(pair, 'turn'),
};

async function start(pair: Pair, path: 'direct' | 'turn'): Promise<Running> {
  const { lab, pub } = pair;
  const ca = await createCa(join(lab.folder, 'evio-ca'));
  const prosody = await startProsody(lab, {
    ...pub,
    ca,
    users: { a: 'secret-a', b: 'secret-b' },
    groups: { lab: ['a', 'b'] },
  });
  const coturn = path === 'turn' ? await startCoturn(lab, pub) : undefined;
  if (path === 'turn') await onlyRelayed(pair);
  const nodes = ends(pair).map(([here]) =>
    startNode(lab, {
      ns: here.ns,
      name: here.ns,
      address: here.overlay,
      xmpp: { ...prosody, password: `secret-${here.ns}`, caFile: ca.certFile },
      logLevel: 'warn',
      ...servers(coturn),
      config: { LinkManager: { IgnoredNetInterfaces: [path === 'turn' ? 'eth0' : 'ctl0'] } },
    }),
  );
  const [a, b] = nodes;
  if (a === undefined || b === undefined) throw new Error('two ends');
  await Promise.all([a.waitUp('b', 30_000, new RegExp(path)), b.waitUp('a')]);
  return {
    addresses: { a: a.address, b: b.address },
    pids: { a: [a.pid], b: [b.pid] },
    async stop() {
      await Promise.all(nodes.map((node) => node.stop()));
      await prosody.stop();
      await coturn?.stop();
      if (path === 'turn') for (const ns of ['a', 'b']) await lab.nft(ns, 'delete table ip only');
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

/** UDP of each end may go to the relay only. */
async function onlyRelayed({ lab, pub }: Pair): Promise<void> {
  for (const ns of ['a', 'b']) {
    const rule = `ip daddr != { ${pub.address}, 10.77.0.0/24 } meta l4proto udp drop`;
    const chain = `chain out { type filter hook output priority 0; ${rule}; }`;
    await lab.nft(ns, `table ip only { ${chain}; }`);
  }
}
