/**
 * A program that is the same at both ends: starts it, waits for its device, gives that address and
 * MTU. Owns the two processes; never knows which program it is.
 */
import type { Child } from '../../support/child.ts';
import { type End, ends, innerMtu, type Pair, type Running } from './program.ts';

export interface TwoEnds {
  /** The device that the program makes. */
  readonly dev: string;
  readonly argv: (here: End, there: End) => readonly string[];
  /** Inner MTU where the usual one would not fit into one datagram. */
  readonly mtu?: number;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Children that were started before and stop after the two ends (a supernode, say). */
export async function startTwoEnds(
  pair: Pair,
  { dev, argv, mtu = innerMtu, cwd, env }: TwoEnds,
  others: readonly Child[] = [],
): Promise<Running> {
  const { lab } = pair;
  const options = { ...(cwd === undefined ? {} : { cwd }), ...(env === undefined ? {} : { env }) };
  const pids: { a: number[]; b: number[] } = { a: [], b: [] };
  const children: Child[] = [];
  for (const [here, there] of ends(pair)) {
    const child = lab.spawn(here.ns, argv(here, there), options);
    children.push(child);
    pids[here.ns].push(child.pid);
  }
  for (const [index, [here]] of ends(pair).entries()) {
    await lab.waitDevice(here.ns, dev, '', 10_000).catch((error: unknown) => {
      throw new Error(`no ${dev} in ${here.ns}: ${children[index]?.log().slice(-1_000)}`, {
        cause: error,
      });
    });
    await lab.ip(
      here.ns,
      `link set ${dev} mtu ${mtu}
addr replace ${here.overlay}/24 dev ${dev}
link set ${dev} up`,
    );
  }
  return {
    addresses: { a: pair.a.overlay, b: pair.b.overlay },
    pids,
    async stop() {
      await Promise.all([...children, ...others].map((child) => child.stop(3_000)));
    },
  };
}
