/**
 * A cable that loses and reorders: two bridges in a namespace `mid`, their frames carried in user
 * space by socat and `wobbly-hop.ts` (this kernel need not have netem). Owns that namespace.
 *
 *   a ── brm0 ── tapm0 ── socat ── wobbly-hop ── socat ── tapm1 ── brm1 ── b
 */
import { join } from 'node:path';
import type { Lab, Plug } from './netns.ts';

export interface Wobble {
  readonly lossPercent: number;
  /** So many frames of 100 come up to `lateMs` later than those sent after them. */
  readonly latePercent: number;
  readonly lateMs: number;
}

/** Puts the cable between two plugs that are not connected yet. */
export async function wobblyCable(
  lab: Lab,
  plugs: readonly [Plug, Plug],
  wobble: Wobble,
): Promise<void> {
  await lab.namespace('mid');
  for (const [n, plug] of plugs.entries()) {
    await lab.bridge('mid', `brm${n}`);
    await lab.cable({ ns: 'mid', dev: `port${n}`, bridge: `brm${n}` }, plug);
    lab.spawn('mid', [
      ...['socat', '-b65536', `TUN,tun-type=tap,tun-name=tapm${n},iff-no-pi,iff-up`],
      `UDP4:127.0.0.1:${7_000 + n},bind=127.0.0.1:${7_100 + n}`,
    ]);
    await lab.waitDevice('mid', `tapm${n}`);
    await lab.ip('mid', `link set tapm${n} master brm${n}`);
  }
  const { lossPercent, latePercent, lateMs } = wobble;
  const numbers = [7_000, 7_001, 7_100, 7_101, lossPercent, latePercent, lateMs];
  const program = join(import.meta.dirname, 'wobbly-hop.js');
  await lab.spawn('mid', [process.execPath, program, ...numbers.map(String)]).waitLog('carrying');
}
