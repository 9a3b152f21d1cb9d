/**
 * One node that no other can reach, for what pods need of their own host alone: its namespace, its
 * controller, an XMPP server that is not there. Owns nothing beyond the lab.
 */
import { join } from 'node:path';
import { callCni, makePod, type Outcome } from './cni.ts';
import { createLab, type Lab } from './netns.ts';
import { type EvioNode, startNode } from './node.ts';
import { type Scope, waitFor } from './scope.ts';

export interface LoneNode {
  readonly lab: Lab;
  readonly node: EvioNode;
  /** Configuration of the plugin for it. */
  conf(more?: object): object;
  /** A call with the configuration `conf()`, for the pod of that name. */
  call(command: string, pod: string, more?: object, signal?: AbortSignal): Promise<Outcome>;
  pod(name: string): Promise<void>;
  waitReady(): Promise<void>;
  /** Our interfaces on the host. */
  interfaces(): Promise<readonly string[]>;
}

/** Started, and able to attach pods. `prepare` makes more of its namespace, `host`, before. */
export async function startLoneNode(
  scope: Scope,
  cni: Readonly<Record<string, unknown>>,
  prepare: (lab: Lab) => Promise<void> = async () => {},
): Promise<LoneNode> {
  const lab = await createLab(scope, { ipv6: true });
  await lab.namespace('host');
  await prepare(lab);
  const node = startNode(lab, {
    ns: 'host',
    name: 'alone',
    address: '10.77.0.1',
    address6: 'fd77::1',
    provider: 'LXBR',
    xmpp: { address: '127.0.0.1', port: 5_222, domain: 'lab.test', password: 'x' },
    config: { Cni: { Overlays: { lab: cni } } },
  });
  const conf = (more: object = {}): object => ({
    cniVersion: '1.1.0',
    name: 'evio',
    type: 'evio-cni',
    socket: join(node.folder, 'run', 'controller.sock'),
    ...more,
  });
  const waitReady = async (): Promise<void> => {
    let last = '';
    await waitFor(
      'pods can be attached',
      async () => {
        const outcome = await callCni({ command: 'STATUS', config: conf() });
        last = outcome.text;
        return outcome.status === 0;
      },
      { timeoutMs: 60_000, stepMs: 100, context: () => `${last}\n${node.log().slice(-4_000)}` },
    );
  };
  await waitReady();
  return {
    lab,
    node,
    conf,
    waitReady,
    pod: async (name) => void (await makePod(lab, name)),
    call: (command, pod, more = {}, signal) =>
      callCni({
        command,
        containerId: `c-${pod}`,
        netns: `/run/netns/${lab.fullName(pod)}`,
        config: conf(more),
        ...(signal === undefined ? {} : { signal }),
      }),
    interfaces: async () =>
      [...(await lab.exec('host', ['ip', '-br', 'link'])).matchAll(/^evc[0-9a-f]{11}/gm)].map(
        ([name]) => name,
      ),
  };
}
