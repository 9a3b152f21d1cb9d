/** The Node.js that the repository brings and the one after it: each runs Evio, and they are peers. */
import assert from 'node:assert/strict';
import { readlinkSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { exec } from '../../base/exec.ts';
import { suite } from '../support/harness.ts';
import { needsNextNode, needsRoot, nextNode } from '../support/needs.ts';
import { repositoryRoot } from '../support/repository.ts';
import { iperf, ping } from '../support/traffic.ts';
import { createScene } from '../support/two-nodes.ts';

const test = suite('node versions');
const why = needsRoot ?? needsNextNode;

/** What runs in the namespace, with how many processes of it. */
async function programs(list: () => Promise<string>): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>();
  for (const pid of (await list()).split('\n').filter(Boolean)) {
    const program = readlinkSync(`/proc/${pid.trim()}/exe`);
    found.set(program, (found.get(program) ?? 0) + 1);
  }
  return found;
}

test.unless(
  why,
  'a node on Node 24 and one on Node 26 are linked, and carry TCP both ways',
  async (t) => {
    const scene = await createScene(t, { kinds: ['port', 'restricted'] });
    const { lab } = scene;
    const [a, b] = [scene.start(0), scene.start(1, { node: nextNode })];
    await a.waitUp('b');
    await b.waitUp('a');
    assert.match(await exec([nextNode, '--version']), /^v26\./);
    const list = () => lab.exec('', ['ip', 'netns', 'pids', lab.fullName(b.ns)]);
    const expected = new Map([[realpathSync(nextNode), 2]]);
    assert.deepEqual(await programs(list), expected, 'controller and tunnel process');
    const { sent, received } = await ping(lab, a.ns, b.address, { count: 20 });
    assert.equal(received, sent);
    for (const reverse of [false, true]) {
      const { mbps } = await iperf(lab, {
        from: a.ns,
        to: b.ns,
        address: b.address,
        seconds: 2,
        reverse,
      });
      process.stdout.write(`${mbps.toFixed(0)} Mbit/s ${reverse ? '26 to 24' : '24 to 26'}\n`);
      assert.ok(mbps > 20);
    }
    assert.equal((await b.stop()).code, 0);
  },
  60_000,
);

test.unless(
  why,
  'the addon that was built for Node 24 keeps its contracts on Node 26',
  async () => {
    for (const name of ['handshake', 'datapath-native']) {
      const file = join(repositoryRoot, `dist/tests/contract/${name}.test.js`);
      const report = await exec([nextNode, file], { timeoutMs: 100_000 });
      const [total, passed] = ['Total', 'Passed'].map((word) =>
        Number(new RegExp(`^  ${word}:\\s+(\\d+)`, 'm').exec(report)?.[1]),
      );
      assert.ok(total !== undefined && total > 0 && passed === total, report);
    }
  },
  120_000,
);
