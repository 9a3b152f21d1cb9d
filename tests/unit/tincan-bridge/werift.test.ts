/** What the tunnel process loads of werift: its ICE, and nothing that could be mistaken for security. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import '../../../tincan-bridge/bridge.ts';
import { suite } from '../../support/harness.ts';

const test = suite('the door to werift');

test('only ICE and its sockets are loaded', () => {
  const loaded = Object.keys(createRequire(import.meta.url).cache)
    .filter((path) => path.includes('/node_modules/'))
    .map((path) => path.replace(/^.*\/node_modules\//, ''));
  const below = (folder: string): number => loaded.filter((path) => path.startsWith(folder)).length;
  assert.ok(below('werift/lib/ice/') > 10, `${loaded.length} files of packages`);
  assert.equal(below('werift/'), below('werift/lib/ice') + below('werift/lib/common/'));
  assert.deepEqual(
    loaded.filter((path) => /^(@peculiar|@fidm|mediabunny|reflect-metadata|tweetnacl)/.test(path)),
    [],
  );
});
