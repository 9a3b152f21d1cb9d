/**
 * fastd on TAP devices, with the fastest of its authenticated methods. Owns its configuration
 * files.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { exec } from '../../../base/exec.ts';
import { ends, innerMtu, missingProgram, type Program, programPath } from './program.ts';
import { startTwoEnds } from './two-ends.ts';

interface Keys {
  readonly secret: string;
  readonly public: string;
}

async function generateKeys(): Promise<Keys> {
  const report = await exec([programPath('fastd'), '--generate-key', '--machine-readable']);
  const secret = report.trim();
  const shown = ['--show-key', '--machine-readable', '--config', '-'];
  const input = `secret "${secret}";\n`;
  return { secret, public: (await exec([programPath('fastd'), ...shown], { input })).trim() };
}

export const fastd: Program = {
  name: 'fastd',
  rival: true,
  missing: () => missingProgram('fastd'),
  install: { kind: 'apt', packages: ['fastd'] },
  async start(pair) {
    const folder = join(pair.lab.folder, 'fastd');
    mkdirSync(folder, { recursive: true });
    const keys = { a: await generateKeys(), b: await generateKeys() };
    for (const [here, there] of ends(pair)) {
      const lines = [
        'mode tap;',
        'interface "fd0";',
        'method "aes128-ctr+umac";',
        `mtu ${innerMtu};`,
        `bind ${here.underlay}:10000;`,
        `secret "${keys[here.ns].secret}";`,
        `peer "other" { key "${keys[there.ns].public}"; remote ${there.underlay}:10000; }`,
      ];
      writeFileSync(join(folder, `${here.ns}.conf`), `${lines.join('\n')}\n`, { mode: 0o600 });
    }
    return startTwoEnds(pair, {
      dev: 'fd0',
      argv: (here) => [programPath('fastd'), '--config', join(folder, `${here.ns}.conf`)],
    });
  },
};
