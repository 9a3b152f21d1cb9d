/**
 * tinc 1.0 as a learning switch on TAP devices. Owns its configuration folders.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { exec } from '../../../base/exec.ts';
import { ends, missingProgram, type Program, programPath } from './program.ts';
import { startTwoEnds } from './two-ends.ts';

export const tinc: Program = {
  name: 'tinc',
  rival: true,
  missing: () => missingProgram('tincd'),
  install: { kind: 'apt', packages: ['tinc'] },
  async start(pair) {
    const folder = (ns: string): string => join(pair.lab.folder, `tinc-${ns}`);
    for (const [here, there] of ends(pair)) {
      mkdirSync(join(folder(here.ns), 'hosts'), { recursive: true });
      const lines = [
        `Name = ${here.ns}`,
        'Mode = switch',
        'DeviceType = tap',
        'Interface = ti0',
        'AddressFamily = ipv4',
        `ConnectTo = ${there.ns}`,
      ];
      writeFileSync(join(folder(here.ns), 'tinc.conf'), `${lines.join('\n')}\n`);
    }
    for (const [here, there] of ends(pair)) {
      const host = join(folder(here.ns), 'hosts', here.ns);
      const settings = [
        `Address = ${here.underlay}`,
        'Cipher = aes-128-cbc',
        'Digest = sha256',
        'Compression = 0',
      ];
      writeFileSync(host, `${settings.join('\n')}\n`);
      // Asks on standard input where to put the keys: the defaults.
      const argv = [programPath('tincd'), '-c', folder(here.ns), '-K', '2048'];
      await exec(argv, { input: '\n\n', timeoutMs: 30_000 });
      await exec(['cp', host, join(folder(there.ns), 'hosts', here.ns)]);
    }
    return startTwoEnds(pair, {
      dev: 'ti0',
      argv: ({ ns }) => [
        ...[programPath('tincd'), '-c', folder(ns), '-D', '-d', '0'],
        `--pidfile=${join(folder(ns), 'pid')}`,
      ],
    });
  },
};
