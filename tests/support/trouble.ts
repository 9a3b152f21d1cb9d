/**
 * Trouble on the way: loss and cut paths, by nftables on the receiving side. Owns one table,
 * `trouble`, per namespace; never delays or reorders (this kernel need not have netem).
 */
import type { Lab } from './netns.ts';

/** Which packets, in nftables' words: `meta l4proto udp`, `ip saddr 10.99.0.3`. */
export interface Trouble {
  readonly match: string;
  /** Of 100; 100 cuts the path. */
  readonly lossPercent: number;
}

/** Drops what arrives at (or passes through) a namespace; replaces earlier trouble there. */
export async function makeTrouble(
  lab: Lab,
  ns: string,
  troubles: readonly Trouble[],
): Promise<void> {
  const rules = troubles.map(({ match, lossPercent }) =>
    lossPercent >= 100
      ? `${match} drop`
      : `${match} numgen random mod 1000 < ${Math.round(lossPercent * 10)} drop`,
  );
  // Before routing, so that one chain sees both what is for the namespace and what passes it.
  await lab.nft(
    ns,
    `table inet trouble
delete table inet trouble
table inet trouble {
  chain arriving {
    type filter hook prerouting priority -300;
    ${rules.join('\n    ')}
  }
}`,
  );
}

export const endTrouble = (lab: Lab, ns: string): Promise<void> => makeTrouble(lab, ns, []);
