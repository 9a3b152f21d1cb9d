/**
 * Containers of podman on two hosts behind NATs, by our plugin and without Kubernetes.
 *
 *   container ─ evpd-lab ─ hA ── rA ──┐
 *                                     ├── pub
 *   container ─ evpd-lab ─ hB ── rB ──┘
 */
import assert from 'node:assert/strict';
import { copyFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { needsShim } from '../support/cni.ts';
import { suite } from '../support/harness.ts';
import { tracesOn } from '../support/kubernetes/evio-cni.ts';
import { createMachine, type Machine } from '../support/kubernetes/machine.ts';
import { needsProgram, needsRoot } from '../support/needs.ts';
import type { EvioNode } from '../support/node.ts';
import { image, type Podman, setUpPodman } from '../support/podman.ts';
import { waitFor } from '../support/scope.ts';
import { createScene } from '../support/two-nodes.ts';

const test = suite('podman');

interface Site {
  readonly machine: Machine;
  readonly node: EvioNode;
  readonly podman: Podman;
  readonly before: readonly string[];
  readonly container: string;
  readonly address: string;
}

test.unless(
  needsRoot ?? needsProgram('podman') ?? needsShim,
  'containers on two hosts reach each other and by published ports, and leave nothing',
  async (t) => {
    const scene = await createScene(t, {
      kinds: ['port', 'restricted'],
      node: { provider: 'VNIC' },
    });
    const { lab } = scene;
    const sites: Site[] = [];
    for (const [index, { host }] of scene.sites.entries()) {
      const machine = await createMachine(t, lab, host);
      const config = { Cni: { Overlays: { lab: { PodPool: ['10.42.0.0/16'] } } } };
      const node = scene.start(index, { config });
      // Of Debian, as podman brings it.
      copyFileSync('/usr/lib/cni/portmap', machine.file('/opt/cni/bin/portmap'));
      const podman = await setUpPodman(machine);
      await waitFor('the plugin is installed', () => node.evio('cni', 'install'), {
        timeoutMs: 60_000,
        context: () => node.log().slice(-3_000),
      });
      const before = await tracesOn(machine);
      const container = `web${index}`;
      const serve = 'hostname >/tmp/index.html; exec httpd -f -p 80 -h /tmp';
      const named = [`--name=${container}`, `--hostname=${container}`];
      const run = ['run', '--detach', ...named, `--cgroup-parent=${machine.podCgroup}`];
      await podman(...run, '--publish=8080:80', image, '/bin/sh', '-c', serve);
      const format = '{{.NetworkSettings.Networks.evio.IPAddress}}';
      const address = (await podman('inspect', '--format', format, container)).trim();
      sites.push({ machine, node, podman, before, container, address });
    }
    const [a, b] = sites;
    if (a === undefined || b === undefined) throw new Error('two sites');
    await a.node.waitUp('b', 60_000);
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      const get = (host: string): Promise<string> => {
        const wget = ['timeout', '5', 'wget', '-q', '-O', '-', `http://${host}/`];
        return from.podman('exec', from.container, ...wget);
      };
      for (const host of [to.address, `${to.node.address}:8080`]) {
        await waitFor(
          `${from.container} reaches ${to.container} by ${host}`,
          async () => (await get(host)).trim() === to.container,
          { timeoutMs: 60_000 },
        );
      }
    }
    const mtu = ['exec', a.container, 'cat', '/sys/class/net/eth0/mtu'];
    const overlay = await lab.exec(a.node.ns, ['cat', '/sys/class/net/ev-lab/mtu']);
    assert.equal(await a.podman(...mtu), overlay);
    for (const { machine, node, podman, before, container } of sites) {
      // The routes to the other's range are the node's, not the container's.
      const own = (traces: readonly string[]): readonly string[] =>
        traces.filter((trace) => !trace.includes('proto 157'));
      await podman('rm', '--force', '--time=0', container);
      assert.deepEqual(own(await tracesOn(machine)), own(before));
      assert.deepEqual(readdirSync(join(node.folder, 'state', 'cni')), []);
      assert.equal((await podman('ps', '--all', '--quiet')).trim(), '');
    }
  },
  180_000,
);
