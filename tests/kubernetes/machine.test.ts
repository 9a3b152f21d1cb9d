/** The machines on which clusters stand: private where they must be, gone without a trace. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { suite } from '../support/harness.ts';
import { createMachine, keepKernelValues } from '../support/kubernetes/machine.ts';
import { needsRoot } from '../support/needs.ts';
import { createLab } from '../support/netns.ts';
import { withScope } from '../support/scope.ts';

const test = suite('machines');

/** Others make namespaces on this host meanwhile: only what is named after this process counts. */
const own = (text: string): boolean => text.includes(`evl${process.pid}`);
const mounts = (): readonly string[] =>
  readFileSync('/proc/mounts', 'utf8').split('\n').filter(own);
const cgroups = (): readonly string[] =>
  readdirSync('/sys/fs/cgroup', { recursive: true, encoding: 'utf8' }).filter(own);

test.unless(
  needsRoot,
  'a machine has folders, mounts, a name and cgroups of its own, and leaves nothing',
  async () => {
    const hadFolder = existsSync('/opt/cni');
    await withScope(async (scope) => {
      await keepKernelValues(scope);
      const lab = await createLab(scope);
      await lab.namespace('m');
      const machine = await createMachine(scope, lab, 'm');
      assert.equal((await lab.exec('m', ['hostname'])).trim(), 'm');
      await lab.exec('m', ['sh', '-c', 'echo x >/etc/cni/net.d/10-x.conf']);
      assert.equal(existsSync('/etc/cni/net.d/10-x.conf'), false);
      assert.equal(readFileSync(machine.file('/etc/cni/net.d/10-x.conf'), 'utf8'), 'x\n');
      await lab.exec('m', ['ip', 'netns', 'add', 'inner']);
      assert.equal((await lab.exec('m', ['ls', '/sys/class/net'])).trim(), 'lo');
      assert.match(await lab.exec('m', ['cat', '/proc/self/cgroup']), /\/evl\d+-m\.own$/m);
      // Something that would outlive its parent, in a mount that would outlive both.
      const stray = 'mount -t tmpfs x /var/lib/kubelet; setsid sleep 1000 >/dev/null 2>&1 &';
      await lab.exec('m', ['sh', '-c', stray]);
      assert.equal(existsSync('/run/netns/inner'), false);
      assert.ok(cgroups().length > 0 && mounts().length > 0);
    });
    assert.deepEqual({ mounts: mounts(), cgroups: cgroups() }, { mounts: [], cgroups: [] });
    assert.equal(existsSync('/opt/cni'), hadFolder);
  },
  30_000,
);
