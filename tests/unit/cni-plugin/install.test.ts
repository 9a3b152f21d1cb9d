/** The two files on a host: ours are replaced and removed, others' never. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readList } from '../../../cni-plugin/core/install-plan.ts';
import {
  inspect,
  installExecutable,
  installList,
  uninstall,
  usualChain,
} from '../../../cni-plugin/install.ts';
import { suite, type T } from '../../support/harness.ts';

const test = suite('cni install');

/** Places that are not there yet, and a stand-in for what the build makes. */
function bench(t: T) {
  const folder = mkdtempSync(join(tmpdir(), 'evio-cni-'));
  t.defer(() => rmSync(folder, { recursive: true }));
  const places = { binDirectory: join(folder, 'bin'), confDirectory: join(folder, 'net.d') };
  const source = join(folder, 'built');
  writeFileSync(source, 'ELF evio-cni is called by a container runtime, not by people 1');
  return { places, source };
}
const options = {
  cniVersion: '1.0.0',
  name: 'evio',
  overlay: null,
  socket: '/run/evio/controller.sock',
  chain: ['portmap', 'tuning'],
};

test('install, again with a newer one, and uninstall', (t) => {
  const { places, source } = bench(t);
  installExecutable(places, source);
  installList(places, options);
  const states = () => {
    const { executable, list } = inspect(places, source);
    return [executable.state, list.state];
  };
  assert.deepEqual(states(), ['ours', 'ours']);
  assert.deepEqual(
    JSON.parse(readFileSync(join(places.confDirectory, '10-evio.conflist'), 'utf8')),
    {
      cniVersion: '1.0.0',
      name: 'evio',
      plugins: [
        { type: 'evio-cni', socket: '/run/evio/controller.sock' },
        { type: 'portmap', capabilities: { portMappings: true } },
        { type: 'tuning' },
      ],
    },
  );
  assert.equal(statSync(join(places.binDirectory, 'evio-cni')).mode & 0o777, 0o755);
  writeFileSync(source, 'ELF evio-cni is called by a container runtime, not by people 2');
  assert.deepEqual(states(), ['outdated', 'ours']);
  installExecutable(places, source);
  assert.deepEqual(states(), ['ours', 'ours']);
  assert.equal(uninstall(places).length, 2);
  assert.deepEqual([...readdirSync(places.binDirectory), ...readdirSync(places.confDirectory)], []);
  assert.deepEqual(uninstall(places), []);
});

test("others' files are neither overwritten nor removed", (t) => {
  const { places, source } = bench(t);
  installExecutable(places, source);
  installList(places, options);
  const files = [
    join(places.binDirectory, 'evio-cni'),
    join(places.confDirectory, '10-evio.conflist'),
  ];
  for (const file of files) writeFileSync(file, '{"plugins":[{"type":"flannel"}]}');
  const code = (run: () => void): unknown => {
    try {
      run();
      return 'nothing';
    } catch (error) {
      return error instanceof Error && 'code' in error ? error.code : error;
    }
  };
  assert.equal(
    code(() => installExecutable(places, source)),
    'cni.foreign-file',
  );
  assert.equal(
    code(() => installList(places, options)),
    'cni.foreign-file',
  );
  assert.deepEqual(uninstall(places), []);
});

test('usual plugins are chained where they are installed', (t) => {
  const { places, source } = bench(t);
  assert.deepEqual(usualChain(places), []);
  installExecutable(places, source);
  writeFileSync(join(places.binDirectory, 'bandwidth'), '');
  assert.deepEqual(usualChain(places), ['bandwidth']);
});

test('a list is ours by its first plugin', () => {
  assert.equal(readList('not json'), null);
  assert.equal(readList('{"plugins":[{"type":"flannel"},{"type":"evio-cni"}]}'), null);
  assert.deepEqual(readList('{"plugins":[{"type":"evio-cni","socket":"/x"}]}'), { socket: '/x' });
});
