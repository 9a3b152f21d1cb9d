/**
 * Two tunnel processes with a router between them, whose MTU and rules a test may change:
 *
 *   [a: ev-test 10.77.0.1] 198.18.1.2 ── 198.18.1.1 [r] 198.18.2.1 ── 198.18.2.2 [b: ev-test 10.77.0.2]
 *
 * Owns the wiring and the carrying of descriptions; the MTU of the TAPs is set by `followMtu`, in the
 * place of the controller.
 */
import type { IceServers, Params, SessionStatus } from '../../tincan-bridge/protocol/schema.ts';
import { type BridgeProcess, startOnline, startTurn, tap } from './bridge-process.ts';
import type { T } from './harness.ts';
import { createLab, type Lab } from './netns.ts';

export interface PairOptions {
  /** Nothing passes but through a TURN server in the middle. */
  readonly relay?: boolean;
  readonly family?: 4 | 6;
  readonly open?: Partial<Params<'open'>>;
}

export interface RoutedPair {
  readonly lab: Lab;
  readonly bridges: readonly [BridgeProcess, BridgeProcess];
  /** The session as a (0) or b (1) has it, and the MTU that the process asks the host for. */
  session(side: 0 | 1): Promise<SessionStatus & { readonly hostMtu: number }>;
  /** Sets the MTUs of the TAPs to what the processes say. */
  followMtu(): Promise<number>;
  /** Both ends of a leg's cable, at the router only when `routerOnly`. */
  setMtu(leg: 'a' | 'b', mtu: number): Promise<void>;
}

const legs = { a: 1, b: 2 } as const;

export async function startRoutedPair(t: T, options: PairOptions = {}): Promise<RoutedPair> {
  const { relay = false, family = 4, open = {} } = options;
  const lab = await createLab(t, { ipv6: true });
  await lab.namespace('r');
  for (const leg of ['a', 'b'] as const) await addLeg(lab, leg, family);
  const forward = relay ? 0 : 1;
  await lab.sysctl('r', {
    'net.ipv4.ip_forward': forward,
    'net.ipv6.conf.all.forwarding': forward,
  });
  if (relay) await startTurn(t, lab.fullName('r'), ['198.18.1.1', '198.18.2.1']);
  const bridges = await startOnline(
    t,
    [lab.fullName('a'), lab.fullName('b')],
    [serversOf('a', relay), serversOf('b', relay)],
    open,
  );
  const status = (n: 0 | 1) => bridges[n].client.call('status', {}, 10_000);
  return {
    lab,
    bridges,
    session: async (side) => {
      const { mtu: hostMtu, sessions } = await status(side);
      const [session] = sessions;
      if (session === undefined) throw new Error('no session');
      return { ...session, hostMtu };
    },
    followMtu: async () => {
      const mtus = [(await status(0)).mtu, (await status(1)).mtu] as const;
      await lab.ip('a', `link set ${tap} mtu ${mtus[0]}`);
      await lab.ip('b', `link set ${tap} mtu ${mtus[1]}`);
      return Math.min(...mtus);
    },
    setMtu: (leg, mtu) => lab.ip('r', `link set leg-${leg} mtu ${mtu}`),
  };
}

async function addLeg(lab: Lab, leg: 'a' | 'b', family: 4 | 6): Promise<void> {
  await lab.namespace(leg);
  const n = legs[leg];
  const prefix = family === 4 ? `198.18.${n}.` : `2001:db8:${n}::`;
  const length = family === 4 ? 24 : 64;
  await lab.cable(
    { ns: 'r', dev: `leg-${leg}`, addresses: [`${prefix}1/${length}`] },
    { ns: leg, dev: 'eth0', addresses: [`${prefix}2/${length}`] },
  );
  await lab.ip(leg, `route add default via ${prefix}1`);
  await lab.ip(
    leg,
    `tuntap add dev ${tap} mode tap vnet_hdr
link set ${tap} mtu 1420 up
addr add 10.77.0.${n}/24 dev ${tap}
addr add fd77::${n}/64 dev ${tap}`,
  );
}

function serversOf(leg: 'a' | 'b', relay: boolean): IceServers {
  if (!relay) return { stun: [], turn: [] };
  const server = { host: `198.18.${legs[leg]}.1`, port: 3_478 };
  return {
    stun: [server],
    turn: [{ ...server, transport: 'udp', user: 'u', password: 'p' }],
  };
}
